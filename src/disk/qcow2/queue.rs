//! Compressed clusters whose data is still to come.

use std::{cmp::Reverse, collections::BinaryHeap, ops::Range};

use super::{Header, table::Compressed};
use crate::{Error, Inflater, Sink};

/// The compressed clusters ahead of the stream, by place, and the data of the one that has begun. Their ranges may
/// overlap: one ends with a sector that the next begins in.
#[derive(Debug, Default)]
pub(super) struct Queue {
    ahead: BinaryHeap<Reverse<Compressed>>,
    /// The stream's bytes from `tail_offset` to where it is, while a cluster waits for its end.
    tail: Vec<u8>,
    tail_offset: u64,
    /// The last stretch of the image that was compressed clusters without a gap.
    covered: Range<u64>,
}

impl Queue {
    pub(super) fn push(&mut self, compressed: Compressed) {
        self.ahead.push(Reverse(compressed));
    }

    /// What they take in memory.
    pub(super) fn bytes(&self) -> usize {
        self.ahead.capacity() * size_of::<Compressed>() + self.tail.capacity()
    }

    fn first(&self) -> Option<Compressed> {
        self.ahead.peek().map(|first| first.0)
    }

    /// Takes the stream's next bytes and hands on each cluster that is whole.
    pub(super) fn feed(
        &mut self,
        header: &Header,
        offset: u64,
        data: &[u8],
        inflater: &mut Inflater,
        sink: &mut dyn Sink,
    ) -> Result<(), Error> {
        let end = offset + data.len() as u64;
        let index = |at: u64| crate::io::to_usize(at - offset);
        while let Some(first) = self.first().filter(|first| first.end() <= end) {
            let bytes = if first.offset >= offset {
                &data[index(first.offset)..index(first.end())]
            } else {
                let tail_end = self.tail_offset + self.tail.len() as u64;
                if first.end() > tail_end {
                    self.tail.extend_from_slice(&data[index(tail_end)..index(first.end())]);
                }
                let start = crate::io::to_usize(first.offset - self.tail_offset);
                &self.tail[start..start + first.length as usize]
            };
            sink.write_compressed(&first.with(header, bytes), inflater)?;
            self.ahead.pop();
            self.cover(first);
        }
        match self.first().filter(|first| first.offset < end) {
            None => self.tail.clear(),
            Some(first) if first.offset >= offset => {
                self.tail.clear();
                self.tail.extend_from_slice(&data[index(first.offset)..]);
                self.tail_offset = first.offset;
            }
            Some(first) => {
                let tail_end = self.tail_offset + self.tail.len() as u64;
                self.tail.extend_from_slice(&data[index(tail_end)..]);
                self.tail.drain(..crate::io::to_usize(first.offset - self.tail_offset));
                self.tail_offset = first.offset;
            }
        }
        Ok(())
    }

    fn cover(&mut self, compressed: Compressed) {
        if compressed.offset <= self.covered.end {
            self.covered.end = self.covered.end.max(compressed.end());
        } else {
            self.covered = compressed.offset..compressed.end();
        }
    }

    /// Whether known compressed clusters fill the stream's bytes in `range`, which has just passed. What ends with the
    /// range does not fill it: in its last sector another cluster may begin.
    pub(super) fn covers(&self, range: &Range<u64>) -> bool {
        let end = match self.first() {
            Some(first) if first.offset <= self.covered.end => self.covered.end.max(first.end()),
            Some(first) if first.offset <= range.start => return first.end() > range.end,
            _ => self.covered.end,
        };
        self.covered.start <= range.start && end > range.end
    }

    /// The bytes of a cluster that have passed already.
    pub(super) fn passed(&self, compressed: &Compressed) -> &[u8] {
        compressed
            .offset
            .checked_sub(self.tail_offset)
            .and_then(|start| self.tail.get(crate::io::to_usize(start)..))
            .unwrap_or_default()
    }

    /// Takes every cluster that is left, in the order of the image.
    pub(super) fn take(&mut self) -> Vec<Compressed> {
        let mut all: Vec<_> = std::mem::take(&mut self.ahead).into_iter().map(|first| first.0).collect();
        all.sort_unstable();
        all
    }
}
