//! How long to wait between attempts.

use std::time::Duration;

use crate::policy::Policy;

/// The wait after an interruption, before it doubles: what evicts a pod is seldom over at once.
const INTERRUPTED: Duration = Duration::from_secs(5);

/// The share by which a wait is spread, so that claims which failed together do not come back together.
const SPREAD: f64 = 0.2;

/// The wait after the `failures`-th failure in a row (from 1): it doubles from `retryBackoffDuration` up to
/// `retryBackoffMax`, spread by `jitter` (0 to 1) over ± 20 %, and never longer than the maximum.
#[must_use]
pub fn after_failure(policy: &Policy, failures: u32, jitter: f64) -> Duration {
    doubled(policy.retry_backoff, failures, policy.retry_backoff_max, jitter)
}

/// The wait after the `interruptions`-th interruption (from 1): short, because nothing was wrong with the attempt, and
/// doubling, because whatever interrupts may do so again.
#[must_use]
pub fn after_interruption(policy: &Policy, interruptions: u32, jitter: f64) -> Duration {
    let first = INTERRUPTED.min(policy.retry_backoff);
    doubled(first, interruptions, policy.retry_backoff.min(policy.retry_backoff_max), jitter)
}

/// A fixed interval, spread like the rest.
#[must_use]
pub fn interval(interval: Duration, jitter: f64) -> Duration {
    spread(interval, jitter)
}

fn doubled(first: Duration, count: u32, longest: Duration, jitter: f64) -> Duration {
    let factor = 2_u32.saturating_pow(count.saturating_sub(1));
    let wait = first.saturating_mul(factor).min(longest);
    spread(wait, jitter).min(longest)
}

fn spread(wait: Duration, jitter: f64) -> Duration {
    let jitter = jitter.clamp(0.0, 1.0);
    wait.mul_f64(1.0 - SPREAD + 2.0 * SPREAD * jitter)
}

#[cfg(test)]
#[path = "backoff_tests.rs"]
mod tests;
