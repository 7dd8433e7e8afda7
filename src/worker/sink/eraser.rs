//! Makes ranges of a device read as zeros, the cheapest way that the device knows.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::FallocateFlags;

use super::runs::data_runs;
use super::to_usize;
use crate::aligned::AlignedBuffer;

/// How much is read back at once.
const STEP: u64 = 1 << 20;

/// Zeros, by telling the device to, or, where it cannot be told, by overwriting what is not zero.
#[derive(Debug)]
pub(super) struct Eraser {
    granule: usize,
    punches: AtomicBool,
}

impl Eraser {
    /// An eraser that overwrites in whole granules, if at all.
    pub(super) fn new(granule: usize) -> Self {
        Self { granule, punches: AtomicBool::new(true) }
    }

    /// Makes `range`, whole sectors of `file`, read as zeros.
    pub(super) fn zero(&self, file: &File, range: Range<u64>) -> io::Result<()> {
        if self.punches.load(Ordering::Relaxed) {
            // On a device this is a zero-out that may unmap and never falls back to writing; unlike a discard, it
            // guarantees zeros (Linux block/fops.c, blkdev_fallocate).
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            match rustix::fs::fallocate(file, flags, range.start, range.end - range.start) {
                Ok(()) => return Ok(()),
                // Unsupported, or refused by what is below after all: where the medium is at fault, the overwriting
                // says so.
                Err(error) => {
                    tracing::debug!(%error, "the device cannot be told to zero; what is not zero is overwritten");
                    self.punches.store(false, Ordering::Relaxed);
                }
            }
        }
        self.overwrite(file, range)
    }

    /// Reads back and writes zeros only where there are none: writing all of them would allocate a thin volume.
    fn overwrite(&self, file: &File, range: Range<u64>) -> io::Result<()> {
        let mut buffer = AlignedBuffer::new(to_usize(STEP.min(range.end - range.start)));
        let mut offset = range.start;
        while offset < range.end {
            let bytes = &mut buffer.bytes_mut()[..to_usize(STEP.min(range.end - offset))];
            file.read_exact_at(bytes, offset)?;
            for run in data_runs(bytes, self.granule) {
                bytes[run.clone()].fill(0);
                file.write_all_at(&bytes[run.clone()], offset + run.start as u64)?;
            }
            offset += bytes.len() as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "eraser_tests.rs"]
mod tests;
