//! A thing with bytes at a URL, and what names exactly these bytes.

use std::sync::Arc;

use reqwest::Response;
use reqwest::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_MATCH, RANGE};
use url::{Origin, Url};

use super::{Authorize, Client, Request, refusal};
use crate::failure::{Failure, Reason, Result};
use crate::redact::redacted;

/// What says that two answers are of the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The URL itself is made of the digest.
    Addressed,
    /// A strong `ETag`, quotes included.
    Tag(String),
    /// Nothing does: what broke cannot go on.
    Unknown,
}

impl Identity {
    /// The identity that an answer's headers give.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        match headers.get(ETAG).and_then(|tag| tag.to_str().ok()) {
            // A weak tag promises the same meaning, not the same bytes (RFC 9110, section 8.8.1).
            Some(tag) if !tag.starts_with("W/") && tag.len() > 2 => Self::Tag(tag.to_owned()),
            _ => Self::Unknown,
        }
    }

    /// The tag, for reports.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        match self {
            Self::Tag(tag) => Some(tag),
            Self::Addressed | Self::Unknown => None,
        }
    }
}

/// A blob that can be read from any offset on.
#[derive(Clone)]
pub struct Object {
    /// The way to it.
    pub client: Client,
    /// Where it is.
    pub url: Url,
    /// Headers beside ranges and credentials.
    pub headers: HeaderMap,
    /// Credentials for its origin.
    pub authorize: Arc<dyn Authorize>,
    /// The origin that the image's own URL implies.
    pub implied: Origin,
    /// What names its bytes.
    pub identity: Identity,
    /// How many bytes it has.
    pub size: Option<u64>,
    /// Whether its server may know ranges.
    pub ranges: bool,
}

impl Object {
    /// Asks for the object from `from` on. The answer is a success: 206 from there on, or 200 with all of it.
    ///
    /// # Errors
    ///
    /// What the status stands for; [`Reason::SourceChanged`] when the answer is of other bytes than those known.
    pub(super) async fn open(&self, from: u64) -> Result<Response> {
        let mut response = self.ask(from).await?;
        // Only the object's own server may ask for other credentials: what a redirect led to might name a token service
        // of its choice and be sent the password (CVE-2020-15157).
        if matches!(response.status().as_u16(), 301 | 400 | 401 | 403)
            && response.url().origin() == self.url.origin()
            && self.authorize.refused(response.headers()).await?
        {
            response = self.ask(from).await?;
        }
        if !matches!(response.status().as_u16(), 200 | 206) {
            return Err(refusal(&self.url, response).await);
        }
        self.check(from, &response)?;
        Ok(response)
    }

    async fn ask(&self, from: u64) -> Result<Response> {
        let mut request = Request::get(&self.url, self.authorize.as_ref()).implied(&self.implied);
        request.headers.clone_from(&self.headers);
        if from > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={from}-"))
        {
            request.headers.insert(RANGE, range);
        }
        if let Some(Ok(tag)) = self.identity.tag().map(HeaderValue::from_str) {
            request.headers.insert(IF_MATCH, tag);
        }
        self.client.send(request).await
    }

    /// Whether the answer is of the bytes that are known.
    fn check(&self, from: u64, response: &Response) -> Result<()> {
        let changed = |what: String| {
            Failure::new(Reason::SourceChanged, format!("{} changed while it was read: {what}", redacted(&self.url)))
        };
        if let (Identity::Tag(known), Identity::Tag(found)) = (&self.identity, Identity::of(response.headers()))
            && *known != found
        {
            return Err(changed(format!("its ETag was {known} and is {found}")));
        }
        let total = total(response);
        if let (Some(known), Some(found)) = (self.size, total)
            && known != found
        {
            // A digest names one length; another one is a lie, not a change.
            if self.identity == Identity::Addressed {
                return Err(Failure::new(
                    Reason::SizeMismatch,
                    format!("{} has {found} bytes, the manifest says {known}", redacted(&self.url)),
                ));
            }
            return Err(changed(format!("it had {known} bytes and has {found}")));
        }
        if response.status().as_u16() == 206 && content_range(response.headers()).map(|range| range.0) != Some(from) {
            return Err(Failure::new(
                Reason::BadResponse,
                format!("{} answered with another range than the one asked for", redacted(&self.url)),
            ));
        }
        Ok(())
    }

    /// Whether a broken connection can go on in the middle.
    #[must_use]
    pub fn resumable(&self) -> bool {
        self.ranges && self.identity != Identity::Unknown
    }
}

/// How many bytes the whole object has, by what the answer says.
pub(super) fn total(response: &Response) -> Option<u64> {
    if response.status().as_u16() == 206 {
        return content_range(response.headers())?.1;
    }
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// First byte and total length of `Content-Range: bytes 5-9/10`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, total.trim().parse().ok()))
}

/// Whether the server said that it knows no ranges.
pub(super) fn refuses_ranges(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT_RANGES).is_some_and(|value| value == "none")
}
