//! Consecutive bytes of an object, across as many connections, one after the other, as it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;
use reqwest::Response;

use super::Object;
use super::client::Options;
use super::object::{Identity, Span, end_of, refuses_ranges, total};
use super::status::passing;
use crate::failure::{Failure, Reason, Result};
use crate::progress::Counters;
use crate::redact::redacted;

/// A connection that brought at least this much has earned a fresh budget of retries.
const PROGRESS: u64 = 64 * 1024;

/// A server may ask for patience; beyond this the attempt ends and the controller waits instead.
const MAX_PATIENCE: Duration = Duration::from_secs(30);

/// A stretch of an object.
pub(super) struct Segment {
    object: Object,
    counters: Counters,
    /// The next byte to deliver.
    position: u64,
    /// Behind the last byte; `None`: to the object's end.
    until: Option<u64>,
    /// Whether an answer with all of the object may make this segment reach to its end.
    last: bool,
    response: Option<Response>,
    /// Behind the last byte of the present answer, where that says so.
    answered: Option<u64>,
    /// Bytes of the present answer that were delivered before: a server that ignores ranges sends all again.
    skip: u64,
    /// Bytes that were paid once more because of that.
    repaid: u64,
    backoff: ExponentialBackoff,
    /// Bytes delivered since the budget was fresh.
    delivered: u64,
    /// Raised when the server asks for patience.
    throttled: Arc<AtomicBool>,
}

impl Segment {
    /// The bytes of `span`, not asked for yet. Nothing else of the object is asked for meanwhile if it is the `last`
    /// segment: then a server that sends the whole object makes it all of the rest.
    pub(super) fn new(object: Object, span: Span, last: bool, counters: Counters, throttled: Arc<AtomicBool>) -> Self {
        let options = object.client.options();
        let backoff = budget(options, options.retries);
        Self {
            object,
            counters,
            position: span.from,
            until: span.until,
            last,
            response: None,
            answered: None,
            skip: 0,
            repaid: 0,
            backoff,
            delivered: 0,
            throttled,
        }
    }

    /// All bytes from `from` on by one request, not asked for yet.
    pub(super) fn rest(object: Object, from: u64, counters: Counters) -> Self {
        Self::new(object, Span { from, until: None }, true, counters, Arc::default())
    }

    /// The object, with what was learnt of it.
    pub(super) fn object(&self) -> &Object {
        &self.object
    }

    /// Behind the last byte of this segment, where that is not the object's.
    pub(super) fn until(&self) -> Option<u64> {
        self.until
    }

    /// The next bytes; `None` after the last.
    ///
    /// # Errors
    ///
    /// [`Reason::Connection`] when a connection broke and cannot be resumed, and what [`Segment::connect`] fails with.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.until == Some(self.position) {
                return Ok(None);
            }
            let Some(response) = &mut self.response else {
                self.connect().await?;
                continue;
            };
            let broken = match self.object.client.chunk(response).await {
                Ok(Some(chunk)) => {
                    self.counters.add_fetched(chunk.len() as u64);
                    if let Some(chunk) = self.deliver(chunk)? {
                        return Ok(Some(chunk));
                    }
                    continue;
                }
                Ok(None) if self.until.is_none() && self.object.size.is_none_or(|size| size == self.position) => {
                    return Ok(None);
                }
                // A server may answer with less than the range; that was no failure.
                Ok(None) if self.answered == Some(self.position) => {
                    self.response = None;
                    continue;
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
                Err(failure) => failure,
            };
            self.response = None;
            self.pause(broken).await?;
        }
    }

    /// Connects, as often as the budget allows.
    ///
    /// # Errors
    ///
    /// The last failure when the budget of retries is used up, at once for failures that do not pass.
    pub(super) async fn connect(&mut self) -> Result<()> {
        loop {
            let span = Span { from: self.position, until: self.until };
            let failure = match self.object.open(span).await {
                Ok(response) if response.status().as_u16() == 206 => {
                    self.learn(&response);
                    self.skip = 0;
                    self.answered = end_of(response.headers());
                    self.response = Some(response);
                    return Ok(());
                }
                Ok(response) if self.last => return self.take_whole(response),
                Ok(_) => Failure::new(
                    Reason::BadResponse,
                    format!("{} answered a range with all its bytes, unlike before", redacted(&self.object.url)),
                ),
                Err(failure) => failure,
            };
            // In the middle, what is paid already is at stake: another server behind the same name may do better.
            let passing = passing(failure.reason) || (self.position > 0 && failure.reason == Reason::BadResponse);
            if !passing {
                return Err(failure);
            }
            self.pause(failure).await?;
        }
    }

    /// Takes an answer with all of the object, though a part may have been asked for.
    ///
    /// Going on costs what is skipped. Giving up costs the same at least, since the next attempt begins with these bytes
    /// again; but it is patient where this is not. So a pod skips as long as it pays no image twice over.
    fn take_whole(&mut self, response: Response) -> Result<()> {
        self.learn(&response);
        if self.position > 0 {
            if self.object.size.map_or(self.repaid > 0, |size| self.repaid + self.position > size) {
                return Err(Failure::new(
                    Reason::Connection,
                    format!(
                        "{} knows no ranges and breaks off; going on would pay all of it twice over",
                        redacted(&self.object.url)
                    ),
                ));
            }
            self.repaid += self.position;
            tracing::warn!(
                bytes = self.position,
                "the server knows no ranges: what came before the break is fetched, and paid, once more"
            );
        }
        self.until = None;
        self.skip = self.position;
        self.answered = None;
        self.response = Some(response);
        Ok(())
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
        if let Some(end) = self.until.or(self.object.size).filter(|end| self.position > *end) {
            return Err(Failure::new(
                Reason::SizeMismatch,
                format!("{} sends more than the {end} bytes expected", redacted(&self.object.url)),
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

    fn learn(&mut self, response: &Response) {
        if self.object.size.is_none() {
            self.object.size = total(response);
        }
        self.object.ranges = if response.status().as_u16() == 206 {
            true
        } else {
            // Only a request for a part tells.
            let asked = self.position > 0 || self.until.is_some();
            self.object.ranges && !asked && !refuses_ranges(response.headers())
        };
        if self.object.identity == Identity::Unknown {
            self.object.identity = Identity::of(response.headers());
        }
        if let (Some(until), Some(size)) = (self.until, self.object.size) {
            self.until = Some(until.min(size));
        }
    }

    /// Waits before the next try, or gives up with `failure`.
    async fn pause(&mut self, failure: Failure) -> Result<()> {
        if failure.reason == Reason::Throttled {
            self.throttled.store(true, Ordering::Relaxed);
        }
        if self.position > 0 && self.object.identity == Identity::Unknown {
            return Err(Failure::new(
                failure.reason,
                format!("{}; it cannot be resumed, because the server gives no strong ETag", failure.message),
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

fn budget(options: &Options, tries: usize) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(options.delays.0)
        .with_max_delay(options.delays.1)
        .with_max_times(tries)
        .build()
}
