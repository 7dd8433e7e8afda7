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

#[tokio::test]
async fn requests_that_were_refused_at_once_share_one_token() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::new(Arc::default(), crate::http::Options::default(), None).unwrap();
    let api = Url::parse("https://registry.test/v2/lab/vm/").unwrap();
    let auth = RegistryAuth::new(&client, &api, "lab/vm", Credentials::Anonymous).unwrap();
    let mut headers = HeaderMap::new();
    // A service that the policy refuses: asking it is an error.
    headers.insert(WWW_AUTHENTICATE, "Bearer realm=\"https://169.254.169.254/\"".parse().unwrap());
    let asked = Instant::now();
    assert!(auth.refused(&headers, asked).await.is_err());
    *auth.header.lock().unwrap() = (Some(bearer("fresh").unwrap()), Instant::now());
    assert!(auth.refused(&headers, asked).await.unwrap(), "another request has brought a token since");
    assert!(auth.refused(&headers, Instant::now()).await.is_err(), "which is refused in its turn");
}
