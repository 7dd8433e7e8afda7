use super::*;

fn lease() -> Lease {
    let config = kube::Config::new("http://localhost:1".parse().unwrap());
    let _ = rustls::crypto::ring::default_provider().install_default();
    Lease::new(Client::try_from(config).unwrap(), "n", "me")
}

fn record(version: &str, holder: Option<&str>) -> Record {
    Record { version: Some(version.into()), holder: holder.map(str::to_owned) }
}

#[tokio::test]
async fn a_lease_is_free_when_nobody_holds_it_or_nobody_renews_it() {
    let mut lease = lease();
    let start = Instant::now();
    assert_eq!(lease.look(record("1", None), start), Look::Free);
    assert_eq!(lease.look(record("2", Some("me")), start), Look::Ours);
    // By our clock, from when we saw it change: what the leader's clock says does not matter.
    assert_eq!(lease.look(record("3", Some("other")), start), Look::Taken);
    assert_eq!(lease.look(record("3", Some("other")), start + DURATION - Duration::from_millis(1)), Look::Taken);
    let renewed = start + Duration::from_secs(9);
    assert_eq!(lease.look(record("4", Some("other")), renewed), Look::Taken);
    assert_eq!(lease.look(record("4", Some("other")), start + DURATION), Look::Taken, "it was renewed meanwhile");
    assert_eq!(lease.look(record("4", Some("other")), renewed + DURATION), Look::Free);
}

#[test]
fn the_leader_gives_up_before_a_follower_may_take_over() {
    assert!(RENEW_DEADLINE + PERIOD < DURATION);
    assert!(DURATION + PERIOD + PERIOD < Duration::from_secs(20), "a hand-over takes less than 20 s");
}
