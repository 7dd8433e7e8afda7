use super::*;

#[test]
fn challenges_are_read() {
    let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
        Some(Challenge::Bearer {
            realm: realm.into(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        })
    };
    for (text, expected) in [
        ("Basic realm=\"x\"", Some(Challenge::Basic)),
        ("basic", Some(Challenge::Basic)),
        ("Bearer realm=\"https://a/t\"", bearer("https://a/t", None, None)),
        (
            "Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:r:pull,push\"",
            bearer("https://a/t", Some("s"), Some("repository:r:pull,push")),
        ),
        ("bearer realm=https://a/t, service=s, error=\"invalid_token\"", bearer("https://a/t", Some("s"), None)),
        ("Bearer service=\"s\"", None),
        ("Bearer realm=\"open", None),
        ("Negotiate", None),
        ("", None),
    ] {
        assert_eq!(parse_challenge(text), expected, "{text}");
    }
}
