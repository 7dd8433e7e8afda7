use std::str::FromStr as _;

use super::*;

#[test]
fn only_addresses_that_are_allowed_are_connected_to() {
    let policy = Policy::default();
    for (found, expected) in [
        (&["192.0.2.1:0"][..], Some(&["192.0.2.1:0"][..])),
        // A name with one good address and one of the node's services.
        (&["169.254.169.254:0", "192.0.2.1:0", "[::1]:0"], Some(&["192.0.2.1:0"])),
        (&["127.0.0.1:0", "[::ffff:127.0.0.1]:0"], None),
        (&["0.0.0.0:0"], None),
        (&[], None),
    ] {
        let addresses = found.iter().map(|address| address.parse().unwrap()).collect();
        let expected: Option<Vec<SocketAddr>> =
            expected.map(|expected| expected.iter().map(|address| address.parse().unwrap()).collect());
        assert_eq!(allowed(&policy, "h", addresses).ok(), expected, "{found:?}");
    }
}

#[tokio::test]
async fn what_is_given_is_what_was_checked() {
    let resolve = |policy: Policy, proxies: &[&str]| {
        let proxies = proxies.iter().map(|&proxy| proxy.to_owned()).collect();
        CheckedResolver::new(Arc::new(policy), Arc::new(proxies)).resolve(Name::from_str("localhost").unwrap())
    };
    let refused = resolve(Policy::default(), &[]).await.err().unwrap();
    assert_eq!(refused.downcast::<Failure>().unwrap().reason, Reason::SourceNotAllowed);
    for (policy, proxies) in [(Policy::by_hand(), &[][..]), (Policy::default(), &["localhost"])] {
        let found: Vec<SocketAddr> = resolve(policy, proxies).await.unwrap().collect();
        assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
    }
}
