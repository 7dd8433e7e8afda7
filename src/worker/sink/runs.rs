//! Which pieces of a window are written, and which are only made zero. Pure.

use std::ops::Range;

use vmdisk_format::zero::non_zero_runs;

/// Holes are written along with the data around them up to this part of that data: a piece more costs more than the
/// few zeros, and a thin volume is to take at most a hundredth more than its data.
const SHARE: usize = 128;

/// The ranges of `bytes` that hold something, in whole granules from their start.
pub(super) fn data_runs(bytes: &[u8], granule: usize) -> Vec<Range<usize>> {
    let whole = |run: Range<usize>| run.start / granule * granule..run.end.next_multiple_of(granule).min(bytes.len());
    let mut runs: Vec<Range<usize>> = Vec::new();
    for run in non_zero_runs(bytes).map(whole) {
        match runs.last_mut() {
            Some(last) if run.start <= last.end => last.end = run.end,
            _ => runs.push(run),
        }
    }
    runs
}

/// Joins runs across holes as long as these come to no more than a small share of the data.
pub(super) fn joined(runs: Vec<Range<usize>>) -> Vec<Range<usize>> {
    let mut allowance = runs.iter().map(Range::len).sum::<usize>() / SHARE;
    let mut joined: Vec<Range<usize>> = Vec::with_capacity(runs.len());
    for run in runs {
        match joined.last_mut() {
            Some(last) if run.start - last.end <= allowance => {
                allowance -= run.start - last.end;
                last.end = run.end;
            }
            _ => joined.push(run),
        }
    }
    joined
}

/// What `runs` leave of the units that hold data, on a medium that ends at `length`; units without data are left out.
pub(super) fn remainders(runs: &[Range<usize>], length: usize, unit: usize) -> Vec<Range<usize>> {
    let starts = std::iter::once(0).chain(runs.iter().map(|run| run.end));
    let ends = runs.iter().map(|run| run.start).chain(std::iter::once(length));
    let mut remainders = Vec::new();
    for (start, end) in starts.zip(ends) {
        // The medium's end may cut the last unit.
        let last = if end == length { end } else { end / unit * unit };
        let first = start.next_multiple_of(unit).min(end);
        if first < last {
            remainders.extend([start..first, last..end]);
        } else {
            remainders.push(start..end);
        }
    }
    remainders.retain(|remainder| !remainder.is_empty());
    remainders
}

#[cfg(test)]
#[path = "runs_tests.rs"]
mod tests;
