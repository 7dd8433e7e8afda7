//! The bytes of an object in order, across as many connections as it takes.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;
use reqwest::Response;

use super::Object;
use super::client::{Options, connection};
use super::object::{Identity, refuses_ranges, total};
use super::status::passing;
use crate::failure::{Failure, Reason, Result};
use crate::progress::Counters;
use crate::redact::redacted;

/// A connection that brought at least this much has earned a fresh budget of retries.
const PROGRESS: u64 = 64 * 1024;

/// A server may ask for patience; beyond this the attempt ends and the controller waits instead.
const MAX_PATIENCE: Duration = Duration::from_secs(30);

/// A stream of an object's bytes.
pub struct Body {
    object: Object,
    counters: Counters,
    /// The next byte to deliver.
    position: u64,
    /// Bytes of the present answer that were delivered before: a server that ignores ranges sends all again.
    skip: u64,
    response: Option<Response>,
    backoff: ExponentialBackoff,
    /// Bytes delivered since the budget was fresh.
    delivered: u64,
}

impl Body {
    /// Opens `object` at `from`. An object whose size and identity are not known yet learns them from the answer.
    ///
    /// # Errors
    ///
    /// The last failure when the budget of retries is used up, at once for failures that do not pass.
    pub async fn open(object: Object, from: u64, counters: Counters) -> Result<Self> {
        let options = object.client.options();
        let backoff = budget(options, options.retries);
        let mut body = Self { object, counters, position: from, skip: 0, response: None, backoff, delivered: 0 };
        body.connect().await?;
        Ok(body)
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
            let Some(response) = &mut self.response else {
                self.connect().await?;
                continue;
            };
            let broken = match response.chunk().await {
                Ok(Some(chunk)) => {
                    self.counters.add_fetched(chunk.len() as u64);
                    if let Some(chunk) = self.deliver(chunk)? {
                        return Ok(Some(chunk));
                    }
                    continue;
                }
                Ok(None) if self.object.size.is_none_or(|size| size == self.position) => {
                    return Ok(None);
                }
                Ok(None) => Failure::new(
                    Reason::Connection,
                    format!(
                        "{} ended after {} of {} bytes",
                        redacted(&self.object.url),
                        self.position,
                        self.object.size.unwrap_or_default()
                    ),
                ),
                Err(error) => connection(&self.object.url, &error),
            };
            self.response = None;
            self.pause(broken).await?;
        }
    }

    /// Counts `chunk` and cuts off what was delivered before.
    fn deliver(&mut self, mut chunk: Bytes) -> Result<Option<Bytes>> {
        let repeated = self.skip.min(chunk.len() as u64);
        self.skip -= repeated;
        let _ = chunk.split_to(usize::try_from(repeated).unwrap_or(chunk.len()));
        if chunk.is_empty() {
            return Ok(None);
        }
        self.position += chunk.len() as u64;
        if let Some(size) = self.object.size.filter(|size| self.position > *size) {
            return Err(Failure::new(
                Reason::SizeMismatch,
                format!("{} has more than the {size} bytes expected", redacted(&self.object.url)),
            ));
        }
        self.delivered += chunk.len() as u64;
        if self.delivered >= PROGRESS {
            self.delivered = 0;
            let options = self.object.client.options();
            self.backoff = budget(options, options.resumptions);
        }
        Ok(Some(chunk))
    }

    /// Connects, as often as the budget allows.
    async fn connect(&mut self) -> Result<()> {
        loop {
            match self.object.open(self.position).await {
                Ok(response) => {
                    self.learn(&response);
                    self.skip = if response.status().as_u16() == 206 { 0 } else { self.position };
                    self.response = Some(response);
                    return Ok(());
                }
                Err(failure) if passing(failure.reason) => self.pause(failure).await?,
                Err(failure) => return Err(failure),
            }
        }
    }

    fn learn(&mut self, response: &Response) {
        if self.object.size.is_none() {
            self.object.size = total(response);
        }
        self.object.ranges &= !refuses_ranges(response.headers());
        if self.object.identity == Identity::Unknown {
            self.object.identity = Identity::of(response.headers());
        }
    }

    /// Waits before the next try, or gives up with `failure`.
    async fn pause(&mut self, failure: Failure) -> Result<()> {
        if self.position > 0 && !self.object.resumable() {
            return Err(Failure::new(
                failure.reason,
                format!(
                    "{}; it cannot be resumed, because the server gives no strong ETag or knows no ranges",
                    failure.message
                ),
            ));
        }
        let Some(delay) = self.backoff.next() else {
            return Err(failure);
        };
        let delay = match failure.retry_after {
            Some(wish) if wish > MAX_PATIENCE => return Err(failure),
            Some(wish) => delay.max(wish),
            None => delay,
        };
        tracing::info!(position = self.position, ?delay, cause = %failure, "trying again");
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

/// A whole document of at most `limit` bytes, such as a manifest; not counted as image bytes.
///
/// # Errors
///
/// As [`Body::open`], and [`Reason::BadResponse`] for a longer one.
pub async fn read_all(object: Object, limit: u64) -> Result<Vec<u8>> {
    let mut body = Body::open(object, 0, Counters::default()).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > limit {
            return Err(Failure::new(
                Reason::BadResponse,
                format!("{} is longer than {limit} bytes", redacted(&body.object.url)),
            ));
        }
    }
    Ok(bytes)
}

/// The body of an answer of at most `limit` bytes, such as a token service's.
///
/// # Errors
///
/// [`Reason::BadResponse`] for a longer one, [`Reason::Connection`].
pub async fn read_limited(mut response: Response, limit: usize) -> Result<Vec<u8>> {
    let url = response.url().clone();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| connection(&url, &error))? {
        body.extend_from_slice(&chunk);
        if body.len() > limit {
            let message = format!("{} answers with more than {limit} bytes", redacted(&url));
            return Err(Failure::new(Reason::BadResponse, message));
        }
    }
    Ok(body)
}

fn budget(options: &Options, tries: usize) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(options.delays.0)
        .with_max_delay(options.delays.1)
        .with_max_times(tries)
        .build()
}
