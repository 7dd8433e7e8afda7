//! Bounded channels between the stages of the pipeline.
//!
//! A channel carries chunks and ends with an explicit end. One that closes without it tells the receiver that a stage
//! before it failed, which is that stage's to report: so a failure has exactly one author.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;
use vmdisk_wire::StageWait;

/// What a stage tries to send at once: large enough that hand-overs cost nothing, small enough that what one stage
/// wrote is still in a cache when the next one reads it.
pub const CHUNK: usize = 256 * 1024;

/// How many chunks a channel holds; with three channels this is 3 MiB, and twice as many were no faster.
const DEPTH: usize = 4;

/// Bytes in order, in the pieces that they came in: gathered for the hand-over, and never copied for it.
pub type Batch = Vec<Bytes>;

/// The neighbour is gone, before or after; it knows why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a neighbouring stage ended early")]
pub struct NeighbourGone;

/// What travels.
#[derive(Debug)]
enum Message<T> {
    Item(T),
    End,
}

/// The sending end.
pub struct Sender<T> {
    inner: mpsc::Sender<Message<T>>,
    clock: Clock,
}

/// The receiving end.
pub struct Receiver<T> {
    inner: mpsc::Receiver<Message<T>>,
    clock: Clock,
    ended: bool,
}

/// Both ends of a channel; each adds the time that it waits to its stage's clock.
#[must_use]
pub fn channel<T>(from: &Waits, to: &Waits) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::channel(DEPTH);
    (
        Sender { inner: sender, clock: Clock(Arc::clone(&from.output)) },
        Receiver { inner: receiver, clock: Clock(Arc::clone(&to.input)), ended: false },
    )
}

impl<T> Sender<T> {
    /// Sends from a thread.
    ///
    /// # Errors
    ///
    /// [`NeighbourGone`] when nobody receives any more.
    pub fn send(&self, item: T) -> Result<(), NeighbourGone> {
        let _waiting = self.clock.start();
        self.inner.blocking_send(Message::Item(item)).map_err(|_| NeighbourGone)
    }

    /// Sends from the runtime.
    ///
    /// # Errors
    ///
    /// [`NeighbourGone`] when nobody receives any more.
    pub async fn send_async(&self, item: T) -> Result<(), NeighbourGone> {
        let _waiting = self.clock.start();
        self.inner.send(Message::Item(item)).await.map_err(|_| NeighbourGone)
    }

    /// Comes back when nobody receives any more.
    pub async fn closed(&self) {
        self.inner.closed().await;
    }

    /// Says from a thread that all went well and nothing more comes.
    ///
    /// # Errors
    ///
    /// [`NeighbourGone`] when nobody receives any more.
    pub fn end(self) -> Result<(), NeighbourGone> {
        self.inner.blocking_send(Message::End).map_err(|_| NeighbourGone)
    }

    /// Says from the runtime that all went well and nothing more comes.
    ///
    /// # Errors
    ///
    /// [`NeighbourGone`] when nobody receives any more.
    pub async fn end_async(self) -> Result<(), NeighbourGone> {
        self.inner.send(Message::End).await.map_err(|_| NeighbourGone)
    }
}

impl<T> Receiver<T> {
    /// The next item; `None` after the end. Blocks: threads only.
    ///
    /// # Errors
    ///
    /// [`NeighbourGone`] when the channel closed without an end.
    pub fn receive(&mut self) -> Result<Option<T>, NeighbourGone> {
        if self.ended {
            return Ok(None);
        }
        let _waiting = self.clock.start();
        match self.inner.blocking_recv() {
            Some(Message::Item(item)) => Ok(Some(item)),
            Some(Message::End) => {
                self.ended = true;
                Ok(None)
            }
            None => Err(NeighbourGone),
        }
    }
}

/// How long one stage waited.
#[derive(Debug, Clone, Default)]
pub struct Waits {
    input: Arc<AtomicU64>,
    output: Arc<AtomicU64>,
}

impl Waits {
    /// The waits under the stage's name.
    #[must_use]
    pub fn report(&self, stage: &str) -> StageWait {
        StageWait {
            stage: stage.to_owned(),
            input_ms: self.input.load(Ordering::Relaxed) / 1000,
            output_ms: self.output.load(Ordering::Relaxed) / 1000,
        }
    }

