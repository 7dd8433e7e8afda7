//! A relay to a server on this machine: requests go through as they are, so that signatures over them stay valid.

use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::files::status;

/// Headers that concern one connection, not the request (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [header::HeaderName; 5] =
    [header::CONNECTION, header::TE, header::TRAILER, header::TRANSFER_ENCODING, header::UPGRADE];

/// The relay to one server.
#[derive(Clone)]
pub(crate) struct Proxy {
    backend: String,
    client: Client<HttpConnector, Body>,
}

impl Proxy {
    /// A relay to `backend`, an address with a port.
    pub(crate) fn new(backend: &str) -> Self {
        Self { backend: backend.to_owned(), client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// Passes `request` on, and gives the answer.
    pub(crate) async fn answer(&self, mut request: Request<Body>) -> Response<Body> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        // HTTP/2 carries the host in the request line's place.
        if let Some(host) = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
            request.headers_mut().insert(header::HOST, host);
        }
        let Ok(uri) = Uri::builder().scheme("http").authority(self.backend.as_str()).path_and_query(path).build()
        else {
            return status(StatusCode::BAD_REQUEST);
        };
        *request.uri_mut() = uri;
        *request.version_mut() = axum::http::Version::HTTP_11;
        let headers = request.headers_mut();
        for name in &HOP_BY_HOP {
            headers.remove(name);
        }
        // The registry builds its own URLs from what its client used.
        headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        match self.client.request(request).await {
            Ok(mut response) => {
                for name in &HOP_BY_HOP {
                    response.headers_mut().remove(name);
                }
                response.map(Body::new)
            }
            Err(error) => {
                tracing::warn!(%error, backend = self.backend, "the server behind the relay does not answer");
                status(StatusCode::BAD_GATEWAY)
            }
        }
    }
}
