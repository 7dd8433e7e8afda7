//! A stretch of the disk while it is assembled: plain data in place, compressed clusters beside it.
//!
//! The decoder's thread fills a window, a thread of the pool inflates what is compressed straight to its place and
//! writes what is not zero. So the two dearest steps of a compressed image, inflating and writing, run on as many
//! CPUs as there are, and no byte is copied after it has been inflated.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use vmdisk_format::{CompressedCluster, Error, Inflater};

use super::medium::Medium;
use super::runs::{data_runs, joined, remainders};
use super::{UNIT, to_usize};
use crate::aligned::AlignedBuffer;

/// How much is assembled before it is written: the largest cluster that a format of ours has, so that each lies in
/// one window.
pub(super) const WINDOW: usize = 2 << 20;

const UNIT_BYTES: usize = 64 * 1024;

/// A window's content.
pub(super) struct Window {
    /// Where it begins on the disk, a multiple of its size.
    pub(super) start: u64,
    buffer: AlignedBuffer,
    /// The units that hold something that is not written yet.
    pending: [bool; WINDOW / UNIT_BYTES],
    clusters: Vec<Packed>,
    /// The compressed bytes of all clusters, one after the other.
    packed: Vec<u8>,
}

/// What flushing came to.
#[derive(Debug, Default)]
pub(super) struct Flushed {
    /// So many bytes were written.
    pub(super) bytes: u64,
    /// The units, by their number on the disk, that held nothing but zeros; nothing was written there.
    pub(super) empty: Vec<u64>,
}

/// A compressed cluster in a window.
struct Packed {
    /// Where its bytes lie among the packed ones.
    bytes: Range<usize>,
    /// What it is; its data is left out.
    cluster: CompressedCluster<'static>,
}

impl Window {
    /// An empty window.
    pub(super) fn new() -> Self {
        Self {
            start: 0,
            buffer: AlignedBuffer::new(WINDOW),
            pending: [false; WINDOW / UNIT_BYTES],
            clusters: Vec::new(),
            packed: Vec::new(),
        }
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        !self.pending.contains(&true)
    }

    /// The units, counted from the start of the window, that `range` touches.
    pub(super) fn units(range: &Range<usize>) -> Range<usize> {
        range.start / UNIT_BYTES..range.end.div_ceil(UNIT_BYTES)
    }

    /// Whether a unit of the window is ready to be changed.
    pub(super) fn is_pending(&self, unit: usize) -> bool {
        self.pending[unit]
    }

    /// The units that hold something.
    pub(super) fn pending(&self) -> impl Iterator<Item = usize> {
        self.pending.iter().enumerate().filter_map(|(unit, pending)| pending.then_some(unit))
    }

    /// The number of a unit of this window on the disk.
    pub(super) fn number(&self, unit: usize) -> u64 {
        self.start / UNIT + unit as u64
    }

    /// Makes a unit part of the window. With `former`, it holds what the medium holds there; otherwise it is about to be
    /// filled by `range`, and zero beside it.
    pub(super) fn add(&mut self, unit: usize, range: &Range<usize>, former: Option<&Medium>) -> io::Result<()> {
        self.pending[unit] = true;
        let place = unit * UNIT_BYTES..(unit + 1) * UNIT_BYTES;
        let bytes = &mut self.buffer.bytes_mut()[place.clone()];
        let Some(medium) = former else {
            bytes[..range.start.saturating_sub(place.start).min(UNIT_BYTES)].fill(0);
            bytes[range.end.saturating_sub(place.start).min(UNIT_BYTES)..].fill(0);
            return Ok(());
        };
        let offset = self.start + place.start as u64;
        let length = medium.clip(offset, UNIT_BYTES);
        let read = read_up_to_end(&medium.file, &mut bytes[..length], offset)?;
        bytes[read..].fill(0);
        Ok(())
    }

    /// Places plain data; its units have been added.
    pub(super) fn put(&mut self, within: usize, data: &[u8]) {
        self.buffer.bytes_mut()[within..within + data.len()].copy_from_slice(data);
    }

    /// Takes a compressed cluster that lies in this window; its units have been added.
    pub(super) fn pack(&mut self, cluster: &CompressedCluster<'_>) {
        let start = self.packed.len();
        self.packed.extend_from_slice(cluster.data);
        self.clusters
            .push(Packed { bytes: start..self.packed.len(), cluster: CompressedCluster { data: &[], ..*cluster } });
    }

    /// Inflates and writes everything, and leaves the window empty.
    pub(super) fn flush(&mut self, medium: &Medium, inflater: &mut Inflater) -> Result<Flushed, Error> {
        for Packed { bytes, cluster } in self.clusters.drain(..) {
            let within = to_usize(cluster.offset - self.start);
            let content = &mut self.buffer.bytes_mut()[within..within + cluster.cluster_size];
            inflater.inflate_into(&CompressedCluster { data: &self.packed[bytes], ..cluster }, content)?;
        }
        self.packed.clear();
        let mut flushed = Flushed::default();
        let mut next = 0;
        for run in self.pending.chunk_by(|left, right| left == right) {
            let units = next..next + run.len();
            next = units.end;
            if run[0] {
                self.write(&units, medium, &mut flushed)?;
            }
        }
        self.pending.fill(false);
        Ok(flushed)
    }

    /// Writes the data of adjacent units. On a medium that may hold anything, the rest of a unit with data is zeroed at
    /// once: what lies in one unit lies in one chunk of a thin pool (64 KiB at least), and the data has allocated that.
    fn write(&self, units: &Range<usize>, medium: &Medium, flushed: &mut Flushed) -> Result<(), Error> {
        let offset = self.start + (units.start * UNIT_BYTES) as u64;
        let length = medium.clip(offset, units.len() * UNIT_BYTES);
        let bytes = &self.buffer.bytes()[units.start * UNIT_BYTES..][..length];
        let failed =
            |run: &Range<usize>, source| Error::Write { offset: offset + run.start as u64, length: run.len(), source };
        let mut runs = data_runs(bytes, medium.granule);
        if medium.eraser.is_some() {
            runs = joined(runs);
        }
        for run in &runs {
            let at = offset + run.start as u64;
            medium.file.write_all_at(&bytes[run.clone()], at).map_err(|source| failed(run, source))?;
            flushed.bytes += run.len() as u64;
        }
        let holds_data = |unit: &usize| {
            let place = (unit - units.start) * UNIT_BYTES..(unit - units.start + 1) * UNIT_BYTES;
            let next = runs.partition_point(|run| run.end <= place.start);
            runs.get(next).is_some_and(|run| run.start < place.end)
        };
        flushed.empty.extend(units.clone().filter(|unit| !holds_data(unit)).map(|unit| self.number(unit)));
        if medium.eraser.is_some() {
            for rest in remainders(&runs, length, UNIT_BYTES) {
                let range = offset + rest.start as u64..offset + rest.end as u64;
                medium.zero(range).map_err(|source| failed(&rest, source))?;
            }
        }
        Ok(())
    }
}

/// Reads what there is: zeros at the end of a file are left out of it.
fn read_up_to_end(file: &std::fs::File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}
