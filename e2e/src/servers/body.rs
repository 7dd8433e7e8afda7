//! A response body on its way out: counted, and broken as a fault says.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};

use super::count::{Counts, Entry};
use super::fault::Met;

/// A request that is being answered; the account is closed when it is dropped, however the answer ends.
pub(crate) struct Open {
    pub(crate) counts: Arc<Counts>,
    pub(crate) entry: Entry,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.counts.leave(&self.entry);
    }
}

impl Open {
    /// Waits until the fault lets go, and shows meanwhile that somebody waits.
    pub(crate) async fn held(&self, met: &Met) {
        let held = Held::new(self);
        met.released().await;
        drop(held);
    }
}

/// Counted as held for as long as it lives: a client may go away in the middle.
struct Held<'a>(&'a Open);

impl<'a> Held<'a> {
    fn new(open: &'a Open) -> Self {
        open.counts.held(&open.entry, true);
        Self(open)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.counts.held(&self.0.entry, false);
    }
}

struct State {
    open: Open,
    met: Met,
    source: BodyDataStream,
    /// What was read and is still to be sent.
    rest: Bytes,
    /// The next byte's offset in the file.
    at: u64,
    ended: bool,
}

/// More than a server has in its buffer for a connection: that is dropped with it.
const LOST: u64 = 512 << 10;

/// Sends `body`, which begins at `first` in the file and ends at `end`, under the fault that the request met.
pub(crate) fn shape(body: Body, (first, end): (u64, u64), open: Open, mut met: Met) -> Body {
    let fault = &mut met.fault;
    fault.hold_at = fault.hold_at.filter(|at| (first..end).contains(at));
    // A body that begins where another was cut goes on: there, or before it by what a cut connection loses on its way.
    let inside = |at: &u64| (first == 0 || first + LOST <= *at) && *at < end;
    (fault.cut_at, fault.truncate_at) = (fault.cut_at.filter(inside), fault.truncate_at.filter(inside));
    let state = State { open, met, source: body.into_data_stream(), rest: Bytes::new(), at: first, ended: false };
    Body::from_stream(chunks(state))
}

fn chunks(state: State) -> impl Stream<Item = Result<Bytes, axum::Error>> {
    stream::unfold(state, |mut state| async move {
        if state.ended {
            return None;
        }
        let fault = state.met.fault.clone();
        if fault.hold_at == Some(state.at) {
            state.open.held(&state.met).await;
            state.met.fault.hold_at = None;
        }
        if fault.truncate_at == Some(state.at) {
            return None;
        }
        if fault.cut_at == Some(state.at) {
            state.ended = true;
            return Some((Err(axum::Error::new(std::io::Error::other("cut by a fault"))), state));
        }
        while state.rest.is_empty() {
            match state.source.next().await? {
                Ok(bytes) => state.rest = bytes,
                Err(error) => {
                    state.ended = true;
                    return Some((Err(error), state));
                }
            }
        }
        let stops = [fault.hold_at, fault.cut_at, fault.truncate_at];
        let room = stops.into_iter().flatten().filter(|stop| *stop > state.at).map(|stop| stop - state.at).min();
        // A tenth of a second's worth at once makes a slow server slow, not stuttering.
        let pace = fault.bytes_per_second.map(|rate| (rate / 10).max(1));
        let limit = [room, pace].into_iter().flatten().min().unwrap_or(u64::MAX);
        let count = state.rest.len().min(usize::try_from(limit).unwrap_or(usize::MAX));
        let mut chunk = state.rest.split_to(count);
        if let Some(rate) = fault.bytes_per_second.filter(|rate| *rate > 0) {
            tokio::time::sleep(Duration::from_secs(1).mul_f64(fraction(count, rate))).await;
        }
        let sent = count as u64;
        if let Some(at) = fault.corrupt_at.filter(|at| (state.at..state.at + sent).contains(at)) {
            chunk = flipped(&chunk, at - state.at);
        }
        state.at += sent;
        state.open.counts.sent(&state.open.entry, sent);
        Some((Ok(chunk), state))
    })
}

/// How long so many bytes take, in seconds.
#[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
fn fraction(count: usize, rate: u64) -> f64 {
    count as f64 / rate as f64
}

fn flipped(chunk: &[u8], at: u64) -> Bytes {
    let mut bytes = chunk.to_vec();
    if let Some(byte) = usize::try_from(at).ok().and_then(|at| bytes.get_mut(at)) {
        *byte = !*byte;
    }
    bytes.into()
}
