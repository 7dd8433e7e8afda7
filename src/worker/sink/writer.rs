//! Writes a disk in aligned pieces, whatever pieces it comes in.
//!
//! What is assembled are whole units of 64 KiB at multiples of 64 KiB, in buffers aligned in memory: right for
//! `O_DIRECT`, for devices with 4 KiB sectors and for thin pools. Of a unit, only the granules that hold something are
//! written, so that a thin volume takes the image's data and no more; on a device, where nobody knows what was there, the
//! rest of such a unit is zeroed along with it. A unit without data stays as it is. The units with data are remembered, so
//! that a volume that was dirty can be cleared of the others afterwards.
//!
//! ```text
//! write, write_compressed ──▶ window of 2 MiB ──▶ pool of threads: inflate in place, write what is not zero
//!   the decoder's thread        ◀── empty again ──┘
//! ```

use std::ops::Range;
use std::sync::Arc;

use vmdisk_format::{CompressedCluster, Error, Inflater};

use super::medium::Medium;
use super::pool::{Pool, failed};
use super::units::Units;
use super::window::{Flushed, WINDOW, Window};
use super::{UNIT, to_usize};
use crate::progress::Counters;

/// Without `O_DIRECT`, as much may be dirty in the page cache: a container's memory limit counts it.
const MAX_DIRTY: u64 = 32 << 20;

/// Assembles and writes.
pub struct Writer {
    medium: Arc<Medium>,
    pool: Pool,
    window: Window,
    /// The units that hold data, or may.
    written: Units,
    dirty: u64,
    /// Bytes below this are on the medium already, from an earlier attempt.
    keep_below: u64,
    /// For the clusters that no window takes.
    inflater: Inflater,
}

impl Writer {
    /// A writer to `medium`; what lies below `keep_below` stays as it is.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] when the system has no more threads.
    pub(super) fn new(medium: Medium, keep_below: u64, counters: Counters) -> Result<Self, Error> {
        let medium = Arc::new(medium);
        let pool = Pool::new(&medium, counters).map_err(|error| failed(0, error))?;
        Ok(Self {
            medium,
            pool,
            window: Window::new(),
            written: Units::default(),
            dirty: 0,
            keep_below,
            inflater: Inflater::new(),
        })
    }

    /// Takes `data` for `offset`.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] with the medium's own, perhaps of an earlier call; what an earlier cluster was refused for.
    pub fn write(&mut self, mut offset: u64, mut data: &[u8]) -> Result<(), Error> {
        let kept = to_usize(self.keep_below.saturating_sub(offset)).min(data.len());
        data = &data[kept..];
        offset += kept as u64;
        while !data.is_empty() {
            let within = self.seek(offset)?;
            let count = data.len().min(WINDOW - within);
            self.add(&(within..within + count))?;
            self.window.put(within, &data[..count]);
            data = &data[count..];
            offset += count as u64;
        }
        Ok(())
    }

    /// Takes a compressed cluster; a thread of the pool will inflate it.
    ///
    /// # Errors
    ///
    /// As [`Writer::write`].
    pub fn write_compressed(&mut self, cluster: &CompressedCluster<'_>) -> Result<(), Error> {
        let within = to_usize(cluster.offset % WINDOW as u64);
        if cluster.offset < self.keep_below || within + cluster.cluster_size > WINDOW {
            let mut inflater = std::mem::take(&mut self.inflater);
            let outcome = inflater.inflate(cluster).and_then(|data| self.write(cluster.offset, data));
            self.inflater = inflater;
            return outcome;
        }
        self.seek(cluster.offset)?;
        self.add(&(within..within + cluster.cluster_size))?;
        self.window.pack(cluster);
        Ok(())
    }

    /// Goes to the window of `offset` and tells where in it that is.
    fn seek(&mut self, offset: u64) -> Result<usize, Error> {
        let within = to_usize(offset % WINDOW as u64);
        let start = offset - within as u64;
        if start != self.window.start {
            self.flush_window()?;
            self.window.start = start;
        }
        Ok(within)
    }

    /// Makes the units of the window that `range` touches ready to be changed.
    fn add(&mut self, range: &Range<usize>) -> Result<(), Error> {
        for unit in Window::units(range) {
            if self.window.is_pending(unit) {
                continue;
            }
            let offset = self.window.number(unit) * UNIT;
            // What was written before, in this attempt or an earlier one, is changed, not replaced.
            let number = self.window.number(unit);
            if self.written.contains(number) {
                // It may turn out on its way that there was nothing to write.
                self.drain()?;
            }
            let former = self.written.contains(number) || offset < self.keep_below;
            let former = former.then_some(&*self.medium);
            self.window.add(unit, range, former).map_err(|error| failed(offset, error))?;
        }
        Ok(())
    }

    fn flush_window(&mut self) -> Result<(), Error> {
        if self.window.is_empty() {
            return Ok(());
        }
        for unit in self.window.pending() {
            self.written.insert(self.window.number(unit));
        }
        let (empty, flushed) = self.pool.window()?;
        self.pool.flush(std::mem::replace(&mut self.window, empty));
        self.account(flushed)
    }

    /// Waits for everything that is on its way to the medium.
    fn drain(&mut self) -> Result<(), Error> {
        let flushed = self.pool.drain()?;
        self.account(flushed)
    }

    /// Forgets the units that turned out to be empty, and keeps few pages dirty where the page cache cannot be avoided.
    fn account(&mut self, flushed: Vec<Flushed>) -> Result<(), Error> {
        for Flushed { bytes, empty } in flushed {
            self.dirty += bytes;
            for unit in empty {
                self.written.remove(unit);
            }
        }
        if self.medium.direct || self.dirty < MAX_DIRTY {
            return Ok(());
        }
        self.dirty = 0;
        self.settle()
    }

    fn settle(&self) -> Result<(), Error> {
        self.medium.sync().map_err(|error| failed(0, error))
    }

    /// Writes what is assembled and makes all of it durable.
    ///
    /// # Errors
    ///
    /// As [`Writer::write`].
    pub fn sync(&mut self) -> Result<(), Error> {
        self.flush_window()?;
        self.drain()?;
        self.settle()
    }

    /// Writes what is assembled and makes the first `length` bytes of a file durable, a hole at their end included.
    ///
    /// # Errors
    ///
    /// As [`Writer::write`].
    pub fn checkpoint(&mut self, length: u64) -> Result<(), Error> {
        self.flush_window()?;
        self.drain()?;
        let file = &self.medium.file;
        let grow = || if file.metadata()?.len() < length { file.set_len(length) } else { Ok(()) };
        grow().map_err(|error| failed(length, error))?;
        self.settle()
    }

    /// The medium.
    #[must_use]
    pub(super) fn medium(&self) -> &Medium {
        &self.medium
    }

    /// The ranges, in bytes, of the units without data, up to the medium's end. Call [`Writer::sync`] first.
    pub fn unwritten(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.written.gaps(self.medium.length)
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
