//! A thing with bytes at a URL, and what names exactly these bytes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use reqwest::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_MATCH, RANGE};
use reqwest::{Method, Response};
use url::{Origin, Url};

use super::{Anonymous, Authorize, Client, Request, refusal};
use crate::failure::{Failure, Reason, Result};
use crate::redact::redacted;
use crate::shown::{sentence, shown};

/// A tag longer than this is none. It travels back in `If-Match`, and servers take 8 KiB of headers in all.
const LONGEST_TAG: usize = 4096;

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
            Some(tag) if !tag.starts_with("W/") && (3..=LONGEST_TAG).contains(&tag.len()) => Self::Tag(tag.to_owned()),
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
    /// Where a redirect to another origin led.
    moved: Arc<Mutex<Option<Url>>>,
    /// Raised when a server turned out to misread `If-Match`.
    misread: Arc<AtomicBool>,
}

/// Which bytes of an object are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// The first.
    pub(super) from: u64,
    /// Behind the last; `None`: to the end.
    pub(super) until: Option<u64>,
}

impl Span {
    /// All of them.
    const WHOLE: Self = Self { from: 0, until: None };

    fn header(self) -> Option<HeaderValue> {
        let text = match self {
            Self::WHOLE => return None,
            Self { from, until: None } => format!("bytes={from}-"),
            Self { from, until: Some(until) } => format!("bytes={from}-{}", until.saturating_sub(1)),
        };
        HeaderValue::from_str(&text).ok()
    }
}

impl Object {
    /// What is at `url`, of which nothing is known yet.
    #[must_use]
    pub fn new(client: Client, url: Url, authorize: Arc<dyn Authorize>, implied: Origin) -> Self {
        Self {
            client,
            url,
            headers: HeaderMap::new(),
            authorize,
            implied,
            identity: Identity::Unknown,
            size: None,
            ranges: true,
            moved: Arc::default(),
            misread: Arc::default(),
        }
    }

    /// Asks for the bytes of `span`. The answer is a success: 206 with them, or with the first of them, or 200 with all of
    /// the object.
    ///
    /// Where a redirect led to another origin, later requests go there at once: a mirror's choice must not change between
    /// two ranges, and the origin need not be asked for each. Such an address may expire, as presigned URLs do; then the
    /// origin is asked for another.
    ///
    /// # Errors
    ///
    /// What the status stands for; [`Reason::SourceChanged`] when the answer is of other bytes than those known.
    pub(super) async fn open(&self, span: Span) -> Result<Response> {
        let moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(url) = moved {
            let answer = self.ask(Method::GET, span, &url, &Anonymous).await;
            let expired = match &answer {
                Ok(response) => matches!(response.status().as_u16(), 300..=411),
                Err(_) => true,
            };
            if !expired || answer.is_err() {
                if expired {
                    self.forget(&url);
                }
                return self.judge(span, answer?).await;
            }
            tracing::info!("the address that a redirect led to is not good any more; asking for another");
            self.forget(&url);
        }
        let mut response = self.ask_origin(Method::GET, span).await?;
        // An empty object has no range that could be asked for (RFC 9110, section 15.5.17).
        if response.status().as_u16() == 416 && span.from == 0 && span != Span::WHOLE {
            response = self.ask(Method::GET, Span::WHOLE, &self.url, self.authorize.as_ref()).await?;
        }
        if response.status().is_success() && response.url().origin() != self.url.origin() {
            *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = Some(response.url().clone());
        }
        self.judge(span, response).await
    }

    /// What the server says of the object without sending it; `further` are headers of this request alone.
    ///
    /// # Errors
    ///
    /// As a GET would fail, but without the detail that only its body has.
    pub async fn head(&self, further: HeaderMap) -> Result<HeaderMap> {
        let mut object = self.clone();
        object.headers.extend(further);
        let response = object.ask_origin(Method::HEAD, Span::WHOLE).await?;
        if response.status().as_u16() != 200 {
            return Err(refusal(&self.url, response).await);
        }
        Ok(response.headers().clone())
    }

    /// Asks where the object is said to be, with credentials, and once more when others are asked for.
    async fn ask_origin(&self, method: Method, span: Span) -> Result<Response> {
        let asked = Instant::now();
        let response = self.ask(method.clone(), span, &self.url, self.authorize.as_ref()).await?;
        // Only the object's own server may ask for other credentials: what a redirect led to might name a token service
        // of its choice and be sent the password (CVE-2020-15157).
        if matches!(response.status().as_u16(), 301 | 400 | 401 | 403)
            && response.url().origin() == self.url.origin()
            && self.authorize.refused(response.headers(), asked).await?
        {
            return self.ask(method, span, &self.url, self.authorize.as_ref()).await;
        }
        Ok(response)
    }

