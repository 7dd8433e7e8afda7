//! Writes a disk in aligned pieces, whatever pieces it comes in.
//!
//! All I/O is in whole units of 64 KiB at multiples of 64 KiB, from a buffer aligned in memory: right for `O_DIRECT`,
//! for devices with 4 KiB sectors and for thin pools. A unit that was never written stays a hole. The units written
//! are remembered, one bit each (2 MiB of memory for 1 TiB of disk), so that a volume that was dirty can be cleared
//! of the rest afterwards.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use vmdisk_format::zero::non_zero_runs;

use crate::progress::Counters;

/// The unit of all I/O.
pub const UNIT: u64 = 64 * 1024;

/// How much is assembled before it is written.
const WINDOW: u64 = 1 << 20;

/// Enough for the direct I/O of every device there is.
const MEMORY_ALIGNMENT: usize = 4096;

/// Without `O_DIRECT`, as much may be dirty in the page cache: a container's memory limit counts it.
const MAX_DIRTY: u64 = 32 << 20;

/// A file or device, and how it takes writes.
pub struct Medium {
    /// The open file.
    pub file: File,
    /// Whether it was opened with `O_DIRECT`.
    pub direct: bool,
    /// Whether what was never written reads as zeros: then zeros need not be written either.
    pub reads_zero: bool,
    /// Its length, a multiple of its sector; the last unit may be cut by it.
    pub length: u64,
}

/// Assembles and writes.
pub struct Writer {
    medium: Medium,
    counters: Counters,
    buffer: AlignedBuffer,
    /// The start of the window in the buffer.
    start: u64,
    /// The units of the window that hold something that is not written yet.
    pending: [bool; (WINDOW / UNIT) as usize],
    written: Units,
    dirty: u64,
    /// Bytes below this are on the medium already, from an earlier attempt.
    keep_below: u64,
}

impl Writer {
    /// A writer to `medium`; what lies below `keep_below` stays as it is.
    #[must_use]
    pub fn new(medium: Medium, keep_below: u64, counters: Counters) -> Self {
        Self {
            medium,
            counters,
            buffer: AlignedBuffer::new(WINDOW_BYTES),
            start: 0,
            pending: [false; (WINDOW / UNIT) as usize],
            written: Units::default(),
            dirty: 0,
            keep_below,
        }
    }

    /// Takes `data` for `offset`.
    ///
    /// # Errors
    ///
    /// The medium's own.
    pub fn write(&mut self, mut offset: u64, mut data: &[u8]) -> io::Result<()> {
        let kept = to_usize(self.keep_below.saturating_sub(offset)).min(data.len());
        data = &data[kept..];
        offset += kept as u64;
        while !data.is_empty() {
            let window = offset / WINDOW * WINDOW;
            if window != self.start {
                self.flush_window()?;
                self.start = window;
            }
            let within = to_usize(offset - window);
            let count = data.len().min(WINDOW_BYTES - within);
            self.load(within..within + count)?;
            self.buffer.bytes_mut()[within..within + count].copy_from_slice(&data[..count]);
            data = &data[count..];
            offset += count as u64;
        }
        Ok(())
    }

    /// Makes the units of the window that `range` touches ready to be changed.
    fn load(&mut self, range: Range<usize>) -> io::Result<()> {
        for index in range.start / UNIT_BYTES..range.end.div_ceil(UNIT_BYTES) {
            if self.pending[index] {
                continue;
            }
            self.pending[index] = true;
            let offset = self.start + index as u64 * UNIT;
            let length = self.clip(offset, UNIT_BYTES);
            let unit = &mut self.buffer.bytes_mut()[index * UNIT_BYTES..(index + 1) * UNIT_BYTES];
            // What was written before, in this attempt or an earlier one, is changed, not replaced.
            if self.written.contains(offset / UNIT) || offset < self.keep_below {
                let read = read_up_to_end(&self.medium.file, &mut unit[..length], offset)?;
                unit[read..].fill(0);
            } else {
                unit.fill(0);
            }
        }
        Ok(())
    }

    /// How much of `length` bytes at `offset` lies on the medium.
    fn clip(&self, offset: u64, length: usize) -> usize {
        to_usize(self.medium.length.saturating_sub(offset)).min(length)
    }

