//! Waiting for a condition with a deadline. Nothing in this crate waits for time alone to pass.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long to wait between two probes of a condition that cannot be watched.
const INTERVAL: Duration = Duration::from_millis(100);

/// Probes until `probe` gives a value. A probe that fails or gives `None` is tried again until `deadline` has passed;
/// the error then names `what` was awaited and the last failure.
///
/// # Errors
/// When the deadline passes.
pub fn until<T>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        let last = match probe() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if start.elapsed() >= deadline {
            match last {
                Some(error) => {
                    return Err(error.context(format!("{what}: not so within {deadline:?}")));
                }
                None => bail!("{what}: not so within {deadline:?}"),
            }
        }
        std::thread::sleep(INTERVAL);
    }
}

/// As [`until`], for a plain condition.
///
/// # Errors
/// When the deadline passes.
pub fn until_true(what: &str, deadline: Duration, mut probe: impl FnMut() -> bool) -> Result<()> {
    until(what, deadline, || Ok(probe().then_some(())))
}
