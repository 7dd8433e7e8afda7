use std::time::Duration;

use super::*;
use crate::failure::{Failure, Reason};

#[test]
fn a_failure_keeps_what_was_learnt() {
    let (findings, counters) = (Findings::default(), Counters::default());
    findings.source(Some("sha256:1".into()), Some(7));
    findings.format(vmdisk_format::Format::Raw, None);
    findings.resumable(true);
    counters.add_fetched(3);
    let mut failure = Failure::new(Reason::Image(vmdisk_format::Reason::BackingFile), "why");
    failure.retry_after = Some(Duration::from_secs(9));
    let report = report(&Err(failure), &findings, &counters);
    assert_eq!(report.class, ExitClass::Malformed);
    assert_eq!((report.reason.as_str(), report.message.as_str()), ("BackingFile", "why"));
    assert_eq!((report.bytes_fetched, report.retry_after_seconds), (3, Some(9)));
    assert!(report.resumable);
    let facts = SourceFacts {
        digest: Some("sha256:1".into()),
        size: Some(7),
        format: Some(Format::Raw),
        ..SourceFacts::default()
    };
    assert_eq!(report.source, facts);
}

#[test]
fn what_is_said_on_the_way_is_no_end() {
    let (findings, counters) = (Findings::default(), Counters::default());
    findings.source(None, Some(7));
    findings.resumable(true);
    counters.add_fetched(3);
    let now = so_far(&findings, &counters);
    assert_eq!((now.class, now.reason.as_str()), (ExitClass::Transient, UNFINISHED));
    assert_eq!((now.bytes_fetched, now.source.size, now.resumable), (3, Some(7), true));
    let done = report(&Ok("the disk is there".into()), &findings, &counters);
    assert!(!done.resumable, "nothing goes on behind the end");
}

#[test]
fn formats_survive_both_ways() {
    use vmdisk_format::Format as F;
    for format in [F::Raw, F::Qcow2, F::Vmdk, F::Vdi, F::Vhd, F::Vhdx] {
        assert_eq!(from_wire(to_wire(format)), Some(format));
    }
    assert_eq!(from_wire(Format::Auto), None);
}

#[test]
fn what_waits_least_sets_the_pace() {
    let wait = |stage: &str, input_ms, output_ms| StageWait { stage: stage.into(), input_ms, output_ms };
    let table = waits(&[wait("fetch", 20, 1500), wait("unpack", 7, 12), wait("decode", 1400, 0)]);
    assert_eq!(
        table,
        "waited     for input  for output\n\
         fetch        0.020 s     1.500 s\n\
         unpack       0.007 s     0.012 s\n\
         decode       1.400 s     0.000 s\n\
         unpack set the pace"
    );
    let table = waits(&[wait("fetch", 900, 10), wait("unpack", 700, 12), wait("write", 600, 0)]);
    assert!(table.ends_with("\nsource set the pace"), "{table}");
}
