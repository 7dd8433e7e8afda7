//! The bytes of an object in order, over as many connections as pay.
//!
//! An object that is bound to its bytes (a digest, a strong `ETag`), whose size is known and whose server knows ranges,
//! is read range by range, so that the number of connections can change in the middle without a byte being asked for
//! twice or thrown away:
//!
//! ```text
//!              position          planned
//!                 │                 │
//!  ███████████████▒▒▒▒▒░░░░░░░░░░░░░·····················  size
//!  delivered      head │ ahead, in order
//! ```
//!
//! The first range is small, and the next ones grow: what turns out not to fit, or is only inspected, costs little. With
//! one connection, the head goes straight from the socket to the reader, and the next range is asked for a little before
//! the head ends, but not read: no round trip is waited for, nothing is held in memory, and back-pressure reaches the
//! socket. With several ([`Parallelism`] says when), tasks fill the ranges ahead into memory, at most [`WINDOW`] of
//! [`RANGE`] bytes; beyond that no connection is opened, so a reader that pauses (a bandwidth limit) stops them all.
//!
//! Everything else is one stream: a server that answers a range with all of the object (it is taken from there), an
//! object without a strong `ETag` (two ranges of it might be of two versions).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::Object;
use super::object::{Identity, Span};
use super::parallel::Parallelism;
use super::segment::Segment;
use crate::failure::{Failure, Reason, Result};
use crate::progress::Counters;
use crate::redact::redacted;

/// The first range: the headers of every disk format, and no more than is paid for a look.
const FIRST: u64 = 1 << 20;

/// The longest range of a single connection: one request in so many bytes costs nothing.
const LONGEST: u64 = 16 << 20;

/// So long before its end a single connection's range is followed by the next: a round trip of a fast link.
const LEAD: u64 = 4 << 20;

/// The ranges of several connections.
const RANGE: usize = 4 << 20;

/// How many of them are in memory or on their way at most: 24 MiB.
const WINDOW: usize = 6;

/// More chunks than a range can have; the ranges themselves bound the memory.
const CHUNKS: usize = 1 << 16;

/// A stream of an object's bytes.
pub struct Body {
    object: Object,
    counters: Counters,
    /// The next byte to deliver.
    position: u64,
    head: Part,
    ahead: VecDeque<Part>,
    /// The length of the last range that was planned, and the first byte behind it.
    length: u64,
    planned: u64,
    parallelism: Parallelism,
    throttled: Arc<AtomicBool>,
    /// When bytes were delivered last, and how many had come in by then.
    last_delivery: Instant,
    fetched: u64,
    /// The tasks of what lies ahead; they end with this value. What has filled a buffer gives it back.
    tasks: JoinSet<Option<BytesMut>>,
    /// The buffers of ranges that came in whole; what they hold may still be on its way to the reader.
    buffers: VecDeque<BytesMut>,
}

/// Where a range's bytes come from.
enum Part {
    /// Straight from a connection.
    Direct(Box<Segment>),
    /// A connection that is being made, for a [`Part::Direct`].
    Opening(oneshot::Receiver<Result<Box<Segment>>>),
    /// A task that reads ahead, and the offset behind the range.
    Buffered(mpsc::Receiver<Result<Bytes>>, u64),
}

impl Part {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self {
                Self::Direct(segment) => return segment.next().await,
                Self::Buffered(chunks, _) => return chunks.recv().await.transpose(),
                Self::Opening(opened) => {
                    let segment = opened.await.map_err(|_| lost())??;
                    *self = Self::Direct(segment);
                }
            }
        }
    }

    /// Whether its connection is of use to nobody any more.
    fn is_fetched(&self) -> bool {
        matches!(self, Self::Buffered(chunks, _) if chunks.is_closed())
    }
}

impl Body {
    /// Opens `object` at `from`. An object whose size and identity are not known yet learns them from the answer.
    ///
    /// # Errors
    ///
    /// The last failure when the budget of retries is used up, at once for failures that do not pass.
    pub async fn open(object: Object, from: u64, counters: Counters) -> Result<Self> {
        let throttled = Arc::new(AtomicBool::new(false));
        let until = object.ranges.then_some(from.saturating_add(FIRST));
        let span = Span { from, until: object.size.map_or(until, |size| until.filter(|until| *until < size)) };
        let mut head = Segment::new(object, span, true, counters.clone(), Arc::clone(&throttled));
        head.connect().await?;
        if head.until().is_some() && (head.object().identity == Identity::Unknown || head.object().size.is_none()) {
            // Two ranges of it might be of two versions. None of this one has been read.
            head = Segment::rest(head.object().clone(), from, counters.clone());
            head.connect().await?;
        }
        let object = head.object().clone();
        Ok(Self {
            fetched: counters.fetched(),
            counters,
            position: from,
            length: FIRST,
            planned: head.until().or(object.size).unwrap_or(u64::MAX),
            object,
            head: Part::Direct(Box::new(head)),
            ahead: VecDeque::new(),
            parallelism: Parallelism::new(),
            throttled,
            last_delivery: Instant::now(),
            tasks: JoinSet::new(),
            buffers: VecDeque::new(),
        })
    }

