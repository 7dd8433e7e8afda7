//! An HTTP server with ranges, `ETags` and faults, one per test.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

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
    /// Whether the length is left out.
    pub(crate) chunked: bool,
    /// The value that `Authorization` must have, and the challenge for those who lack it.
    pub(crate) authorization: Option<(String, String)>,
    /// What happens to the next requests, one each; without faults left, all goes well.
    pub(crate) faults: VecDeque<Fault>,
}

/// What goes wrong with one request.
#[derive(Clone)]
pub(crate) enum Fault {
    /// The connection breaks after so many bytes of the answer.
    Cut(usize),
    /// The answer is this, with these headers and this body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// The connection stays, and nothing comes any more after so many bytes of the answer.
    Stall(usize),
    /// As [`Fault::Cut`], and afterwards the resource is another, with another tag.
    CutAndReplace(usize, Bytes, String),
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
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

    /// The requests so far for `path`.
    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        self.inner.lock().unwrap().seen.iter().filter(|seen| seen.path == path).cloned().collect()
    }
}

async fn serve(State(inner): State<Arc<Mutex<Inner>>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let headers = request.headers().clone();
    let (mut resource, fault) = {
        let mut inner = inner.lock().unwrap();
        inner.seen.push(Seen {
            path: path.clone(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            headers: headers.clone(),
        });
        let Some(resource) = inner.resources.get_mut(&path) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let fault = resource.faults.pop_front();
        let now = resource.clone();
        if let Some(Fault::CutAndReplace(_, body, etag)) = &fault {
            resource.body = body.clone();
            resource.etag = Some(etag.clone());
        }
        (now, fault)
    };
    if let Some(Fault::Answer(status, headers, body)) = fault {
        let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
        for (name, value) in headers {
            response.headers_mut().append(name, value.parse().unwrap());
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
        && wanted != etag
    {
        return StatusCode::PRECONDITION_FAILED.into_response();
    }
    let total = resource.body.len();
    let from = text("range")
        .filter(|_| !resource.ignores_ranges)
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    if from.is_some_and(|from| from >= total) {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let body = resource.body.split_off(from.unwrap_or(0));
    let length = body.len();
    let mut response = match fault {
        Some(Fault::Cut(after) | Fault::CutAndReplace(after, ..)) => {
            Response::new(cut(body.slice(..after.min(length))))
        }
        Some(Fault::Stall(after)) => {
            let silence = futures::stream::pending();
            Response::new(Body::from_stream(pieces(body.slice(..after.min(length))).chain(silence)))
        }
        _ if *request.method() == Method::HEAD => Response::new(Body::empty()),
        _ => Response::new(Body::from_stream(pieces(body))),
    };
    let answer = response.headers_mut();
    if !resource.chunked {
        answer.insert("content-length", length.into());
    }
    if let Some(etag) = &resource.etag {
        answer.insert("etag", etag.parse().unwrap());
    }
    for (name, value) in &resource.headers {
        answer.insert(name, value.parse().unwrap());
    }
    if let Some(from) = from {
        answer.insert("content-range", format!("bytes {from}-{}/{total}", total - 1).parse().unwrap());
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

/// The bytes in pieces that fall on no boundary.
fn pieces(body: Bytes) -> impl futures::Stream<Item = Result<Bytes, Infallible>> + Send {
    const PIECE: usize = 65_521;
    futures::stream::unfold(body, |mut rest| async move {
        (!rest.is_empty()).then(|| {
            let piece = rest.split_to(PIECE.min(rest.len()));
            (Ok(piece), rest)
        })
    })
}

/// A body that breaks: the connection is reset, whatever its length was to be.
fn cut(body: Bytes) -> Body {
    let whole = pieces(body).map(|piece| Ok(piece.unwrap()));
    let broken = futures::stream::once(async {
        // Flushed first, so that the bytes before the break do arrive.
        tokio::task::yield_now().await;
        Err(std::io::Error::other("cut"))
    });
    Body::from_stream(whole.chain(broken))
}
