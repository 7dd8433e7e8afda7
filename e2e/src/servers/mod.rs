//! The servers beside the cluster that tests fetch from: files over HTTP and HTTPS, and relays before the registry and
//! the S3 server. All count requests and bytes by path, and can be made to fail by path (see [`control`]).

mod body;
pub mod control;
mod count;
mod fault;
mod files;
mod handler;
mod proxy;
pub mod range;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::body::Body;
use axum::http::Request;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub use count::{Count, Seen};
pub use fault::{Auth, Fault};
use handler::{Server, Source};
use proxy::Proxy;

/// Changes when the servers do, so that running ones are replaced.
pub(crate) const SOURCES: &[&str] = &[
    include_str!("body.rs"),
    include_str!("control.rs"),
    include_str!("count.rs"),
    include_str!("fault.rs"),
    include_str!("files.rs"),
    include_str!("handler.rs"),
    include_str!("mod.rs"),
    include_str!("proxy.rs"),
    include_str!("range.rs"),
];

/// What to serve, as the launcher writes it into a file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Config {
    /// The certificate of every TLS port.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Where [`control`] listens.
    pub control: SocketAddr,
    /// The servers by name.
    pub servers: HashMap<String, ServerConfig>,
}

/// One server.
#[derive(Debug, Serialize, Deserialize)]
pub struct ServerConfig {
    /// A port without TLS.
    pub plain: Option<SocketAddr>,
    /// A port with TLS.
    pub tls: SocketAddr,
    /// The directory with its files; a server without one is a relay.
    pub root: Option<PathBuf>,
    /// The server behind the relay, as address and port.
    pub backend: Option<String>,
    /// Credentials that every request needs.
    pub auth: Option<Auth>,
}

/// Serves until the process ends.
///
/// # Errors
/// When the configuration cannot be read or a port cannot be bound.
pub fn run(config: &Path) -> Result<()> {
    let text = std::fs::read(config).with_context(|| format!("cannot read {}", config.display()))?;
    let config: Config = serde_json::from_slice(&text).context("the configuration of the servers is not valid")?;
    // Another library may have chosen first; it is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<()> {
    let tls = acceptor(&config)?;
    let mut servers = HashMap::new();
    for (name, server) in config.servers {
        let source = match (server.root, server.backend) {
            (Some(root), None) => Source::Files(root),
            (None, Some(backend)) => Source::Proxy(Box::new(Proxy::new(&backend))),
            _ => anyhow::bail!("the server {name} needs either root or backend"),
        };
        let handler = Server::new(source, server.auth);
        if let Some(plain) = server.plain {
            tokio::spawn(listen(bind(plain).await?, None, handler.clone()));
        }
        tokio::spawn(listen(bind(server.tls).await?, Some(tls.clone()), handler.clone()));
        servers.insert(name, handler);
    }
    // Last, so that who sees it answer knows that all are there.
    let control = bind(config.control).await?;
    axum::serve(control, control::router(servers)).await.context("the control endpoint ended")
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

fn acceptor(config: &Config) -> Result<TlsAcceptor> {
    let certificates = CertificateDer::pem_file_iter(&config.certificate)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&config.key)?;
    let mut tls = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(certificates, key)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(tls)))
}

async fn listen(listener: TcpListener, tls: Option<TlsAcceptor>, server: Server) {
    loop {
        let connection = match listener.accept().await {
            Ok((connection, _)) => connection,
            Err(error) => {
                tracing::warn!(%error, "a connection was lost before it began");
                continue;
            }
        };
        let (tls, server) = (tls.clone(), server.clone());
        tokio::spawn(async move {
            match tls {
                None => converse(connection, server).await,
                // A client that does not trust us is not our trouble.
                Some(tls) => match tls.accept(connection).await {
                    Ok(connection) => converse(connection, server).await,
                    Err(error) => tracing::debug!(%error, "no TLS"),
                },
            }
        });
    }
}

async fn converse(connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, server: Server) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let server = server.clone();
        async move { Ok::<_, std::convert::Infallible>(server.answer(request.map(Body::new)).await) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    // Clients hang up and faults cut: both are ordinary ends here.
    if let Err(error) = builder.serve_connection(TokioIo::new(connection), service).await {
        tracing::debug!(%error, "a connection ended early");
    }
}
