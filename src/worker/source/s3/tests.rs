use super::*;

fn settings(secret: &Secret, environment: &[(&str, &str)]) -> Settings {
    Settings::new(secret, |name| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
}

#[test]
fn objects_have_one_address() {
    let none = Secret::default();
    let endpoint = Secret::from([("AWS_ENDPOINT_URL", "https://minio.test:9000/base/")]);
    for (url, region, secret, expected) in [
        ("s3://b/k", None, &none, "https://s3.us-east-1.amazonaws.com/b/k"),
        ("s3://b.dots/a b+c", Some("eu-west-1"), &none, "https://s3.eu-west-1.amazonaws.com/b.dots/a%20b%2Bc"),
        ("s3://b/k", Some("cn-north-1"), &none, "https://s3.cn-north-1.amazonaws.com.cn/b/k"),
        ("s3://b/k", None, &endpoint, "https://minio.test:9000/base/b/k"),
        (
            "https://s3.us-gov-west-1.amazonaws.com/bucket/1.0.0/attacker.qcow2",
            None,
            &endpoint,
            "https://s3.us-gov-west-1.amazonaws.com/bucket/1.0.0/attacker.qcow2",
        ),
        ("https://h/b/%7Ek%2fl", None, &none, "https://h/b/~k/l"),
    ] {
        let named = Url::parse(url).unwrap();
        let (found, own) = address(&named, region, &settings(secret, &[])).unwrap();
        assert_eq!(found.as_str(), expected);
        assert_eq!(own, expected.contains("minio"));
    }
    let bare = Url::parse("s3://bucket").unwrap();
    assert!(address(&bare, None, &settings(&none, &[])).is_err());
}

#[test]
fn the_region_is_the_host_s_then_the_user_s() {
    let secret = Secret::from([("region", "secret-1")]);
    for (url, given, expected) in [
        ("https://s3.us-gov-west-1.amazonaws.com/b/k", Some("x"), "us-gov-west-1"),
        ("https://b.s3.eu-west-1.amazonaws.com/k", None, "eu-west-1"),
        ("https://b.s3.dualstack.eu-west-1.amazonaws.com/k", None, "eu-west-1"),
        ("https://s3-eu-west-1.amazonaws.com/b/k", None, "eu-west-1"),
        ("https://s3.cn-north-1.amazonaws.com.cn/b/k", None, "cn-north-1"),
        ("https://s3.amazonaws.com/b/k", Some("x"), "x"),
        ("https://b.s3.amazonaws.com/k", None, "secret-1"),
        ("https://minio.test/b/k", Some("x"), "x"),
        ("https://minio.test/b/k", None, "secret-1"),
    ] {
        let url = Url::parse(url).unwrap();
        assert_eq!(region(&url, given, &settings(&secret, &[])), expected, "{url}");
    }
    let url = Url::parse("https://minio.test/b/k").unwrap();
    let environment = [("AWS_REGION", "env-1")];
    assert_eq!(region(&url, None, &settings(&Secret::default(), &environment)), "env-1");
    assert_eq!(region(&url, None, &settings(&Secret::default(), &[])), DEFAULT_REGION);
}

#[test]
fn only_what_can_be_a_region_is_signed_for() {
    for (name, expected) in [
        ("us-gov-west-1", true),
        ("garage", true),
        ("RegionOne", true),
        ("", false),
        ("a/b", false),
        ("a, Signature=0", false),
        (&"r".repeat(64), false),
    ] {
        assert_eq!(is_region(name), expected, "{name}");
    }
}
