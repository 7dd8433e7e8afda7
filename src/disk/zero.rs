//! Finding zeros fast: what is zero need not be written.

use std::ops::Range;

/// The unit in which zeros are skipped: the block size of most file systems and the sector of a 4Kn device.
pub const GRANULE: usize = 4096;

/// The words of one step of the scan: 64 bytes, a cache line, and the width of the widest vector registers.
const LANES: usize = 8;

/// Whether `data` holds nothing but zeros.
///
/// Looks at the first bytes alone first, since data that is not zero mostly shows it there; then 64 bytes a step by
/// an OR that the compiler turns into vector instructions.
#[must_use]
pub fn is_zero(data: &[u8]) -> bool {
    const STEP: usize = LANES * size_of::<u64>();
    let (steps, tail) = data.as_chunks::<STEP>();
    // A page at a time, so that a late difference in a large buffer ends the scan early.
    steps.chunks(GRANULE / STEP).all(page_is_zero) && tail.iter().all(|&byte| byte == 0)
}

fn page_is_zero(page: &[[u8; LANES * size_of::<u64>()]]) -> bool {
    if page.first().is_some_and(|step| step[0] != 0) {
        return false;
    }
    let mut lanes = [0_u64; LANES];
    for step in page {
        let (words, _) = step.as_chunks::<{ size_of::<u64>() }>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane |= u64::from_ne_bytes(*word);
        }
    }
    lanes.iter().fold(0, |all, lane| all | lane) == 0
}

/// The maximal ranges of `data` that hold something, in order, in steps of [`GRANULE`] from its start.
pub fn non_zero_runs(data: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut position = 0;
    std::iter::from_fn(move || {
        let granules =
            |from: usize| (from..data.len()).step_by(GRANULE).map(|start| start..data.len().min(start + GRANULE));
        let start = granules(position).find(|granule| !is_zero(&data[granule.clone()]))?;
        let end = granules(start.end)
            .find(|granule| is_zero(&data[granule.clone()]))
            .map_or(data.len(), |granule| granule.start);
        position = end;
        Some(start.start..end)
    })
}

#[cfg(test)]
#[path = "zero_tests.rs"]
mod tests;