    fn flush_window(&mut self) -> io::Result<()> {
        let mut index = 0;
        while index < self.pending.len() {
            if !self.pending[index] {
                index += 1;
                continue;
            }
            let first = index;
            while index < self.pending.len() && self.pending[index] {
                self.pending[index] = false;
                self.written.insert((self.start / UNIT) + index as u64);
                index += 1;
            }
            self.write_units(first, index)?;
        }
        Ok(())
    }

    fn write_units(&mut self, first: usize, end: usize) -> io::Result<()> {
        let offset = self.start + first as u64 * UNIT;
        let length = self.clip(offset, (end - first) * UNIT_BYTES);
        let bytes = &self.buffer.bytes()[first * UNIT_BYTES..first * UNIT_BYTES + length];
        let whole = 0..bytes.len();
        let runs = if self.medium.reads_zero { non_zero_runs(bytes).collect() } else { Vec::from([whole]) };
        for run in runs {
            let count = run.len() as u64;
            self.medium.file.write_all_at(&bytes[run.clone()], offset + run.start as u64)?;
            self.counters.add_written(count);
            self.dirty += count;
        }
        if !self.medium.direct && self.dirty >= MAX_DIRTY {
            self.dirty = 0;
            self.medium.file.sync_data()?;
            drop_cache(&self.medium.file);
        }
        Ok(())
    }

    /// Writes what is assembled and makes all of it durable.
    ///
    /// # Errors
    ///
    /// The medium's own.
    pub fn sync(&mut self) -> io::Result<()> {
        self.flush_window()?;
        self.dirty = 0;
        self.medium.file.sync_data()?;
        if !self.medium.direct {
            drop_cache(&self.medium.file);
        }
        Ok(())
    }

    /// Writes what is assembled and makes the first `length` bytes of a file durable, a hole at their end included.
    ///
    /// # Errors
    ///
    /// The medium's own.
    pub fn checkpoint(&mut self, length: u64) -> io::Result<()> {
        self.flush_window()?;
        if self.medium.file.metadata()?.len() < length {
            self.medium.file.set_len(length)?;
        }
        self.sync()
    }

    /// The medium.
    #[must_use]
    pub fn medium(&self) -> &Medium {
        &self.medium
    }

    /// The ranges, in bytes, that were never written, up to the medium's end. Call [`Writer::sync`] first.
    pub fn unwritten(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.written.gaps(self.medium.length)
    }
}

/// Reads what there is: zeros at the end of a file are left out of it.
fn read_up_to_end(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// Pages that are clean now are of no use to anybody else; failure to drop them does no harm.
fn drop_cache(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}

const UNIT_BYTES: usize = 64 * 1024;
const WINDOW_BYTES: usize = 1 << 20;

/// Values that are bounded by a buffer's length.
fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// A set of units.
#[derive(Debug, Default)]
struct Units(Vec<u64>);

impl Units {
    fn insert(&mut self, unit: u64) {
        let (word, bit) = (to_usize(unit / 64), unit % 64);
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << bit;
    }

    fn contains(&self, unit: u64) -> bool {
        self.0.get(to_usize(unit / 64)).is_some_and(|word| word & (1 << (unit % 64)) != 0)
    }

    /// The byte ranges below `length` whose units are not in the set.
    fn gaps(&self, length: u64) -> impl Iterator<Item = Range<u64>> + '_ {
        let units = length.div_ceil(UNIT);
        let mut next = 0;
        std::iter::from_fn(move || {
            let start = (next..units).find(|unit| !self.contains(*unit))?;
            let known = (self.0.len() as u64 * 64).clamp(start, units);
            let end = (start..known).find(|unit| self.contains(*unit)).unwrap_or(units);
            next = end;
            Some(start * UNIT..(end * UNIT).min(length))
        })
    }
}

/// Memory whose start is aligned for direct I/O.
pub(super) struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    /// `length` zeros.
    #[must_use]
    pub(super) fn new(length: usize) -> Self {
        let memory = vec![0; length + MEMORY_ALIGNMENT];
        let start = memory.as_ptr().align_offset(MEMORY_ALIGNMENT);
        Self { memory, start, length }
    }

    /// The bytes.
    #[must_use]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }

    /// The bytes, to be changed.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
