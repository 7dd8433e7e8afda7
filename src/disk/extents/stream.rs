//! Decoding in file order.

use super::{Content, Map, Tables, check_inside, orphans::Orphans, overlap, placer::Placer};
use crate::{Error, Options, ReadAt, Sink, Summary, decoder::Decode, io::to_usize};

/// An image on its way through.
///
/// Every byte is looked at once, when it comes. It is then part of the extent that is being placed, or of the table
/// that is read next; or unknown, and an orphan as long as a table is still to come.
#[derive(Debug)]
pub(crate) struct ExtentStream<T> {
    pub(super) tables: T,
    pub(super) map: Map,
    pub(super) map_limit: usize,
    pub(super) placer: Placer,
    /// The part of a table that is just coming in.
    pub(super) collected: Vec<u8>,
    orphans: Orphans,
    /// How much of the image has passed.
    pub(super) position: u64,
    /// The last of it, for [`Tables::check_end`].
    pub(super) last: Vec<u8>,
}

impl<T: Tables> ExtentStream<T> {
    /// How much of the end [`Tables::check_end`] sees.
    pub(super) const END: u64 = 512;

    pub(crate) fn new(tables: T, options: &Options) -> Self {
        let content = tables.content();
        Self {
            tables,
            map: Map::new(content == Content::Plain),
            map_limit: options.map_limit,
            placer: Placer::new(T::FORMAT, content),
            collected: Vec::new(),
            orphans: Orphans::new(options.orphan_window),
            position: 0,
            last: Vec::new(),
        }
    }

    /// Takes the next bytes of the image.
    fn take(&mut self, mut data: &[u8], sink: &mut dyn Sink) -> Result<(), Error> {
        while !data.is_empty() {
            let part = self.tables.next();
            let first = self.map.first().filter(|_| self.placer.missing() == 0);
            if let Some(extent) = first.filter(|extent| extent.image <= self.position) {
                self.map.pop();
                if extent.image < self.position {
                    return Err(overlap(T::FORMAT, T::EXTENT, extent.image, "another one").into());
                }
                self.placer.begin(extent);
                continue;
            }
            let next_part = part.as_ref().map_or(u64::MAX, |part| part.range.start);
            let length = if self.placer.missing() > 0 {
                let length = to_usize(self.placer.missing()).min(data.len());
                self.placer.feed(&data[..length], sink)?;
                self.position += length as u64;
                length
            } else if let Some(part) = part.as_ref().filter(|part| part.range.start <= self.position) {
                if part.range.start + self.collected.len() as u64 != self.position {
                    return Err(gone::<T>(part.range.start));
                }
                let missing = to_usize(part.range.end - self.position);
                let length = missing.min(data.len());
                self.collected.extend_from_slice(&data[..length]);
                self.position += length as u64;
                if length == missing {
                    self.read_collected()?;
                    self.catch_up(sink)?;
                }
                length
            } else {
                let next = first.map_or(next_part, |extent| extent.image.min(next_part));
                let length = to_usize(next - self.position).min(data.len());
                if part.is_some() {
                    self.keep(&data[..length]);
                }
                self.position += length as u64;
                length
            };
            data = &data[length..];
        }
        Ok(())
    }

    /// Keeps what has just passed and is not known.
    fn keep(&mut self, data: &[u8]) {
        let known = to_usize(self.tables.data_start().saturating_sub(self.position)).min(data.len());
        self.orphans.keep(self.position + known as u64, &data[known..]);
    }

    /// Reads the part of a table that is whole.
    pub(super) fn read_collected(&mut self) -> Result<(), Error> {
        let mut table = std::mem::take(&mut self.collected);
        self.tables.read(&table, &mut self.map)?;
        table.clear();
        self.collected = table;
        Ok(())
    }

