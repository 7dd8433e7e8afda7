//! No request waits for ever.
//!
//! The API server itself gives up on an ordinary request after a minute (`--request-timeout`), and the client's read
//! timeout ends a connection that has gone silent. But a client may also wait before it sends: for a connection, for a
//! token, for as long as a 429 says in `Retry-After`, up to 15 times. So each call has a deadline of its own.

use std::{io, time::Duration};

use tokio::time::timeout;

/// How long one call may take. Twice what a queue of the API server's priorities may hold it (15 s, a quarter of the
/// request's time), so that a busy server is no error. A write that is given up may have taken effect all the same:
/// whoever writes must be able to write again.
pub const REQUEST: Duration = Duration::from_secs(30);

/// Makes a call to the API server, and waits no longer than [`REQUEST`] for the answer.
///
/// # Errors
///
/// Those of the call; [`kube::Error::Service`] when there was no answer in time.
pub async fn within<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    within_time(REQUEST, call).await
}

/// Makes a call that may take this long.
///
/// # Errors
///
/// As [`within`].
pub async fn within_time<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    timeout(limit, call).await.unwrap_or_else(|_| {
        let message = format!("the API server did not answer within {limit:?}; is it overloaded or out of reach?");
        Err(kube::Error::Service(Box::new(io::Error::new(io::ErrorKind::TimedOut, message))))
    })
}

#[cfg(test)]
#[path = "deadline_tests.rs"]
mod tests;
