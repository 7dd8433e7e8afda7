use super::*;

fn claim(uid: &str) -> ClaimRef {
    ClaimRef { namespace: "labs".into(), name: "disk".into(), uid: uid.into() }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn runs_in_order_of_request_and_each_claim_once() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    for uid in ["b", "a", "b"] {
        queue.request(claim(uid), now);
    }
    assert_eq!(queue.take(now), Some(claim("b")));
    assert_eq!(queue.take(now), Some(claim("a")));
    assert_eq!(queue.take(now), None);
    assert_eq!(queue.running(), 2);
}

#[test]
fn never_runs_a_claim_twice_at_the_same_time_and_forgets_no_request() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.request(claim("a"), now);
    queue.take(now);
    queue.request(claim("a"), now);
    assert_eq!(queue.take(now), None, "it is running");
    queue.finished(claim("a"), Finished::Well(None), now);
    assert_eq!(queue.take(now), Some(claim("a")));
    queue.finished(claim("a"), Finished::Well(None), now);
    assert_eq!(queue.next_due(), None, "nothing is left to do");
}

#[test]
fn comes_back_in_time_and_sooner_when_something_happens() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.request(claim("a"), now);
    queue.take(now);
    queue.finished(claim("a"), Finished::Well(Some(seconds(60))), now);
    assert_eq!(queue.next_due(), Some(now + seconds(60)));
    queue.request(claim("a"), now + seconds(90));
    assert_eq!(queue.next_due(), Some(now + seconds(60)), "a later request postpones nothing");
    queue.request(claim("a"), now + seconds(1));
    assert_eq!(queue.take(now), None);
    assert_eq!(queue.take(now + seconds(1)), Some(claim("a")));
    assert_eq!(queue.next_due(), None, "one request, one pass");
}

#[test]
fn backs_off_from_failures_up_to_a_limit_and_starts_anew_after_a_success() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    let mut delays = Vec::new();
    for _ in 0..12 {
        queue.request(claim("a"), now);
        queue.take(now);
        queue.finished(claim("a"), Finished::Badly, now);
        delays.push(queue.next_due().unwrap() - now);
    }
    assert_eq!(delays[..3], [FIRST_BACKOFF, FIRST_BACKOFF * 2, FIRST_BACKOFF * 4]);
    assert_eq!(delays[11], LONGEST_BACKOFF);
    queue.request(claim("a"), now);
    queue.take(now);
    queue.finished(claim("a"), Finished::Well(None), now);
    queue.request(claim("a"), now);
    queue.take(now);
    queue.finished(claim("a"), Finished::Badly, now);
    assert_eq!(queue.next_due(), Some(now + FIRST_BACKOFF));
}

#[test]
fn a_failure_is_not_repeated_at_once_because_something_happened_meanwhile() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.request(claim("a"), now);
    queue.take(now);
    queue.request(claim("a"), now);
    queue.finished(claim("a"), Finished::Badly, now);
    assert_eq!(queue.take(now), None);
    assert_eq!(queue.take(now + FIRST_BACKOFF), Some(claim("a")));
}
