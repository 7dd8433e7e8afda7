//! An HTTP server with ranges, `ETags` and faults, one per test.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use tokio::net::TcpListener;

/// What a server has at a path.
#[derive(Clone, Default)]
pub(crate) struct Resource {
    /// The bytes.
    pub(crate) body: Bytes,
    /// The entity tag, quotes included.
    pub(crate) etag: Option<String>,
    /// Further headers of every answer.
    pub(crate) headers: Vec<(HeaderName, String)>,
    /// Whether ranges are answered with all of it.
    pub(crate) ignores_ranges: bool,
    /// What becomes of `If-Match`.
    pub(crate) if_match: IfMatch,
    /// Whether the length is left out.
    pub(crate) chunked: bool,
    /// Ranges are answered with at most so many bytes.
    pub(crate) most: Option<usize>,
    /// How fast each answer comes.
    pub(crate) bytes_per_second: Option<u32>,
    /// The value that `Authorization` must have, and the challenge for those who lack it.
    pub(crate) authorization: Option<(String, String)>,
    /// What goes wrong, one after the other: the first waits for a request that it can happen to.
    pub(crate) faults: VecDeque<Fault>,
}

/// What a server makes of `If-Match`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// It is compared with the tag.
    #[default]
    Heeded,
    /// It is always taken for another version's.
    Refused,
    /// Nothing.
    Ignored,
}

