//! Reading what is left of an image, wherever it lies: all of it, or what a stream has not placed.

use super::{ExtentStream, Tables, check_inside, overlap};
use crate::{
    Error, Options, ReadAt, Sink, Summary,
    io::{READ_SIZE, read_at, to_usize},
};

impl<T: Tables> ExtentStream<T> {
    /// Decodes what is left, the extents in the order of the image.
    pub(super) fn finish_rest(&mut self, image: &dyn ReadAt, sink: &mut dyn Sink) -> Result<Summary, Error> {
        let mut buffer = Vec::new();
        self.place_rest(image, &mut buffer, sink)?;
        // The one that the stream was in has been placed to its end.
        let begun = self.placer.start()..self.placer.position();
        while let Some(part) = self.tables.next() {
            self.read_rest_of(part.range.end, part.field, image)?;
            self.read_collected()?;
            if self.map.bytes() > self.map_limit.max(Options::LEAST_MAP) {
                self.place_all(&begun, image, &mut buffer, sink)?;
            }
        }
        self.place_all(&begun, image, &mut buffer, sink)?;
        self.check_end_of(image)?;
        Ok(self.summary(image.size()))
    }

    /// Adds to the collected part of a table what is missing up to `end`.
    fn read_rest_of(&mut self, end: u64, field: &'static str, image: &dyn ReadAt) -> Result<(), Error> {
        check_inside(T::FORMAT, field, end, image.size())?;
        let have = self.collected.len();
        let start = self.tables.next().map_or(end, |part| part.range.start) + have as u64;
        let mut table = std::mem::take(&mut self.collected);
        table.resize(have + to_usize(end - start), 0);
        self.read(image, start, &mut table[have..])?;
        self.collected = table;
        Ok(())
    }

    fn place_all(
        &mut self,
        begun: &std::ops::Range<u64>,
        image: &dyn ReadAt,
        buffer: &mut Vec<u8>,
        sink: &mut dyn Sink,
    ) -> Result<(), Error> {
        let mut end = 0;
        while let Some(extent) = self.map.pop() {
            if extent.image < end || begun.contains(&extent.image) {
                return Err(overlap(T::FORMAT, T::EXTENT, extent.image, "another one").into());
            }
            self.placer.begin(extent);
            self.place_rest(image, buffer, sink)?;
            end = self.placer.position();
        }
        Ok(())
    }

    /// Places what is missing of an extent.
    fn place_rest(&mut self, image: &dyn ReadAt, buffer: &mut Vec<u8>, sink: &mut dyn Sink) -> Result<(), Error> {
        while self.placer.missing() > 0 {
            let position = self.placer.position();
            let end = position.saturating_add(self.placer.missing());
            check_inside(T::FORMAT, T::EXTENT, end, image.size())?;
            let length = to_usize(self.placer.missing()).min(READ_SIZE);
            if buffer.len() < length {
                buffer.resize(length, 0);
            }
            let piece = &mut buffer[..length];
            self.read(image, position, piece)?;
            self.placer.feed(piece, sink)?;
        }
        Ok(())
    }

    /// Fills `buffer` from `offset`: from what was kept of the stream, and from the image where that has not come yet.
    fn read(&mut self, image: &dyn ReadAt, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let passed = buffer.len().min(to_usize(self.position.saturating_sub(offset)));
        let (kept, rest) = buffer.split_at_mut(passed);
        self.take_orphan(offset, kept)?;
        if rest.is_empty() { Ok(()) } else { read_at(image, rest, offset + passed as u64) }
    }

    fn check_end_of(&mut self, image: &dyn ReadAt) -> Result<(), Error> {
        let size = image.size();
        let start = size.saturating_sub(Self::END);
        let mut last = Vec::new();
        if start >= self.position {
            last.resize(to_usize(size - start), 0);
            read_at(image, &mut last, start)?;
        } else {
            last.extend_from_slice(&self.last);
            let mut rest = vec![0; to_usize(size.saturating_sub(self.position))];
            read_at(image, &mut rest, self.position)?;
            last.extend_from_slice(&rest);
            last.drain(..last.len().saturating_sub(to_usize(Self::END)));
        }
        Ok(self.tables.check_end(size, &last)?)
    }
}
