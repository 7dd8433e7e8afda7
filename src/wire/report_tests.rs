use proptest::option::of;
use proptest::prelude::*;

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

#[test]
fn a_name_of_the_bytes_that_no_status_takes_is_none() {
    for (tag, taken) in [
        ("", true),
        ("\"v1\"", true),
        (&"x".repeat(MAX_DIGEST), true),
        (&"x".repeat(MAX_DIGEST + 1), false),
        ("\"a\tb\"", false),
        ("\"\u{fc}\"", false),
        ("\u{7f}", false),
    ] {
        assert_eq!(SourceFacts::takes_digest(tag), taken, "{tag:?}");
        let facts = SourceFacts { digest: Some(tag.into()), size: Some(1), ..SourceFacts::default() };
        let report = Report { source: facts, ..Report::default() };
        let expected = taken.then(|| tag.to_owned());
        // Neither is written by a worker nor believed of one that did.
        let unbounded = serde_json::to_string(&report).unwrap();
        for text in [report.to_message(), unbounded] {
            let read = Report::parse(&text).unwrap().source;
            assert_eq!((read.digest, read.size), (expected.clone(), Some(1)), "{tag:?}");
        }
    }
}

#[test]
fn the_message_goes_before_the_waits() {
    let wait = |index: usize| StageWait { stage: format!("stage {index}"), input_ms: u64::MAX, output_ms: u64::MAX };
    let waits: Vec<_> = (0..6).map(wait).collect();
    let report = Report { message: "x".repeat(5000), waits: waits.clone(), ..Report::default() };
    let read = Report::parse(&report.to_message()).unwrap();
    assert_eq!(read.waits, waits, "there is room for both");
    assert!(read.message.len() > MESSAGE_FIRST);
    let many = Report { message: "x".repeat(5000), waits: (0..60).map(wait).collect(), ..Report::default() };
    let read = Report::parse(&many.to_message()).unwrap();
    assert!(read.waits.is_empty() && read.message.len() > MESSAGE_FIRST);
}

/// Text as a stranger may send it: of what JSON escapes, or long, or both.
fn text(longest: usize) -> impl Strategy<Value = String> {
    let unit = prop_oneof!["(?s).{0,8}", Just("\u{1}".to_owned()), Just("\"\\".to_owned()), "[ -~]{1,16}"];
    (unit, 0..longest).prop_map(|(unit, length)| unit.repeat(length / unit.len().max(1)))
}

fn facts() -> impl Strategy<Value = SourceFacts> {
    let format = prop_oneof![Just(Format::Qcow2), Just(Format::Vmdk)];
    (of(text(5000)), of(text(5000)), of(format), of(any::<u64>()), of(any::<u64>())).prop_map(
        |(digest, checksum, format, virtual_size, size)| SourceFacts { digest, checksum, format, virtual_size, size },
    )
}

fn reports() -> impl Strategy<Value = Report> {
    let wait = (text(200), any::<u64>(), any::<u64>()).prop_map(|(stage, input_ms, output_ms)| StageWait {
        stage,
        input_ms,
        output_ms,
    });
    let numbers = (any::<u64>(), any::<u64>(), any::<bool>(), of(any::<u64>()));
    let class = proptest::sample::select(ExitClass::ALL.as_slice());
    (class, text(200), text(9000), facts(), numbers, proptest::collection::vec(wait, 0..40)).prop_map(
        |(class, reason, message, source, numbers, waits)| Report {
            schema_version: SCHEMA_VERSION,
            class,
            reason,
            message,
            source,
            bytes_fetched: numbers.0,
            bytes_written: numbers.1,
            resumable: numbers.2,
            retry_after_seconds: numbers.3,
            waits,
        },
    )
}

proptest! {
    #[test]
    fn whatever_is_reported_fits_and_can_be_read(report in reports()) {
        let text = report.to_message();
        prop_assert!(text.len() <= MAX_REPORT_BYTES, "{} bytes", text.len());
        let read = Report::parse(&text).expect("whole JSON");
        prop_assert_eq!(read.class, report.class);
        prop_assert_eq!(read.bytes_fetched, report.bytes_fetched);
        prop_assert_eq!(read.bytes_written, report.bytes_written);
        prop_assert_eq!(read.resumable, report.resumable);
        prop_assert_eq!(read.retry_after_seconds, report.retry_after_seconds);
        let bounded = report.clone().bounded();
        prop_assert_eq!(&read.source, &bounded.source);
        prop_assert_eq!(&read.reason, &bounded.reason);
        let beginning = read.message.strip_suffix('…').unwrap_or(&read.message);
        prop_assert!(report.message.starts_with(beginning));
        if serde_json::to_string(&bounded).unwrap().len() <= MAX_REPORT_BYTES {
            prop_assert_eq!(read, bounded);
        }
    }
}
