//! Answers that are passed on as they come, and watches that are disturbed.

use std::convert::Infallible;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::http::Response;
use futures::{Stream, StreamExt as _, stream};
use tokio::sync::mpsc;

use super::OWN;
use super::plan::{Disturbance, gone, is_change};

/// Passes an answer on; `None` when it cannot be.
pub(super) fn relay(response: reqwest::Response, disturbance: Option<Disturbance>) -> Option<Response<Body>> {
    let mut builder = Response::builder().status(response.status());
    for (name, value) in response.headers() {
        if !OWN.contains(name) {
            builder = builder.header(name, value);
        }
    }
    let ok = response.status().is_success();
    let chunks = response.bytes_stream();
    match disturbance.filter(|_| ok) {
        None => builder.body(Body::from_stream(chunks)),
        Some(disturbance) => builder.body(Body::from_stream(disturb(chunks, disturbance).map(Ok::<_, Infallible>))),
    }
    .ok()
}

/// A watch, disturbed line by line.
fn disturb(
    chunks: impl Stream<Item = Result<Bytes, reqwest::Error>> + Send + Unpin + 'static,
    disturbance: Disturbance,
) -> impl Stream<Item = Bytes> + Send + 'static {
    let (sender, receiver) = mpsc::unbounded_channel();
    // Read at once, so that a lag is counted from when something happened.
    tokio::spawn(read(chunks, sender));
    stream::unfold(Some(receiver), move |receiver| async move {
        let mut receiver = receiver?;
        let (arrived, line) = receiver.recv().await?;
        match disturbance {
            Disturbance::Lag(lag) => {
                tokio::time::sleep_until((arrived + lag).into()).await;
                Some((line, Some(receiver)))
            }
            Disturbance::Expires if is_change(&line) => Some((Bytes::from(gone()), None)),
            Disturbance::Expires => Some((line, Some(receiver))),
        }
    })
}

async fn read(
    mut chunks: impl Stream<Item = Result<Bytes, reqwest::Error>> + Unpin,
    sender: mpsc::UnboundedSender<(Instant, Bytes)>,
) {
    let mut rest: Vec<u8> = Vec::new();
    while let Some(Ok(chunk)) = chunks.next().await {
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            if sender.send((Instant::now(), Bytes::from(line))).is_err() {
                return;
            }
        }
    }
}
