use std::sync::Arc;

use super::*;
use crate::http::Options;
use crate::policy::Policy;

/// The keys that would sign, without a request.
fn keys(secret: &Secret, environment: &[(&str, &str)]) -> Result<Option<String>> {
    let client = Client::new(Arc::new(Policy::by_hand()), Options::default(), None).unwrap();
    let settings = Settings::new(secret, |name| {
        environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    });
    Ok(Credentials::choose(secret, &settings, &client, "eu-west-1")?.map(|found| match found {
        Credentials::Fixed(credential) => format!("{} {:?}", credential.key_id, credential.token),
        Credentials::WebIdentity(identity) => format!("{} at {}", identity.role, identity.endpoint),
    }))
}

#[test]
fn the_secret_comes_first_then_the_environment_then_the_identity() {
    // Other tests of this process may have done it before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let none = Secret::default();
    let ours = Secret::from([("accessKeyId", "A"), ("secretKey", "S")]);
    let theirs = Secret::from([("AWS_ACCESS_KEY_ID", "B"), ("AWS_SECRET_ACCESS_KEY", "S"), ("AWS_SESSION_TOKEN", "t")]);
    let environment = [("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "S"), ("AWS_SESSION_TOKEN", "T")];
    let identity = [("AWS_ROLE_ARN", "arn:role"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token")];
    for (secret, environment, expected) in [
        // Tokens of others are not mixed in.
        (&ours, &environment[..], Some("A None")),
        (&theirs, &[], Some("B Some(\"t\")")),
        (&none, &environment, Some("E Some(\"T\")")),
        (&none, &identity, Some("arn:role at https://sts.eu-west-1.amazonaws.com/")),
        (&ours, &identity, Some("A None")),
        (&none, &[], None),
    ] {
        assert_eq!(keys(secret, environment).unwrap().as_deref(), expected);
    }
    for secret in [Secret::from([("token", "t")]), Secret::from([("accessKeyId", "A\nB"), ("secretKey", "S")])] {
        assert_eq!(keys(&secret, &environment).unwrap_err().reason, Reason::InvalidSecret);
    }
}

#[test]
fn the_token_service_s_answer_is_read() {
    let answer = "<R><Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>S</SecretAccessKey>\
        <SessionToken>T</SessionToken><Expiration>2026-11-21T08:00:00Z</Expiration></Credentials></R>";
    let found = parse(answer).unwrap();
    assert_eq!((found.credential.key_id.as_str(), found.credential.token.as_deref()), ("A", Some("T")));
    assert_eq!(found.until.to_string(), "2026-11-21T08:00:00Z");
    for missing in ["AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"] {
        let failure = parse(&answer.replace(missing, "X")).unwrap_err();
        assert!(failure.message.contains(missing), "{failure}");
    }
}
