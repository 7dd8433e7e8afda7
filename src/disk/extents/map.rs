//! Extents whose data is still to come.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{Extent, sequence::Sequence};

/// The extents ahead, by their place in the image.
#[derive(Debug)]
pub(crate) struct Map {
    /// Those that were added in their order.
    in_order: Sequence,
    /// The others.
    ahead: BinaryHeap<Reverse<Extent>>,
    /// The last one that was added, which the next may continue.
    last: Option<Extent>,
    merges: bool,
}

impl Map {
    /// `merges`: extents that follow each other on both sides become one.
    pub(crate) fn new(merges: bool) -> Self {
        Self { in_order: Sequence::default(), ahead: BinaryHeap::new(), last: None, merges }
    }

    /// Adds an extent, unless it is empty.
    pub(crate) fn push(&mut self, extent: Extent) {
        if extent.length == 0 {
            return;
        }
        if let Some(last) = self.last.as_mut().filter(|_| self.merges)
            && (last.image + last.length, last.disk + last.length) == (extent.image, extent.disk)
        {
            last.length += extent.length;
            return;
        }
        self.settle();
        self.last = Some(extent);
    }

    fn settle(&mut self) {
        if let Some(last) = self.last.take()
            && !self.in_order.push(last)
        {
            self.ahead.push(Reverse(last));
        }
    }

    /// What they take in memory.
    pub(super) fn bytes(&self) -> usize {
        self.ahead.capacity() * size_of::<Extent>() + self.in_order.bytes()
    }

    /// The first one in the image.
    pub(super) fn first(&mut self) -> Option<Extent> {
        self.settle();
        let first = self.ahead.peek().map(|first| first.0);
        first.into_iter().chain(self.in_order.first()).min()
    }

    /// Takes the first one in the image.
    pub(crate) fn pop(&mut self) -> Option<Extent> {
        let first = self.first();
        if first == self.in_order.first() {
            self.in_order.pop();
            return first;
        }
        self.ahead.pop();
        // A burst of random tables should not hold its memory to the end.
        if self.ahead.is_empty() && self.ahead.capacity() > 1 << 16 {
            self.ahead.shrink_to_fit();
        }
        first
    }
}

#[cfg(test)]
#[path = "map_tests.rs"]
mod tests;
