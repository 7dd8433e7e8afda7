//! One blob through the pipeline.
//!
//! ```text
//!  fetch ──▶ hash ──▶ unpack ─────────────▶ decode ──────────────────────▶ write ────▶ target
//!  async     thread   thread                thread                         threads
//!            digests  decompress, archive   inspect, place, at the end:    inflate clusters,
//!                     a layer's diff_id     zero, grow, fsync, rename      write what is not zero
//! ```
//!
//! The arrows are bounded channels, so the slowest stage sets the pace and memory stays small whatever the size of
//! the disk. The end of the stream passes the hash stage only when every digest holds, and the decode stage makes
//! nothing visible before the end has come: that order is what keeps a wrong disk from ever being seen.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

use crate::channel::{Batch, CHUNK, ChunkReader, NeighbourGone, Receiver, Sender, channel};
use crate::digest::Verifier;
use crate::failure::{Failure, Reason, Result};
use crate::http::{Body, Object};
use crate::progress::Counters;
use crate::unpack::{Length, Piece, Rules, StageError, Unpacked, unpack};

/// How long bytes are gathered for one hand-over while the source is silent.
const LINGER: Duration = Duration::from_millis(5);

/// A source that sends byte by byte makes batches small, not lists long.
const MAX_PIECES: usize = 64;

/// What flows in: first what is on this machine, then what the source sends.
pub struct Feed {
    /// The beginning of the bytes and its length: on the target since an earlier attempt, or all of a local image.
    pub kept: Option<(File, u64)>,
    /// The source, opened behind what is kept.
    pub body: Option<Body>,
    /// Where the bytes go on when the source comes to its end.
    pub rest: VecDeque<Object>,
    /// No faster than this.
    pub bytes_per_second: Option<u64>,
}

/// Runs one blob through all stages. `decode` is the last stage; it runs on a thread of its own.
///
/// # Errors
///
/// The failure of the stage that failed; the others only noticed.
pub async fn run<T: Send + 'static>(
    feed: Feed,
    length: Length,
    verifier: Verifier,
    rules: Rules,
    decode: impl FnOnce(&mut Receiver<Piece>) -> Result<T, StageError> + Send + 'static,
    counters: &Counters,
) -> Result<(Option<Unpacked>, T)> {
    let clocks = counters.clocks();
    let (to_hash, fetched) = channel(&clocks.fetch, &clocks.hash);
    let (to_unpack, hashed) = channel(&clocks.hash, &clocks.unpack);
    let (to_decode, mut unpacked) = channel(&clocks.unpack, &clocks.decode);

    let hash = spawn_blocking(move || hash(fetched, verifier, &to_unpack).and_then(|()| Ok(to_unpack.end()?)));
    let unpack = spawn_blocking(move || unpack(ChunkReader::new(hashed), length, &rules, to_decode));
    let decode = spawn_blocking(move || decode(&mut unpacked));
    let fetch = fetch(feed, to_hash, counters).await;

    let (hash, unpack, decode) = (join(hash).await, join(unpack).await, join(decode).await);
    // Upstream first: a stage that starved has nothing of its own to say.
    for failed in [fetch.err(), hash.err(), unpack.as_ref().err().cloned(), decode.as_ref().err().cloned()] {
        if let Some(StageError::Failed(failure)) = failed {
            return Err(failure);
        }
    }
    match decode {
        // A decoder that had enough (an inspection) leaves the stages before it without an end.
        Ok(decoded) => Ok((unpack.ok(), decoded)),
        Err(_) => Err(Failure::new(Reason::Internal, "the pipeline ended without a cause")),
    }
}

