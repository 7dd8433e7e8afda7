use super::*;

fn blank() -> Source {
    Source {
        source_type: SourceType::Blank,
        url: String::new(),
        format: Format::Auto,
        path: None,
        checksum: None,
        region: None,
        pinned: None,
        secret: None,
    }
}

#[test]
fn a_job_survives_the_wire() {
    let job = Job {
        schema_version: SCHEMA_VERSION,
        operation: Operation::Fill,
        source: Source {
            source_type: SourceType::S3,
            url: "s3://bucket/a.qcow2".into(),
            region: Some("eu-west-1".into()),
            secret: Some("labs/bucket".into()),
            ..blank()
        },
        target: Some(Target {
            kind: TargetKind::Block,
            path: crate::TARGET_DEVICE.into(),
            requested_bytes: Some(1 << 30),
            overhead_per_mille: 0,
            claim_uid: Some("prime-uid".into()),
        }),
        limits: Limits { allowed_sources: vec!["s3://bucket".into()], ..Limits::default() },
    };
    let text = serde_json::to_string(&job).unwrap();
    assert_eq!(Job::parse(&text).unwrap(), job);
}

#[test]
fn refusals_name_what_was_found_and_what_is_expected() {
    for (text, expected) in [
        ("{}", "missing field `schemaVersion`"),
        (r#"{"schemaVersion": 7, "later": true}"#, "schemaVersion 7, this worker knows 1"),
        (r#"{"schemaVersion": 1, "operation": "fill", "source": {"sourceType": "blank"}}"#, "needs a target"),
        (r#"{"schemaVersion": 1, "operation": "burn", "source": {"sourceType": "blank"}}"#, "unknown variant `burn`"),
    ] {
        let message = Job::parse(text).unwrap_err().to_string();
        assert!(message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn an_inspection_needs_no_target_and_a_later_field_does_no_harm() {
    let text = r#"{"schemaVersion": 1, "operation": "inspect", "source": {"sourceType": "http", "url": "https://h/x"}, "later": 1}"#;
    assert_eq!(Job::parse(text).unwrap().source.url, "https://h/x");
}
