//! A few pieces of an object, out of order: the tables of an image, ahead of the stream that brings all of it.

use std::io;
use std::ops::Range;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use vmdisk_format::ReadAt;

use super::Object;
use super::object::Span;
use super::segment::Segment;
use crate::failure::{Failure, Reason, Result};
use crate::progress::Counters;

/// So many are asked for at once: one after the other, each would cost a round trip.
const AT_ONCE: usize = 8;

/// An object as an image that can be read anywhere. For threads beside the runtime: reading blocks.
pub struct RangedObject {
    object: Object,
    size: u64,
    counters: Counters,
    runtime: Handle,
}

impl RangedObject {
    /// The object, where its server knows ranges and they are sure to be of the same bytes. To be made on the runtime.
    #[must_use]
    pub fn new(object: &Object, counters: Counters) -> Option<Self> {
        let size = object.size.filter(|_| object.resumable())?;
        Some(Self { object: object.clone(), size, counters, runtime: Handle::current() })
    }

    async fn read(&self, ranges: &[Range<u64>]) -> Result<Vec<Vec<u8>>> {
        let mut pieces = vec![Vec::new(); ranges.len()];
        let mut waiting = ranges.iter().cloned().enumerate();
        let mut tasks = JoinSet::new();
        loop {
            while tasks.len() < AT_ONCE
                && let Some((index, range)) = waiting.next()
            {
                let (object, counters) = (self.object.clone(), self.counters.clone());
                tasks.spawn(async move { read(object, range, counters).await.map(|piece| (index, piece)) });
            }
            let Some(done) = tasks.join_next().await else {
                return Ok(pieces);
            };
            let lost = |error| Failure::new(Reason::Internal, format!("a task of the worker failed: {error}"));
            let (index, piece) = done.map_err(lost)??;
            pieces[index] = piece;
        }
    }
}

async fn read(object: Object, range: Range<u64>, counters: Counters) -> Result<Vec<u8>> {
    let span = Span { from: range.start, until: Some(range.end) };
    let mut segment = Segment::new(object, span, false, counters, std::sync::Arc::default());
    let mut piece = Vec::new();
    while let Some(chunk) = segment.next().await? {
        piece.extend_from_slice(&chunk);
    }
    Ok(piece)
}

impl ReadAt for RangedObject {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let range = offset..offset + buffer.len() as u64;
        buffer.copy_from_slice(&self.read_ranges(&[range])?.concat());
        Ok(())
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn read_ranges(&self, ranges: &[Range<u64>]) -> io::Result<Vec<Vec<u8>>> {
        self.runtime.block_on(self.read(ranges)).map_err(io::Error::other)
    }
}