/// The bytes, from the target as far as they are there, then from the source.
async fn fetch(feed: Feed, sender: Sender<Batch>, counters: &Counters) -> Result<(), StageError> {
    let Feed { kept, body, mut rest, bytes_per_second } = feed;
    if let Some((file, length)) = kept {
        replay(file, length, &sender, counters).await?;
    }
    let Some(mut body) = body else {
        return Ok(sender.end_async().await?);
    };
    let mut pace = Pace::new(bytes_per_second);
    let mut batch = Gathered::default();
    loop {
        let received = {
            let _waiting = counters.clocks().fetch.input();
            let mut next = pin!(body.next());
            tokio::select! {
                biased;
                received = &mut next => received?,
                () = sender.closed() => return Err(NeighbourGone.into()),
                // What is there must not wait for what is not: the stages after this one may need no more to decide.
                () = tokio::time::sleep(LINGER), if !batch.pieces.is_empty() => {
                    sender.send_async(batch.take()).await?;
                    tokio::select! {
                        received = next => received?,
                        () = sender.closed() => return Err(NeighbourGone.into()),
                    }
                }
            }
        };
        let Some(received) = received else {
            if !batch.pieces.is_empty() {
                sender.send_async(batch.take()).await?;
            }
            let Some(next) = rest.pop_front() else { break };
            body = Body::open(next, 0, counters.clone()).await?;
            continue;
        };
        counters.advance(received.len() as u64);
        pace.after(received.len() as u64).await;
        batch.add(received);
        if batch.is_full() {
            sender.send_async(batch.take()).await?;
        }
    }
    Ok(sender.end_async().await?)
}

/// What has come and not been sent on.
#[derive(Default)]
struct Gathered {
    pieces: Batch,
    bytes: usize,
}

impl Gathered {
    fn add(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        self.pieces.push(piece);
    }

    fn is_full(&self) -> bool {
        self.bytes >= CHUNK || self.pieces.len() >= MAX_PIECES
    }

    fn take(&mut self) -> Batch {
        self.bytes = 0;
        std::mem::take(&mut self.pieces)
    }
}

/// Sends what is on this machine, so that it is hashed and inspected as if it came now.
async fn replay(file: File, length: u64, sender: &Sender<Batch>, counters: &Counters) -> Result<(), StageError> {
    let mut file = Some(file);
    let mut offset = 0;
    while let Some(open) = file.take().filter(|_| offset < length) {
        let wanted = CHUNK.min(usize::try_from(length - offset).unwrap_or(CHUNK));
        let read = move || {
            let mut chunk = vec![0; wanted];
            open.read_exact_at(&mut chunk, offset).map(|()| (open, chunk))
        };
        let (open, chunk) = spawn_blocking(read).await.map_err(std::io::Error::other).flatten().map_err(|error| {
            Failure::new(Reason::TargetIo, format!("failed to read what is on this machine already: {error}"))
        })?;
        offset += chunk.len() as u64;
        counters.advance(chunk.len() as u64);
        sender.send_async(vec![chunk.into()]).await?;
        file = Some(open);
    }
    Ok(())
}

/// Every byte as it came from the source, hashed; the end only when the digests hold.
fn hash(mut fetched: Receiver<Batch>, mut verifier: Verifier, sender: &Sender<Batch>) -> Result<(), StageError> {
    while let Some(batch) = fetched.receive()? {
        for piece in &batch {
            verifier.update(piece)?;
        }
        sender.send(batch)?;
    }
    Ok(verifier.finish()?)
}

async fn join<T>(stage: JoinHandle<Result<T, StageError>>) -> Result<T, StageError> {
    stage.await.unwrap_or_else(|error| {
        Err(Failure::new(Reason::Internal, format!("a stage of the worker failed: {error}")).into())
    })
}

/// Keeps a stream below a rate.
struct Pace {
    bytes_per_second: Option<u64>,
    since: Instant,
    bytes: u64,
}

impl Pace {
    fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second: bytes_per_second.filter(|rate| *rate > 0), since: Instant::now(), bytes: 0 }
    }

    async fn after(&mut self, bytes: u64) {
        let Some(rate) = self.bytes_per_second else {
            return;
        };
        self.bytes += bytes;
        let nanos = u128::from(self.bytes) * 1_000_000_000 / u128::from(rate);
        let due = self.since + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        tokio::time::sleep_until(due).await;
    }
}