    async fn judge(&self, span: Span, response: Response) -> Result<Response> {
        if !matches!(response.status().as_u16(), 200 | 206) {
            return Err(refusal(&self.url, response).await);
        }
        self.check(span, &response)?;
        Ok(response)
    }

    /// Takes `url` for gone, unless another request has already found a new one.
    fn forget(&self, url: &Url) {
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        if moved.as_ref() == Some(url) {
            *moved = None;
        }
    }

    async fn ask(&self, method: Method, span: Span, url: &Url, authorize: &dyn Authorize) -> Result<Response> {
        let request = self.request(method.clone(), span, url, authorize);
        let tag = self.identity.tag().filter(|_| !self.misread.load(Ordering::Relaxed));
        let Some(Ok(tag)) = tag.map(HeaderValue::from_str) else {
            return self.client.send(request).await;
        };
        let mut bound = request.clone();
        bound.headers.insert(IF_MATCH, tag);
        let response = self.client.send(bound).await?;
        if response.status().as_u16() != 412 {
            return Ok(response);
        }
        // Some servers and caches know their tags and not this header. The tag of an answer proves the same; it is one of
        // a single byte, since all that comes of another object is paid for nothing.
        let byte = Span { from: span.from, until: Some(span.from + 1) };
        let answer = self.client.send(self.request(method, byte, url, authorize)).await?;
        if !answer.status().is_success() || Identity::of(answer.headers()) != self.identity {
            return Ok(response);
        }
        self.misread.store(true, Ordering::Relaxed);
        self.client.send(request).await
    }

    /// A request that is not bound to the object's tag.
    fn request<'a>(&'a self, method: Method, span: Span, url: &'a Url, authorize: &'a dyn Authorize) -> Request<'a> {
        let mut request = Request::get(url, authorize).implied(&self.implied);
        request.method = method;
        request.headers.clone_from(&self.headers);
        if let Some(range) = span.header() {
            request.headers.insert(RANGE, range);
        }
        request
    }

    /// Whether the answer is of the bytes that are known.
    fn check(&self, span: Span, response: &Response) -> Result<()> {
        let changed = |what: String| {
            Failure::new(Reason::SourceChanged, format!("{} changed while it was read: {what}", redacted(&self.url)))
        };
        if let (Identity::Tag(known), Identity::Tag(found)) = (&self.identity, Identity::of(response.headers()))
            && *known != found
        {
            return Err(changed(format!("its ETag was {} and is {}", sentence(known), sentence(&found))));
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
        let within = |range: ContentRange| {
            range.first == span.from && range.end > range.first && span.until.is_none_or(|until| range.end <= until)
        };
        if response.status().as_u16() == 206 && !content_range(response.headers()).is_some_and(within) {
            let found = response.headers().get(CONTENT_RANGE);
            return Err(Failure::new(
                Reason::BadResponse,
                format!(
                    "{} answered with the range {} instead of the {} asked for",
                    redacted(&self.url),
                    found.map_or("of no Content-Range".into(), |range| shown(&String::from_utf8_lossy(
                        range.as_bytes()
                    ))),
                    span.header().as_ref().and_then(|range| range.to_str().ok()).unwrap_or("whole"),
                ),
            ));
        }
        Ok(())
    }

    /// Takes over what the headers of a successful answer of the whole object say.
    pub fn learn(&mut self, headers: &HeaderMap) {
        if self.identity == Identity::Unknown {
            self.identity = Identity::of(headers);
        }
        self.size = self.size.or_else(|| number(headers.get(CONTENT_LENGTH)?.to_str().ok()?));
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
        return content_range(response.headers())?.total;
    }
    number(response.headers().get(CONTENT_LENGTH)?.to_str().ok()?)
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// Behind the last byte of the part that an answer holds.
pub(super) fn end_of(headers: &HeaderMap) -> Option<u64> {
    Some(content_range(headers)?.end)
}

/// `Content-Range: bytes 5-9/10` (RFC 9110, section 14.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ContentRange {
    first: u64,
    /// Behind the last.
    end: u64,
    total: Option<u64>,
}

fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some(ContentRange { first: number(first)?, end: number(last)?.checked_add(1)?, total: number(total) })
}

/// Whether the server said that it knows no ranges.
pub(super) fn refuses_ranges(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT_RANGES).is_some_and(|value| value == "none")
}
