use super::*;

const MINUTE: Duration = Duration::from_mins(1);

#[test]
fn the_wait_doubles_up_to_the_maximum() {
    let policy = Policy::default();
    let waits: Vec<u64> = (1..=6).map(|failures| after_failure(&policy, failures, 0.5).as_secs() / 60).collect();
    assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
    assert_eq!(after_failure(&policy, u32::MAX, 1.0), 60 * MINUTE, "no overflow, and jitter stays below the maximum");
}

#[test]
fn jitter_spreads_by_a_fifth() {
    let policy = Policy::default();
    assert_eq!(after_failure(&policy, 1, 0.0), 4 * MINUTE);
    assert_eq!(after_failure(&policy, 1, 1.0), 6 * MINUTE);
    assert_eq!(after_failure(&policy, 1, 7.0), 6 * MINUTE, "jitter out of bounds is clamped");
    assert_eq!(interval(5 * MINUTE, 0.0), 4 * MINUTE);
}

#[test]
fn a_first_wait_above_the_maximum_is_the_maximum() {
    let policy = Policy { retry_backoff: 10 * MINUTE, retry_backoff_max: MINUTE, ..Policy::default() };
    assert_eq!(after_failure(&policy, 1, 0.5), MINUTE);
}

#[test]
fn interruptions_wait_little_and_never_longer_than_a_failure() {
    let policy = Policy::default();
    let waits: Vec<u64> = (1..=8).map(|count| after_interruption(&policy, count, 0.5).as_secs()).collect();
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
    let quick = Policy { retry_backoff: Duration::from_secs(1), ..policy };
    assert_eq!(after_interruption(&quick, 1, 0.5), Duration::from_secs(1));
}
