use populator_crd::v1alpha1::{GoldenRecord, VMDiskImageSpec, VMDiskSyncSpec, VMDiskSyncStatus};
use vmdisk_wire::{ExitClass, Report};

use super::*;
use crate::worker::{Ended, Outcome};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn image(generation: i64) -> VMDiskImage {
    let mut image = VMDiskImage::new("attacker", VMDiskImageSpec::default());
    (image.metadata.uid, image.metadata.generation) = (Some("i1".into()), Some(generation));
    image
}

fn record(key: &str, generation: i64, phase: GoldenPhase) -> VMDiskSync {
    let golden = GoldenRecord { key: key.into(), image_uid: "i1".into(), generation, phase, ..GoldenRecord::default() };
    let mut record = VMDiskSync::new(key, VMDiskSyncSpec::default());
    record.status = Some(VMDiskSyncStatus { golden: Some(Box::new(golden)), ..VMDiskSyncStatus::default() });
    record
}

fn ended(class: ExitClass, digest: Option<&str>) -> Worker {
    let mut report = Report { class, reason: "Why".into(), ..Report::default() };
    report.source.digest = digest.map(Into::into);
    Worker::Ended(Box::new(Ended {
        outcome: Outcome::Exited(class),
        report: Some(report),
        timed_out: false,
        at_rest: true,
        detail: String::new(),
        node: None,
    }))
}

fn inspector(worker: Worker) -> Inspector {
    Inspector { worker, generation: 7, ended_at: Some(at(1000)) }
}

fn word(resolution: &Resolution) -> String {
    match resolution {
        Resolution::Recorded(key) => format!("recorded {key}"),
        Resolution::Found { facts, .. } => format!("found {}", facts.digest.as_deref().unwrap_or("nothing")),
        Resolution::Ask => "ask".into(),
        Resolution::Asking => "asking".into(),
        Resolution::AskAnew => "ask anew".into(),
        Resolution::Failed { failure, again } => {
            format!("failed, {:?}, again {:?}", failure.class, again.map(Timestamp::as_second))
        }
    }
}

fn resolved(records: &[VMDiskSync], inspector: Option<&Inspector>, now: i64) -> String {
    let records: Vec<_> = records.iter().cloned().map(Arc::new).collect();
    word(&of(&image(7), &records, inspector, &Policy::default(), at(now)))
}

#[test]
fn a_record_of_this_generation_says_what_the_source_holds() {
    use GoldenPhase::{Cutting, Filling, Pruned, Pruning, Ready, Superseded, Unusable};
    for phase in [Filling, Cutting, Ready] {
        assert_eq!(resolved(&[record("k", 7, phase)], None, 0), "recorded k", "{phase:?}");
        assert_eq!(resolved(&[record("k", 6, phase)], None, 0), "ask", "of another spec, {phase:?}");
    }
    let mut anothers = record("k", 7, Ready);
    anothers.status.as_mut().unwrap().golden.as_mut().unwrap().image_uid = "i0".into();
    assert_eq!(resolved(&[anothers], None, 0), "ask", "of an image that had the name before");
    for phase in [Superseded, Unusable, Pruning, Pruned] {
        assert_eq!(resolved(&[record("k", 7, phase)], None, 0), "ask", "{phase:?}");
    }
}

#[test]
fn a_pod_asks_and_its_answer_counts_for_the_generation_that_it_asked_for() {
    let waiting = Worker::Starting { waiting_for: String::new() };
    for (worker, expected) in [
        (Worker::Absent, "ask"),
        (waiting, "asking"),
        (Worker::Running, "asking"),
        (Worker::Stopping, "asking"),
        (Worker::Lost, "ask anew"),
        (ended(ExitClass::Done, Some("sha256:1")), "found sha256:1"),
        (ended(ExitClass::Done, None), "found nothing"),
    ] {
        let mut inspector = inspector(worker);
        assert_eq!(resolved(&[], Some(&inspector), 1000), expected);
        inspector.generation = 6;
        assert_eq!(resolved(&[], Some(&inspector), 1000), "ask anew");
    }
}

#[test]
fn what_failed_is_asked_again_at_its_interval() {
    for (class, wait) in [
        (ExitClass::Transient, Some(60)),
        (ExitClass::SourceMissing, Some(300)),
        (ExitClass::Denied, Some(3600)),
        (ExitClass::Malformed, None),
    ] {
        let inspector = inspector(ended(class, None));
        let again = wait.map(|wait| 1000 + wait);
        assert!(resolved(&[], Some(&inspector), 1001).ends_with(&format!("again {again:?}")), "{class:?}");
        let late = if wait.is_some() { "ask anew".to_owned() } else { resolved(&[], Some(&inspector), 1001) };
        assert_eq!(resolved(&[], Some(&inspector), 9_999), late, "{class:?}");
    }
}
