//! The process's connection to the API server, and how long it may be silent.

use std::time::Duration;

use anyhow::Context as _;
use kube::{Client, Config};

/// How long a TCP connection and its TLS handshake may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How long the server may leave a request unread.
const WRITE: Duration = Duration::from_secs(30);

/// How long a connection may be silent while an answer, or more of one, is awaited.
///
/// kube speaks HTTP/1.1, so a connection serves one request at a time, and the timeout is one of that request. The
/// longest are watches. kube asks for bookmarks, and the API server sends one about once a minute on every watch, also
/// where nothing changes (seen on 1.36 for kinds without any object, too: 59 to 60 s apart); so two in a row may be lost
/// or late. A watch that is silent for longer is dead, whatever TCP thinks of it: a node that lost its power, a
/// connection that a firewall forgot. kube's own limit for that is 295 s, after the 290 s that it lets a watch last.
/// A watch that is ended here is taken up again where it was, without a new list; a server that sends no bookmarks, as
/// the API allows, costs a request in two and a half minutes for each watch of a quiet kind, and nothing else.
///
/// All other requests have shorter deadlines of their own (see `deadline`), and the API server ends them after a minute.
/// A log that is followed has one as well.
const READ: Duration = Duration::from_secs(150);

/// Connects by `KUBECONFIG`, or by the pod's service account.
///
/// # Errors
///
/// When neither is there, or one cannot be read.
pub async fn connect() -> anyhow::Result<Client> {
    let config = Config::infer().await.context("failed to configure the client; set KUBECONFIG")?;
    Client::try_from(bounded(config)).context("failed to make the client")
}

fn bounded(mut config: Config) -> Config {
    config.connect_timeout = Some(CONNECT);
    config.write_timeout = Some(WRITE);
    config.read_timeout = Some(READ);
    // Otherwise the time in the pool, up to 90 s, counts against the next answer.
    config.reset_reader_on_write = true;
    config
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