    /// The object, with what was learnt of it.
    #[must_use]
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// The next bytes; `None` after the last.
    ///
    /// # Errors
    ///
    /// [`Reason::Connection`] when a connection broke and cannot be resumed, and what [`Body::open`] fails with.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            self.look_ahead();
            let asked = Instant::now();
            if let Some(chunk) = self.head.next().await? {
                self.delivered(chunk.len() as u64, asked);
                return Ok(Some(chunk));
            }
            let complete = match &self.head {
                // A segment judges its own end, and may have taken all of the object.
                Part::Direct(segment) if segment.until().is_none() => return Ok(None),
                Part::Direct(_) | Part::Opening(_) => true,
                Part::Buffered(_, until) => *until == self.position,
            };
            if !complete {
                return Err(lost());
            }
            match self.ahead.pop_front() {
                Some(next) => self.head = next,
                None if self.object.size == Some(self.position) => return Ok(None),
                // What is not planned yet is planned by the next look ahead.
                None => self.head = self.plan(1),
            }
        }
    }

    fn delivered(&mut self, bytes: u64, asked: Instant) {
        let now = Instant::now();
        let fetched = self.counters.fetched();
        self.position += bytes;
        // What comes in counts, not what goes out: ranges ahead go out late and all at once.
        self.parallelism.observe(fetched - self.fetched, now - self.last_delivery, now - asked);
        (self.fetched, self.last_delivery) = (fetched, now);
        if self.throttled.swap(false, Ordering::Relaxed) {
            self.parallelism.retreat();
        }
    }

    /// Asks for what will be needed soon.
    fn look_ahead(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            self.buffers.extend(ended.ok().flatten());
        }
        let connections = self.parallelism.connections();
        while self.object.size.is_some_and(|size| self.planned < size) && self.wants(connections) {
            let part = self.plan(connections);
            self.ahead.push_back(part);
        }
    }

    /// Whether one more range is to be asked for.
    fn wants(&self, connections: usize) -> bool {
        if connections == 1 {
            // For the first and short ranges it is less: the reader may yet find that it wants no more, and what the
            // sockets take in ahead would pass for the speed of one connection.
            return self.ahead.is_empty() && self.planned - self.position <= LEAD.min(self.length / 4);
        }
        let busy = 1 + self.ahead.iter().filter(|part| !part.is_fetched()).count();
        busy < connections && self.ahead.len() < WINDOW
    }

    /// Begins the next range.
    fn plan(&mut self, connections: usize) -> Part {
        let alone = connections == 1;
        self.length = if alone { (self.length * 2).min(LONGEST) } else { RANGE as u64 };
        let from = self.planned;
        let until = (from + self.length).min(self.object.size.unwrap_or(u64::MAX));
        self.planned = until;
        let span = Span { from, until: Some(until) };
        let (object, counters, throttled) = (self.object.clone(), self.counters.clone(), Arc::clone(&self.throttled));
        let mut segment = Box::new(Segment::new(object, span, alone, counters, throttled));
        if alone {
            self.buffers.clear();
            let (opened, opening) = oneshot::channel();
            self.tasks.spawn(async move {
                let result = segment.connect().await;
                // Nobody receives any more when the body is gone.
                let _ = opened.send(result.map(|()| segment));
                None
            });
            return Part::Opening(opening);
        }
        let (to_reader, chunks) = mpsc::channel(CHUNKS);
        let mut buffer = self.buffer();
        self.tasks.spawn(async move {
            while let Some(chunk) = segment.next().await.transpose() {
                let failed = chunk.is_err();
                let copied = chunk.map(|chunk| {
                    buffer.extend_from_slice(&chunk);
                    buffer.split().freeze()
                });
                if to_reader.send(copied).await.is_err() || failed {
                    return None;
                }
            }
            Some(buffer)
        });
        Part::Buffered(chunks, until)
    }

    /// Room for a range. The chunks of a connection lie in buffers of its own, much of which is not theirs: what is to
    /// wait is copied, so that it takes no more than its size, and into the same memory again and again.
    fn buffer(&mut self) -> BytesMut {
        let read = self.buffers.pop_front_if(|oldest| oldest.try_reclaim(RANGE));
        read.unwrap_or_else(|| BytesMut::with_capacity(RANGE))
    }
}

fn lost() -> Failure {
    Failure::new(Reason::Internal, "a task that fetched ahead ended without a cause")
}

/// A whole document of at most `limit` bytes, such as a manifest; not counted as image bytes.
///
/// # Errors
///
/// As [`Body::open`], and [`Reason::BadResponse`] for a longer one.
pub async fn read_all(object: Object, limit: u64) -> Result<Vec<u8>> {
    let mut body = Segment::rest(object, 0, Counters::default());
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > limit {
            return Err(Failure::new(
                Reason::BadResponse,
                format!("{} is longer than {limit} bytes", redacted(&body.object().url)),
            ));
        }
    }
    Ok(bytes)
}
