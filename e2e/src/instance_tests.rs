use super::*;

#[test]
fn names_that_do_not_fit_a_link_are_refused() {
    for bad in ["", "elevenchars", "UPPER", "a/b", "a b"] {
        assert!(Instance::new(bad, PathBuf::from("/")).is_err(), "{bad:?}");
    }
    let good = Instance::new("ci-1", PathBuf::from("/")).expect("a usable name");
    assert!(good.link().len() <= 15);
}

#[test]
fn ranges_do_not_overlap() {
    let instance = Instance::new("a", PathBuf::from("/")).expect("a usable name");
    let third = |range: &str| range.split('.').nth(2).expect("four octets").parse::<u8>().expect("a number");
    assert!((16..32).contains(&third(&instance.dns_service().to_string())));
    for node in NODES {
        assert!((64..128).contains(&third(&instance.node_pod_range(node))));
        assert_eq!(third(&instance.node_address(node).to_string()), 0);
    }
}
