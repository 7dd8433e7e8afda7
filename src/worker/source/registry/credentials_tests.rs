use super::*;

fn name(credentials: Result<Credentials>) -> String {
    match credentials.unwrap() {
        Credentials::Anonymous => "-".into(),
        Credentials::Password { username, password } => format!("{username}:{password}"),
        Credentials::Refresh(token) => format!("refresh {token}"),
        Credentials::Token(token) => format!("token {token}"),
    }
}

#[test]
fn the_longest_path_that_covers_the_repository_wins() {
    let config = r#"{"auths": {
        "quay.io": {"username": "host", "password": "p"},
        "https://quay.io/lab/": {"auth": "bGFiOnA6dw=="},
        "quay.io/lab/vm": {"identitytoken": "id"},
        "quay.io/lab/vmware": {"username": "never", "password": "p"},
        "*.azurecr.io": {"registrytoken": "reg"},
        "https://index.docker.io/v1/": {"username": "hub", "password": "p"},
        "localhost:5000": {"username": "port", "password": "p"}
    }}"#;
    let secret = Secret::from([(".dockerconfigjson", config)]);
    for (host, repository, expected) in [
        ("quay.io", "other/vm", "host:p"),
        ("quay.io", "lab/other", "lab:p:w"),
        ("quay.io", "lab/vm", "refresh id"),
        ("quay.io", "lab/vm/sub", "refresh id"),
        ("quay.io", "labor/vm", "host:p"),
        ("me.azurecr.io", "x", "token reg"),
        ("a.b.azurecr.io", "x", "-"),
        ("docker.io", "library/ubuntu", "hub:p"),
        ("localhost:5000", "x", "port:p"),
        ("localhost", "x", "-"),
        ("evil.quay.io", "lab/vm", "-"),
    ] {
        assert_eq!(name(choose(&secret, host, repository)), expected, "{host}/{repository}");
    }
}

#[test]
fn the_other_forms_of_a_secret() {
    for (secret, expected) in [
        (Secret::default(), "-"),
        (Secret::from([("accessKeyId", "a"), ("secretKey", "s")]), "a:s"),
        (Secret::from([("username", "u"), ("password", "p")]), "u:p"),
        (Secret::from([(".dockercfg", r#"{"h": {"auth": "dTpw"}}"#)]), "u:p"),
    ] {
        assert_eq!(name(choose(&secret, "h", "r")), expected);
    }
    for secret in [
        Secret::from([("token", "t")]),
        Secret::from([("username", "u")]),
        Secret::from([(".dockerconfigjson", "{\"auths\": secret}")]),
        Secret::from([(".dockerconfigjson", r#"{"auths": {"h": {"auth": "!"}}}"#)]),
    ] {
        let failure = choose(&secret, "h", "r").err().unwrap();
        assert_eq!(failure.reason, Reason::InvalidSecret);
        assert!(!failure.message.contains("secret}"), "{failure}");
    }
}
