use super::*;

#[test]
fn a_report_survives_the_termination_message() {
    let report = Report {
        class: ExitClass::DoesNotFit,
        reason: "DoesNotFit".into(),
        message: "the disk has 2 GiB, the claim offers 1 GiB".into(),
        source: SourceFacts {
            digest: Some("sha256:00".into()),
            checksum: Some("crc64nvme:ae8b14860a799888".into()),
            format: Some(Format::Qcow2),
            virtual_size: Some(2 << 30),
            size: Some(12),
        },
        waits: vec![StageWait { stage: "fetch".into(), input_ms: 1, output_ms: 2 }],
        ..Report::default()
    };
    assert_eq!(Report::parse(&report.to_message()), Some(report));
}

#[test]
fn a_long_message_is_shortened_and_stays_readable() {
    for unit in ["x", "ü", "\"\n", "\u{1}"] {
        let report = Report { message: unit.repeat(3 * MAX_REPORT_BYTES), ..Report::default() };
        let text = report.to_message();
        assert!(text.len() <= MAX_REPORT_BYTES, "{unit:?}: {}", text.len());
        let read = Report::parse(&text).expect("the shortened report is whole JSON");
        assert!(read.message.len() < report.message.len());
    }
}

#[test]
fn what_is_no_report_is_none() {
    for text in ["", "panicked at", r#"{"schemaVersion":9,"class":"Done","reason":"","message":""}"#] {
        assert_eq!(Report::parse(text), None, "{text}");
    }
}
