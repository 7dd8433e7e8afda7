//! A web server whose answers are beyond every bound. It runs in the test's own process, at the host's end of the
//! cluster's cable, where pods reach it, and has a certificate of its own.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::ConfigMap;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::objects::CA_CONFIG_MAP;
use crate::instance::Instance;

/// One answer, the same for every request of its path.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers beside those that HTTP itself needs.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// 200 with this body.
    #[must_use]
    pub fn of(body: Vec<u8>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into() }
    }

    /// Another status, with a body of so many bytes.
    #[must_use]
    pub fn refusal(status: u16, bytes: usize) -> Self {
        Self { status, headers: Vec::new(), body: vec![b'x'; bytes].into() }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// The server, for as long as this value lives.
pub struct Rude {
    address: SocketAddr,
    certificate: String,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    task: JoinHandle<()>,
}

impl Drop for Rude {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Rude {
    /// Begins to serve.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> Result<Self> {
        let host = Instance::current()?.host_address();
        let listener = TcpListener::bind((host, 0)).await.with_context(|| format!("cannot listen on {host}"))?;
        let key = rcgen::generate_simple_self_signed([host.to_string()])?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()));
        let chain = vec![CertificateDer::from(key.cert.der().to_vec())];
        let mut tls = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, private)?;
        // HTTP/2 bounds headers itself.
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let answers = Arc::<Mutex<HashMap<String, Answer>>>::default();
        let address = listener.local_addr()?;
        let task = tokio::spawn(listen(listener, TlsAcceptor::from(Arc::new(tls)), Arc::clone(&answers)));
        Ok(Self { address, certificate: key.cert.pem(), answers, task })
    }

    /// Its certificate as the `ConfigMap` that [`tls_image`](super::objects::tls_image) names.
    ///
    /// # Errors
    /// Never.
    pub fn trust(&self) -> Result<ConfigMap> {
        Ok(serde_json::from_value(json!({"metadata": {"name": CA_CONFIG_MAP}, "data": {"ca.crt": self.certificate}}))?)
    }

    /// Host and port.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers a path from now on, and gives its URL.
    pub fn answer(&self, path: &str, answer: Answer) -> String {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), answer);
        format!("https://{}{path}", self.address)
    }
}

async fn listen(listener: TcpListener, tls: TlsAcceptor, answers: Arc<Mutex<HashMap<String, Answer>>>) {
    while let Ok((connection, _)) = listener.accept().await {
        let (tls, answers) = (tls.clone(), Arc::clone(&answers));
        tokio::spawn(async move {
            let Ok(connection) = tls.accept(connection).await else { return };
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let answer = answers.lock().unwrap_or_else(PoisonError::into_inner).get(request.uri().path()).cloned();
                async move { Ok::<_, Infallible>(respond(&request, answer)) }
            });
            // Who hangs up early is in his right.
            let _ =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
        });
    }
}

/// Whole bodies alone; a client that asks for a range gets all, as RFC 9110 allows.
fn respond<B>(request: &Request<B>, answer: Option<Answer>) -> Response<Body> {
    let Some(answer) = answer else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let length = answer.body.len();
    let body = if request.method() == "HEAD" { Body::empty() } else { Body::from(answer.body) };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