    /// Measures a wait for input that is not a channel's.
    #[must_use]
    pub fn input(&self) -> impl Drop {
        Clock(Arc::clone(&self.input)).start()
    }

    /// Measures a wait for input of one of the `threads` that the stage consists of.
    #[must_use]
    pub fn input_of_one_in(&self, threads: usize) -> impl Drop {
        let mut waiting = Clock(Arc::clone(&self.input)).start();
        waiting.threads = threads as u64;
        waiting
    }

    /// Measures a wait for what takes the output, where that is no channel.
    #[must_use]
    pub fn output(&self) -> impl Drop {
        Clock(Arc::clone(&self.output)).start()
    }
}

/// How long every stage waited.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the stages of the pipeline, which explains them")]
pub struct Clocks {
    pub fetch: Waits,
    pub hash: Waits,
    pub unpack: Waits,
    pub decode: Waits,
    pub write: Waits,
}

impl Clocks {
    /// The waits of all stages, in the order of the pipeline.
    #[must_use]
    pub fn report(&self) -> Vec<StageWait> {
        let Self { fetch, hash, unpack, decode, write } = self;
        [("fetch", fetch), ("hash", hash), ("unpack", unpack), ("decode", decode), ("write", write)]
            .map(|(stage, waits)| waits.report(stage))
            .into()
    }
}

/// Microseconds of waiting.
struct Clock(Arc<AtomicU64>);

impl Clock {
    fn start(&self) -> Waiting {
        Waiting { since: Instant::now(), total: Arc::clone(&self.0), threads: 1 }
    }
}

struct Waiting {
    since: Instant,
    total: Arc<AtomicU64>,
    /// How many wait for the stage: it waits as a whole only when all of them do.
    threads: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let micros = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.total.fetch_add(micros / self.threads, Ordering::Relaxed);
    }
}

/// A channel of bytes as a reader.
pub struct ChunkReader {
    receiver: Receiver<Batch>,
    current: Bytes,
    rest: std::vec::IntoIter<Bytes>,
}

impl ChunkReader {
    /// Reads what `receiver` receives.
    #[must_use]
    pub fn new(receiver: Receiver<Batch>) -> Self {
        Self { receiver, current: Bytes::new(), rest: Vec::new().into_iter() }
    }

    /// The next bytes, as many as have come together, at most `most`; none at the end.
    ///
    /// # Errors
    ///
    /// A [`NeighbourGone`] when there is no end.
    pub fn batch(&mut self, most: u64) -> io::Result<Batch> {
        io::BufRead::fill_buf(self)?;
        let mut left = usize::try_from(most).unwrap_or(usize::MAX);
        let mut batch = Batch::new();
        while left > 0 {
            if self.current.is_empty() {
                let Some(next) = self.rest.next() else { break };
                self.current = next;
                continue;
            }
            let piece = self.current.split_to(left.min(self.current.len()));
            left -= piece.len();
            batch.push(piece);
        }
        Ok(batch)
    }

    /// Takes in and drops what is left, so that the stages before come to their end.
    ///
    /// # Errors
    ///
    /// [`NeighbourGone`] when there is no end.
    pub fn drain(&mut self) -> Result<(), NeighbourGone> {
        while self.receiver.receive()?.is_some() {}
        Ok(())
    }
}

impl io::Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = io::BufRead::fill_buf(self)?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        io::BufRead::consume(self, count);
        Ok(count)
    }
}

impl io::BufRead for ChunkReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() {
            if let Some(next) = self.rest.next() {
                self.current = next;
                continue;
            }
            match self.receiver.receive() {
                Ok(Some(batch)) => self.rest = batch.into_iter(),
                Ok(None) => return Ok(&[]),
                Err(gone) => return Err(io::Error::new(io::ErrorKind::BrokenPipe, gone)),
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, count: usize) {
        self.current.advance(count);
    }
}

/// Whether an error of a [`ChunkReader`] only says that a stage before it failed.
#[must_use]
pub fn is_neighbour_gone(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.downcast_ref::<NeighbourGone>().is_some())
}
