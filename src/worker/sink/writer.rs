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

/// The part of a medium that is written last.
struct Last {
    start: u64,
    content: Vec<u8>,
}

impl Last {
    /// Takes the end of `data` for `offset`, if it lies here. What is left.
    fn take<'a>(&mut self, offset: u64, data: &'a [u8]) -> &'a [u8] {
        let (others, ours) = data.split_at(to_usize(self.start.saturating_sub(offset)).min(data.len()));
        let within = to_usize(offset.saturating_sub(self.start)).min(self.content.len());
        let room = &mut self.content[within..];
        let count = ours.len().min(room.len());
        room[..count].copy_from_slice(&ours[..count]);
        others
    }
}

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
    /// What has no data reads as zeros below this, a whole chunk.
    zeroed_below: u64,
    /// What is written when all else is durable.
    last: Option<Last>,
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
        let last = medium.last.map(|start| Last { start, content: vec![0; to_usize(medium.length - start)] });
        let pool = Pool::new(&medium, counters).map_err(|error| failed(0, error))?;
        Ok(Self {
            medium,
            pool,
            window: Window::new(),
            written: Units::default(),
            dirty: 0,
            keep_below,
            zeroed_below: keep_below,
            last,
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
        if let Some(last) = &mut self.last {
            data = last.take(offset, data);
        }
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
        let end = cluster.offset + cluster.cluster_size as u64;
        if cluster.offset < self.keep_below || within + cluster.cluster_size > WINDOW || end > self.end() {
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

    /// Writes what is assembled and waits for everything that is on its way to the medium.
    fn flush(&mut self) -> Result<(), Error> {
        self.flush_window()?;
        self.drain()
    }

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
        self.flush()?;
        self.settle()
    }

    /// How much of the first `reached` bytes a record may vouch for: what follows changes nothing in it.
    #[must_use]
    pub fn recordable(&self, reached: u64) -> u64 {
        reached.min(self.end()) / self.medium.chunk * self.medium.chunk
    }

    /// Makes the first `length` bytes durable, holes included; they are [`Writer::recordable`].
    ///
    /// # Errors
    ///
    /// As [`Writer::write`].
    pub fn checkpoint(&mut self, length: u64) -> Result<(), Error> {
        self.flush()?;
        self.medium.grow(length).map_err(|error| failed(length, error))?;
        self.zero(self.zeroed_below..length)?;
        self.zeroed_below = length;
        self.settle()
    }

    /// Writes all there is and makes what has no data read as zeros, up to the medium's end. The last of it is yet to be
    /// flushed.
    ///
    /// Data comes first: a thin pool may fill the rest of a chunk that it allocates with what lay there before. The last
    /// unit comes when all else is durable, so that until then a later attempt finds the record in its place.
    ///
    /// # Errors
    ///
    /// As [`Writer::write`].
    pub fn complete(&mut self) -> Result<(), Error> {
        self.sync()?;
        self.zero(self.keep_below..self.end())?;
        let Some(Last { start, content }) = self.last.take() else { return Ok(()) };
        self.settle()?;
        self.write(start, &content)?;
        self.sync()?;
        // The chunk of the last unit may have been allocated only now.
        let chunk = start / self.medium.chunk * self.medium.chunk;
        self.zero(chunk.max(self.keep_below)..self.medium.length)
    }

    /// Makes the units without data read as zeros. Everything in them must have been written.
    fn zero(&self, range: Range<u64>) -> Result<(), Error> {
        for gap in self.written.gaps(range) {
            let length = to_usize(gap.end - gap.start);
            self.medium.zero(gap.clone()).map_err(|source| Error::Write { offset: gap.start, length, source })?;
        }
        Ok(())
    }

    /// Where that ends which is written as it comes.
    fn end(&self) -> u64 {
        self.last.as_ref().map_or(self.medium.length, |last| last.start)
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