    /// Reads the tables and places the extents that have come before it was known what they are.
    fn catch_up(&mut self, sink: &mut dyn Sink) -> Result<(), Error> {
        while let Some(part) = self.tables.next().filter(|part| part.range.start < self.position) {
            let mut table = vec![0; to_usize(part.range.end.min(self.position) - part.range.start)];
            self.take_orphan(part.range.start, &mut table)?;
            self.collected = table;
            if part.range.end > self.position {
                break;
            }
            self.read_collected()?;
        }
        while let Some(extent) = self.map.first().filter(|extent| extent.image < self.position) {
            if self.placer.missing() > 0 {
                return Err(overlap(T::FORMAT, T::EXTENT, extent.image, "another one").into());
            }
            self.map.pop();
            self.placer.begin(extent);
            self.place_orphan(sink)?;
        }
        if self.tables.next().is_none() {
            self.orphans.clear();
        }
        Ok(())
    }

    /// Places an extent up to the position of the stream.
    fn place_orphan(&mut self, sink: &mut dyn Sink) -> Result<(), Error> {
        const STEP: u64 = 64 << 10;
        let mut piece = Vec::new();
        while self.placer.missing() > 0 && self.placer.position() < self.position {
            let at = self.placer.position();
            piece.resize(to_usize(self.placer.missing().min(self.position - at).min(STEP)), 0);
            self.take_orphan(at, &mut piece)?;
            self.placer.feed(&piece, sink)?;
        }
        Ok(())
    }

    pub(super) fn take_orphan(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.orphans.take(offset, buffer).map_err(gone::<T>)
    }

    fn note_last(&mut self, chunk: &[u8]) {
        let kept = chunk.len().min(to_usize(Self::END));
        self.last.extend_from_slice(&chunk[chunk.len() - kept..]);
        let surplus = self.last.len().saturating_sub(to_usize(Self::END));
        self.last.drain(..surplus);
    }

    pub(super) fn summary(&self, image_size: u64) -> Summary {
        Summary { format: T::FORMAT, virtual_size: self.tables.virtual_size(), image_size }
    }
}

/// Bytes are needed that have passed and were not kept.
fn gone<T: Tables>(offset: u64) -> Error {
    Error::NeedsWholeImage { format: T::FORMAT.as_str(), offset }
}

impl<T: Tables> Decode for ExtentStream<T> {
    fn consumed(&self) -> u64 {
        self.position
    }

    fn push(&mut self, chunk: &[u8], sink: &mut dyn Sink) -> Result<(), Error> {
        self.take(chunk, sink)?;
        self.note_last(chunk);
        let why = if self.orphans.is_over() {
            "has its tables too far behind its data"
        } else if self.map.bytes() > self.map_limit {
            "has its data too far behind its tables, and too scattered"
        } else {
            return Ok(());
        };
        Err(Error::NeedsRandomAccess { format: T::FORMAT.as_str(), why, consumed: self.position })
    }

    fn finish(mut self: Box<Self>, _sink: &mut dyn Sink) -> Result<Summary, Error> {
        let size = self.position;
        // The end says best that there was more.
        self.tables.check_end(size, &self.last)?;
        if self.placer.missing() > 0 {
            let end = self.placer.position().saturating_add(self.placer.missing());
            check_inside(T::FORMAT, T::EXTENT, end, size)?;
        }
        if let Some(part) = self.tables.next() {
            check_inside(T::FORMAT, part.field, part.range.end, size)?;
        }
        if let Some(extent) = self.map.pop() {
            if extent.image < size {
                return Err(overlap(T::FORMAT, T::EXTENT, extent.image, "another one").into());
            }
            check_inside(T::FORMAT, T::EXTENT, extent.image.saturating_add(extent.length), size)?;
        }
        Ok(self.summary(size))
    }

    fn finish_at(mut self: Box<Self>, image: &dyn ReadAt, sink: &mut dyn Sink) -> Result<Summary, Error> {
        self.finish_rest(image, sink)
    }
}