/// What goes wrong with one request. Offsets are those of the resource: a fault happens to the first answer that holds
/// its offset, however the resource is cut into ranges.
#[derive(Clone)]
pub(crate) enum Fault {
    /// The connection breaks before this offset.
    Cut(usize),
    /// The answer is this, with these headers and this body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// As [`Fault::Answer`], to the first request that begins at this offset or behind it.
    AnswerFrom(usize, u16, Vec<(&'static str, String)>),
    /// The connection stays, and nothing comes any more from this offset on.
    Stall(usize),
    /// The answer says nothing of its length and ends before this offset as if that were all.
    Short(usize),
    /// The answer to what begins at this offset or behind it is of another range, so much further on.
    Shift(usize, usize),
    /// From the first request on that begins at this offset or behind it, `Authorization` must have this value.
    Expire(usize, String),
    /// As [`Fault::Cut`], and afterwards the resource is another, with another tag.
    CutAndReplace(usize, Bytes, String),
}

impl Fault {
    /// Whether it happens to a request for these bytes.
    fn hits(&self, span: &Range<usize>) -> bool {
        match self {
            Self::Answer(..) => true,
            Self::AnswerFrom(from, ..) | Self::Shift(from, _) | Self::Expire(from, _) => span.start >= *from,
            Self::Cut(at) | Self::Stall(at) | Self::Short(at) | Self::CutAndReplace(at, ..) => span.contains(at),
        }
    }
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Seen {
    /// The value of a header, empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

#[derive(Default)]
struct Inner {
    resources: HashMap<String, Resource>,
    seen: Vec<Seen>,
    /// Answers on their way, and the most at once.
    open: usize,
    most_open: usize,
    /// Bytes of bodies that went out, and who waits for them.
    delivered: u64,
    moved: Arc<Condvar>,
}

/// The server; it goes with the value.
pub(crate) struct Server {
    scheme: &'static str,
    address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    /// A server with nothing on it.
    pub(crate) fn start() -> Self {
        Self::run("http", |listener| listener)
    }

    /// A server behind what `wrap` makes of its listener.
    pub(crate) fn run<L>(scheme: &'static str, wrap: impl FnOnce(TcpListener) -> L) -> Self
    where
        L: axum::serve::Listener,
        L::Addr: std::fmt::Debug,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let inner = Arc::new(Mutex::new(Inner::default()));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(serve).with_state(Arc::clone(&inner));
        let listener = wrap(listener);
        runtime.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { scheme, address, inner, _runtime: runtime }
    }

    /// Puts a resource at `path`.
    pub(crate) fn put(&self, path: &str, resource: Resource) {
        self.inner.lock().unwrap().resources.insert(path.to_owned(), resource);
    }

    /// Takes away what is at `path`.
    pub(crate) fn remove(&self, path: &str) {
        self.inner.lock().unwrap().resources.remove(path);
    }

    /// Changes what is at `path`.
    pub(crate) fn change(&self, path: &str, change: impl FnOnce(&mut Resource)) {
        change(self.inner.lock().unwrap().resources.get_mut(path).unwrap());
    }

    /// Puts bytes with an `ETag` at `path` and returns their URL.
    pub(crate) fn serve(&self, path: &str, body: impl Into<Bytes>) -> String {
        self.put(path, Resource { body: body.into(), etag: Some("\"v1\"".into()), ..Resource::default() });
        self.url(path)
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// `host:port`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// The requests so far for the bytes at `path`.
    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        let inner = self.inner.lock().unwrap();
        inner.seen.iter().filter(|seen| seen.path == path && seen.method != Method::HEAD).cloned().collect()
    }

    /// The requests so far for the headers at `path`.
    pub(crate) fn heads(&self, path: &str) -> Vec<Seen> {
        let inner = self.inner.lock().unwrap();
        inner.seen.iter().filter(|seen| seen.path == path && seen.method == Method::HEAD).cloned().collect()
    }

    /// How many answers were on their way at once.
    pub(crate) fn most_open(&self) -> usize {
        self.inner.lock().unwrap().most_open
    }
}

/// More than any form that a client sends.
const MOST_SENT: usize = 1 << 20;

/// How often a waiter looks whether what it waits for can still come.
const LOOK: Duration = Duration::from_millis(20);

impl Server {
    /// How many bytes of bodies have gone out: what whoever runs a server is billed for.
    pub(crate) fn delivered(&self) -> u64 {
        self.inner.lock().unwrap().delivered
    }

    /// Waits until so many bytes have gone out, or `over` says that no more will.
    pub(crate) fn wait_for_delivered(&self, bytes: u64, mut over: impl FnMut() -> bool) {
        let mut inner = self.inner.lock().unwrap();
        let moved = Arc::clone(&inner.moved);
        while inner.delivered < bytes && !over() {
            inner = moved.wait_timeout(inner, LOOK).unwrap().0;
        }
    }

    /// Waits until no answer is on its way any more.
    pub(crate) fn wait_for_silence(&self) {
        let mut inner = self.inner.lock().unwrap();
        let moved = Arc::clone(&inner.moved);
        while inner.open > 0 {
            inner = moved.wait_timeout(inner, LOOK).unwrap().0;
        }
    }
}

/// An answer that is on its way.
struct Open(Arc<Mutex<Inner>>);

impl Open {
    fn new(inner: &Arc<Mutex<Inner>>) -> Self {
        let mut locked = inner.lock().unwrap();
        locked.open += 1;
        locked.most_open = locked.most_open.max(locked.open);
        Self(Arc::clone(inner))
    }

    fn deliver(&self, bytes: usize) {
        let mut inner = self.0.lock().unwrap();
        inner.delivered += bytes as u64;
        inner.moved.notify_all();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut inner = self.0.lock().unwrap();
        inner.open -= 1;
        inner.moved.notify_all();
    }
}

/// The bytes that a `Range` header asks for; `None` for what is not understood.
fn range(value: &str, total: usize) -> Option<Range<usize>> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    let end = if last.is_empty() { total } else { last.parse::<usize>().ok()?.checked_add(1)?.min(total) };
    Some(first.parse().ok()?..end)
}

async fn serve(State(inner): State<Arc<Mutex<Inner>>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let (method, query) = (request.method().clone(), request.uri().query().unwrap_or_default().to_owned());
    let headers = request.headers().clone();
    let sent = axum::body::to_bytes(request.into_body(), MOST_SENT).await.unwrap();
    let (resource, fault, mut span) = {
        let mut inner = inner.lock().unwrap();
        inner.seen.push(Seen {
            method: method.clone(),
            path: path.clone(),
            query,
            headers: headers.clone(),
            body: String::from_utf8(sent.to_vec()).unwrap(),
        });
        let Some(resource) = inner.resources.get_mut(&path) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let total = resource.body.len();
        let wanted = headers.get("range").and_then(|value| range(value.to_str().ok()?, total));
        let span = wanted.filter(|_| !resource.ignores_ranges).unwrap_or(0..total);
        // A HEAD has no bytes that could go wrong.
        let hit = method != Method::HEAD && resource.faults.front().is_some_and(|fault| fault.hits(&span));
        let fault = if hit { resource.faults.pop_front() } else { None };
        if let (Some(Fault::Expire(_, fresh)), Some((expected, _))) = (&fault, &mut resource.authorization) {
            expected.clone_from(fresh);
        }
        let now = resource.clone();
        if let Some(Fault::CutAndReplace(_, body, etag)) = &fault {
            resource.body = body.clone();
            resource.etag = Some(etag.clone());
        }
        (now, fault, span)
    };
    let answer = match &fault {
        Some(Fault::Answer(status, headers, body)) => Some((*status, headers, body.as_str())),
        Some(Fault::AnswerFrom(_, status, headers)) => Some((*status, headers, "")),
        _ => None,
    };
    if let Some((status, headers, body)) = answer {
        let mut response = (StatusCode::from_u16(status).unwrap(), body.to_owned()).into_response();
        for (name, value) in headers {
            response.headers_mut().append(*name, value.parse().unwrap());
        }
        return response;
    }
    if let Some((expected, challenge)) = &resource.authorization
        && headers.get("authorization").is_none_or(|value| value != expected.as_str())
    {
        let challenge = HeaderValue::from_str(challenge).unwrap();
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response();
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let (Some(wanted), Some(etag)) = (text("if-match"), &resource.etag)
        && (wanted != etag || resource.if_match == IfMatch::Refused)
        && resource.if_match != IfMatch::Ignored
    {
        return StatusCode::PRECONDITION_FAILED.into_response();
    }
    let total = resource.body.len();
    let partial = text("range").is_some() && !resource.ignores_ranges;
    if partial && span.start >= total {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    if let Some(most) = resource.most.filter(|_| partial) {
        span.end = span.end.min(span.start + most);
    }
    if let Some(Fault::Shift(_, by)) = &fault {
        span = (span.start + by).min(total - 1)..(span.end + by).min(total);
    }
    let until = |at: usize| resource.body.slice(span.start..at);
    let open = Open::new(&inner);
    let mut response = match &fault {
        Some(Fault::Cut(at) | Fault::CutAndReplace(at, ..)) => Response::new(cut(until(*at), open)),
        Some(Fault::Stall(at)) => {
            let silence = futures::stream::pending();
            Response::new(Body::from_stream(pieces(until(*at), open, None).chain(silence)))
        }
        Some(Fault::Short(at)) => Response::new(Body::from_stream(pieces(until(*at), open, None))),
        _ if method == Method::HEAD => Response::new(Body::empty()),
        _ => Response::new(Body::from_stream(pieces(until(span.end), open, resource.bytes_per_second))),
    };
    let answer = response.headers_mut();
    if !resource.chunked && !matches!(fault, Some(Fault::Short(_))) {
        answer.insert("content-length", span.len().into());
    }
    if let Some(etag) = &resource.etag {
        answer.insert("etag", etag.parse().unwrap());
    }
    for (name, value) in &resource.headers {
        answer.insert(name, value.parse().unwrap());
    }
    if partial {
        answer.insert("content-range", format!("bytes {}-{}/{total}", span.start, span.end - 1).parse().unwrap());
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

/// The bytes in pieces that fall on no boundary, no faster than `rate` bytes a second.
fn pieces(
    body: Bytes,
    open: Open,
    rate: Option<u32>,
) -> impl futures::Stream<Item = Result<Bytes, Infallible>> + Send + use<> {
    const PIECE: usize = 65_521;
    futures::stream::unfold((body, open), move |(mut rest, open)| async move {
        if rest.is_empty() {
            return None;
        }
        let piece = rest.split_to(PIECE.min(rest.len()));
        if let Some(rate) = rate {
            tokio::time::sleep(Duration::from_secs(1) * u32::try_from(piece.len()).unwrap() / rate).await;
        }
        open.deliver(piece.len());
        Some((Ok(piece), (rest, open)))
    })
}

/// A body that breaks: the connection is reset, whatever its length was to be.
fn cut(body: Bytes, open: Open) -> Body {
    let whole = pieces(body, open, None).map(|piece| Ok(piece.unwrap()));
    let broken = futures::stream::once(async {
        // Flushed first, so that the bytes before the break do arrive.
        tokio::task::yield_now().await;
        Err(std::io::Error::other("cut"))
    });
    Body::from_stream(whole.chain(broken))
}
