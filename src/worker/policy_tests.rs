use proptest::prelude::*;

use super::*;

fn policy(allowed: &[&str], refused: &[&str]) -> Policy {
    Policy::new(&Limits {
        allowed_sources: allowed.iter().map(|&entry| entry.into()).collect(),
        refused_networks: refused.iter().map(|&network| network.into()).collect(),
        ..Limits::default()
    })
    .unwrap()
}

fn allows(policy: &Policy, url: &str) -> bool {
    policy.check_url(&Url::parse(url).unwrap()).is_ok()
}

#[test]
fn sources_are_compared_by_scheme_host_port_and_segment() {
    for (entry, url, expected) in [
        ("https://images.example.com", "https://images.example.com/a/b", true),
        ("https://images.example.com", "https://IMAGES.example.com:443/a", true),
        ("https://images.example.com", "http://images.example.com/a", false),
        ("https://images.example.com", "https://images.example.com:8443/a", false),
        ("https://images.example.com", "https://images.example.com.evil.org/a", false),
        ("https://images.example.com", "https://images.example.com@evil.org/a", false),
        ("https://h/lab", "https://h/lab", true),
        ("https://h/lab/", "https://h/lab/x?y", true),
        ("https://h/lab", "https://h/laboratory", false),
        ("https://h/lab", "https://h/other/lab", false),
        ("https://h/lab", "https://h/lab/../secret", false),
        ("https://h/lab", "https://h/lab/%2e%2e/secret", false),
        ("https://h/lab", "https://h/lab/x%2F..%2Fy", false),
        ("docker://h/lab", "oci://h/lab/vm", true),
        ("docker://h:443/lab", "docker://h/lab/vm", true),
        ("docker://h/lab", "https://h/lab/vm", false),
        ("s3://bucket", "s3://bucket/key", true),
        ("s3://bucket/dir", "s3://bucket/directory", false),
    ] {
        assert_eq!(allows(&policy(&[entry], &[]), url), expected, "{entry} {url}");
    }
    assert!(allows(&policy(&[], &[]), "https://anything/at/all"), "an empty list allows all");
    assert!(allows(&policy(&["https://a", "https://b"], &[]), "https://b/x"));
}

#[test]
fn entries_that_are_not_understood_are_errors_and_never_skipped() {
    for entry in ["", "example.com", "https://", "https://u:p@h", "https://h?x=1", "https://h:port"] {
        let limits = Limits { allowed_sources: vec![entry.into()], ..Limits::default() };
        assert_eq!(Policy::new(&limits).unwrap_err().reason, Reason::BadJob, "{entry}");
    }
    for network in ["10.0.0.0/33", "cluster", ""] {
        let limits = Limits { refused_networks: vec![network.into()], ..Limits::default() };
        assert_eq!(Policy::new(&limits).unwrap_err().reason, Reason::BadJob, "{network}");
    }
}

#[test]
fn addresses_that_no_image_lies_at_are_refused_however_they_are_written() {
    let policy = policy(&[], &["10.96.0.0/12", "192.0.2.7"]);
    for (address, expected) in [
        ("127.0.0.1", "loopback"),
        ("127.8.8.8", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("2002:7f00:1::", "loopback"),
        ("::127.0.0.1", "loopback"),
        ("::ffff:0:127.0.0.1", "loopback"),
        ("64:ff9b:1::127.0.0.1", "loopback"),
        ("64:ff9b:1:7f00:0:1::", "loopback"),
        ("64:ff9b:1:a9fe:a9:fe00::", "metadata"),
        ("64:ff9b::169.254.169.254", "metadata"),
        ("::a9fe:a9fe", "metadata"),
        ("192.0.0.192", "metadata"),
        ("fd20:ce::254", "metadata"),
        ("fd00:ec2::23", "metadata"),
        ("169.254.169.254", "metadata"),
        ("::ffff:169.254.169.254", "metadata"),
        ("fd00:ec2::254", "metadata"),
        ("100.100.100.200", "metadata"),
        ("168.63.129.16", "metadata"),
        ("169.254.0.1", "link-local"),
        ("fe80::1", "link-local"),
        ("0.0.0.0", "no host"),
        ("0.1.2.3", "no host"),
        ("::", "no host"),
        ("255.255.255.255", "no host"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("10.96.0.1", "10.96.0.0/12"),
        ("::ffff:10.100.0.1", "10.96.0.0/12"),
        ("192.0.2.7", "192.0.2.7/32"),
    ] {
        let failure = policy.check_address("h", address.parse().unwrap()).unwrap_err();
        assert_eq!(failure.reason, Reason::SourceNotAllowed);
        assert!(failure.message.contains(expected), "{address}: {failure}");
    }
    for address in [
        "10.0.0.1",
        "192.168.1.1",
        "8.8.8.8",
        "2606:4700::1",
        "192.0.2.8",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::8.8.8.8",
        "64:ff9b:1:808:8:800::",
        "fd00::1",
    ] {
        assert!(policy.check_address("h", address.parse().unwrap()).is_ok(), "{address}");
    }
}

#[test]
fn a_host_that_the_policy_names_may_be_anywhere() {
    let policy = policy(&["https://registry.test:5000"], &["10.0.0.0/8"]);
    assert!(policy.check_address("Registry.test", "10.1.2.3".parse().unwrap()).is_ok());
    assert!(policy.check_address("other.test", "10.1.2.3".parse().unwrap()).is_err());
}

#[test]
fn by_hand_this_machine_is_reached_and_metadata_is_not() {
    let policy = Policy::by_hand();
    assert!(policy.check_address("localhost", "127.0.0.1".parse().unwrap()).is_ok());
    assert!(policy.check_address("h", "169.254.169.254".parse().unwrap()).is_err());
    assert!(policy.plain_registry(&Host::Domain("localhost")));
    assert!(!policy.plain_registry(&Host::Domain("registry.example.com")));
    assert!(!self::policy(&[], &[]).plain_registry(&Host::Domain("localhost")));
}

proptest! {
    #[test]
    fn an_ipv4_address_inside_ipv6_is_judged_as_ipv4(bits in any::<u32>()) {
        let v4 = Ipv4Addr::from(bits);
        let policy = policy(&[], &[]);
        let plain = policy.check_address("h", v4.into()).is_ok();
        let [a, b, c, d] = v4.octets().map(u16::from);
        let (high, low) = (a << 8 | b, c << 8 | d);
        for v6 in [
            v4.to_ipv6_mapped(),
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
            Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
            Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
        ] {
            prop_assert_eq!(policy.check_address("h", v6.into()).is_ok(), plain, "{}", v6);
        }
    }
}
