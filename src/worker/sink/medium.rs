//! What a disk is written to.

use std::fs::File;
use std::io;
use std::ops::Range;

use super::eraser::Eraser;
use super::to_usize;

/// A file or device, and how it takes writes.
pub(super) struct Medium {
    /// The open file.
    pub(super) file: File,
    /// Whether it was opened with `O_DIRECT`.
    pub(super) direct: bool,
    /// What is written or left out at least, in bytes.
    pub(super) granule: usize,
    /// What makes it read zeros; absent where it does wherever nothing was written.
    pub(super) eraser: Option<Eraser>,
    /// Its length, a multiple of its sector; the last unit may be cut by it.
    pub(super) length: u64,
    /// Where the part begins that is written last, a multiple of the unit: there lies the record of what is durable.
    pub(super) last: Option<u64>,
    /// What is written to one multiple of this touches nothing in another; a multiple of the unit.
    pub(super) chunk: u64,
}

impl Medium {
    /// Makes `range` read as zeros, if it does not anyway.
    pub(super) fn zero(&self, range: Range<u64>) -> io::Result<()> {
        match &self.eraser {
            Some(eraser) if !range.is_empty() => eraser.zero(&self.file, range),
            _ => Ok(()),
        }
    }

    /// Makes the medium at least `length` long, if that is for us to say.
    pub(super) fn grow(&self, length: u64) -> io::Result<()> {
        let found = self.file.metadata()?;
        // A device is as long as it is.
        if found.is_file() && found.len() < length { self.file.set_len(length) } else { Ok(()) }
    }

    /// How much of `length` bytes at `offset` lies on the medium.
    pub(super) fn clip(&self, offset: u64, length: usize) -> usize {
        to_usize(self.length.saturating_sub(offset)).min(length)
    }

    /// Makes what was written durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        if !self.direct {
            // Pages that are clean now are of no use to anybody else; failure to drop them does no harm.
            let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed);
        }
        Ok(())
    }
}
