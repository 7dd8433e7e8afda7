//! The admin server: metrics on one port, health on another, so that a `NetworkPolicy` can tell them apart.

use std::{
    future::IntoFuture,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use kube::Client;
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::net::TcpListener;

use super::{Settings, deadline::within};

/// The content type of the `OpenMetrics` text format (`OpenMetrics` 1.0, "Content type").
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether the process is ready. Alive it is as long as it answers.
#[derive(Clone, Debug, Default)]
pub struct Health {
    ready: Arc<AtomicBool>,
}

impl Health {
    /// The leader's watches are in sync.
    pub fn in_sync(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// A follower is ready to lead once the API server has answered.
    pub async fn ready_when_reached(self, client: Client) {
        while let Err(error) = within(client.apiserver_version()).await {
            tracing::warn!(%error, "the API server does not answer; trying again");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.in_sync();
    }
}

/// Listens on both ports, and gives what serves them: from before the lease on, for a follower answers too. It ends only
/// with an error.
///
/// # Errors
///
/// When a port cannot be listened on.
pub async fn serve(
    settings: &Settings,
    registry: Arc<Mutex<Registry>>,
    health: Health,
) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + Send + use<>> {
    let metrics = Router::new().route("/metrics", get(metrics)).with_state(registry);
    let probes = Router::new().route("/livez", get(|| async { "ok" })).route("/readyz", get(ready)).with_state(health);
    let metrics_listener = listen(settings.metrics_address).await?;
    let health_listener = listen(settings.health_address).await?;
    Ok(async move {
        let metrics = axum::serve(metrics_listener, metrics).into_future();
        let probes = axum::serve(health_listener, probes).into_future();
        tokio::try_join!(metrics, probes).context("failed to serve")?;
        Ok(())
    })
}

/// Listens, on IPv4 alone where the kernel knows nothing else.
async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = match TcpListener::bind(address).await {
        Err(error) if let Some(address) = without_ipv6(address, &error) => TcpListener::bind(address).await,
        bound => bound,
    };
    bound.with_context(|| format!("failed to listen on {address}; is the port taken?"))
}

/// The address to try instead: `[::]` means every address there is, and is none on a kernel without IPv6.
fn without_ipv6(address: SocketAddr, error: &std::io::Error) -> Option<SocketAddr> {
    /// `EAFNOSUPPORT` (`socket(2)`), which the standard library has no name for.
    const NO_SUCH_FAMILY: i32 = 97;
    let every_address = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let unknown = error.raw_os_error() == Some(NO_SUCH_FAMILY) || error.kind() == ErrorKind::AddrNotAvailable;
    (every_address && unknown).then(|| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
}

async fn metrics(State(registry): State<Arc<Mutex<Registry>>>) -> impl IntoResponse {
    let mut text = String::new();
    let encoded = encode(&mut text, &registry.lock().unwrap_or_else(PoisonError::into_inner));
    match encoded {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, OPEN_METRICS)], text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}

async fn ready(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the watches are not in sync yet")
    }
}

#[cfg(test)]
#[path = "admin_tests.rs"]
mod tests;
