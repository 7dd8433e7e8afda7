use super::*;

#[test]
fn every_status_has_its_reason() {
    for (status, body, expected) in [
        (400, "", Reason::BadResponse),
        (400, "<Error><Code>ExpiredToken</Code></Error>", Reason::Unauthorized),
        (401, "", Reason::Unauthorized),
        (403, "", Reason::Unauthorized),
        (404, "", Reason::NotFound),
        (410, "", Reason::NotFound),
        (412, "", Reason::SourceChanged),
        (416, "", Reason::SourceChanged),
        (429, "", Reason::Throttled),
        (500, "", Reason::ServerError),
        (503, "", Reason::ServerError),
        (503, "<Error><Code>SlowDown</Code></Error>", Reason::Throttled),
        (418, "", Reason::BadResponse),
    ] {
        assert_eq!(reason(StatusCode::from_u16(status).unwrap(), body), expected, "{status} {body}");
    }
}

#[test]
fn only_code_and_message_of_an_error_document_are_told() {
    for (body, expected) in [
        ("<Error><Code>NoSuchKey</Code><Message>Gone.</Message><Key>k</Key></Error>", Some("NoSuchKey: Gone.")),
        ("<Error><Code>NoSuchKey</Code></Error>", Some("NoSuchKey")),
        (
            "<Error><Code>A</Code><Message>the &quot;key&quot; &lt;a&#38;b&gt;</Message></Error>",
            Some("A: the \"key\" <a&b>"),
        ),
        ("<Error><Code>A</Code><Message>&unknown; stays</Message></Error>", Some("A: &unknown; stays")),
        (r#"{"errors":[{"code":"DENIED","message":"no access","detail":{"token":"x"}}]}"#, Some("DENIED: no access")),
        (r#"{"errors":[{"code":"DENIED"}]}"#, Some("DENIED")),
        (r#"{"errors":[]}"#, None),
        ("<html>secret</html>", None),
        ("", None),
    ] {
        assert_eq!(detail(body).as_deref(), expected, "{body}");
    }
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let after = |value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().unwrap());
        retry_after(&headers)
    };
    assert_eq!(after("121"), Some(Duration::from_secs(121)));
    let future = after("Fri, 31 Dec 2100 23:59:59 GMT").unwrap();
    assert!(future > Duration::from_hours(24 * 365 * 50));
    assert_eq!(after("Fri, 31 Dec 1999 23:59:59 GMT"), None);
    assert_eq!(after("soon"), None);
}
