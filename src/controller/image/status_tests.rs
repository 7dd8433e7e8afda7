use k8s_openapi::apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Time};
use populator_crd::v1alpha1::{Progress, SourceFacts};
use serde_json::json;

use super::*;
use crate::policy::AllowedSource;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn image() -> VMDiskImage {
    serde_json::from_value(json!({
        "apiVersion": "pelotech.ot/v1alpha1", "kind": "VMDiskImage",
        "metadata": {"name": "image", "namespace": "n", "generation": 2},
        "spec": {"url": "https://host/disk.raw"},
    }))
    .unwrap()
}

fn sync(phase: SyncPhase, started: i64) -> VMDiskSyncStatus {
    VMDiskSyncStatus {
        phase: Some(phase),
        attempt: 1,
        started_at: Some(Time(at(started))),
        finished_at: phase.is_final().then(|| Time(at(started + 1))),
        image_generation: Some(2),
        ..VMDiskSyncStatus::default()
    }
}

fn failure(class: FailureClass, reason: &str, time: i64) -> LastFailure {
    LastFailure { class, reason: reason.into(), message: "what was found".into(), time: Time(at(time)), found_by: None }
}

fn compute_of(image: &VMDiskImage, syncs: Vec<VMDiskSyncStatus>) -> VMDiskImageStatus {
    let syncs: Vec<_> = syncs
        .into_iter()
        .map(|status| Arc::new(VMDiskSync { status: Some(status), ..VMDiskSync::default() }))
        .collect();
    compute(image, &syncs, &Done::default(), None, &Policy::default(), at(100))
}

fn said(status: &VMDiskImageStatus) -> Vec<(&str, &str, &str)> {
    let all = status.conditions.iter();
    all.map(|condition| (condition.type_.as_str(), condition.status.as_str(), condition.reason.as_str())).collect()
}

#[test]
fn an_image_that_nobody_used_is_ready_and_pending() {
    let status = compute_of(&image(), vec![]);
    assert_eq!(
        said(&status),
        [
            ("Ready", "True", "Valid"),
            ("SourceResolved", "Unknown", "NotUsedYet"),
            ("Preloaded", "False", "NotRequested")
        ]
    );
    assert_eq!((status.phase, status.observed_generation), (Some(ImagePhase::Pending), Some(2)));
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(2)));
    assert_eq!(status.claims, Some(ClaimCounts::default()));
    assert!(status.message.is_some_and(|message| message.contains("dataSourceRef")));
}

#[test]
fn a_preload_is_told_as_it_stands() {
    let mut image = image();
    image.spec.storage_class = Some("gp3".into());
    let told =
        |generation, reason, status| Told { reason, status, message: "so it is".into(), ..Told::nothing(generation) };
    for (told, condition, phase) in [
        (None, ("Preloaded", "Unknown", "Resolving"), ImagePhase::Queued),
        (Some(told(1, ImageReason::Succeeded, "True")), ("Preloaded", "Unknown", "Resolving"), ImagePhase::Queued),
        (Some(told(2, ImageReason::Queued, "False")), ("Preloaded", "False", "Queued"), ImagePhase::Queued),
        (Some(told(2, ImageReason::BackingOff, "False")), ("Preloaded", "False", "BackingOff"), ImagePhase::Queued),
        (Some(told(2, ImageReason::Syncing, "False")), ("Preloaded", "False", "Syncing"), ImagePhase::Syncing),
        (Some(told(2, ImageReason::Cutting, "False")), ("Preloaded", "False", "Cutting"), ImagePhase::Syncing),
        (Some(told(2, ImageReason::Failed, "False")), ("Preloaded", "False", "Failed"), ImagePhase::Failed),
        (Some(told(2, ImageReason::NameTaken, "False")), ("Preloaded", "False", "NameTaken"), ImagePhase::Failed),
        (Some(told(2, ImageReason::Succeeded, "True")), ("Preloaded", "True", "Succeeded"), ImagePhase::Succeeded),
    ] {
        let status = compute(&image, &[], &Done::default(), told.as_ref(), &Policy::default(), at(100));
        assert_eq!((said(&status)[2], status.phase), (condition, Some(phase)), "{told:?}");
    }
}

#[test]
fn what_a_preload_found_out_about_the_source_is_told() {
    let mut image = image();
    image.spec.storage_class = Some("gp3".into());
    let source = Some(SourceFacts { digest: Some("sha256:1".into()), ..SourceFacts::default() });
    let found = Told { source: source.clone(), ..Told::nothing(2) };
    let status = compute(&image, &[], &Done::default(), Some(&found), &Policy::default(), at(100));
    assert_eq!((said(&status)[1], status.source.clone()), (("SourceResolved", "True", "Resolved"), source));
    let unresolved = Some((ImageReason::SourceMissing, "NotFound: no such tag".to_owned()));
    let missing = Told { unresolved, ..Told::nothing(2) };
    let status = compute(&image, &[], &Done::default(), Some(&missing), &Policy::default(), at(100));
    assert_eq!(said(&status)[1], ("SourceResolved", "False", "SourceMissing"));
    assert_eq!(status.message.as_deref(), Some("NotFound: no such tag"));
}

#[test]
fn the_phase_sums_up_the_claims() {
    use SyncPhase as S;
    for (syncs, phase, counts) in [
        (vec![(S::Syncing, 1), (S::Queued, 0), (S::Succeeded, 0)], ImagePhase::Syncing, (1, 1, 1, 0)),
        (vec![(S::Queued, 1), (S::Succeeded, 0)], ImagePhase::Queued, (1, 0, 1, 0)),
        (vec![(S::BackingOff, 1)], ImagePhase::Queued, (1, 0, 0, 0)),
        (vec![(S::Succeeded, 2), (S::Failed, 1)], ImagePhase::Succeeded, (0, 0, 1, 1)),
        (vec![(S::Succeeded, 1), (S::Failed, 2)], ImagePhase::Failed, (0, 0, 1, 1)),
        (vec![(S::Succeeded, 1), (S::Cancelled, 2)], ImagePhase::Succeeded, (0, 0, 1, 0)),
        (vec![(S::Cancelled, 2)], ImagePhase::Pending, (0, 0, 0, 0)),
    ] {
        let status = compute_of(&image(), syncs.iter().map(|(phase, started)| sync(*phase, *started)).collect());
        let claims = status.claims.unwrap();
        assert_eq!(status.phase, Some(phase), "{syncs:?}");
        assert_eq!((claims.queued, claims.syncing, claims.succeeded, claims.failed), counts, "{syncs:?}");
    }
}

#[test]
fn the_source_is_what_the_last_attempt_found() {
    use FailureClass as C;
    for (class, reason, status, condition) in [
        (C::SourceMissing, "NotFound", "False", "SourceMissing"),
        (C::Denied, "Unauthorized", "False", "Denied"),
        (C::Final, "DigestMismatch", "False", "VerificationFailed"),
        (C::Final, "BackingFile", "False", "Malformed"),
        (C::Final, "NoDisk", "False", "Malformed"),
        (C::Final, "WorkerFailed", "Unknown", "NotUsedYet"),
        (C::Transient, "Connection", "False", "Unreachable"),
        (C::Transient, "WorkerNotStarted", "Unknown", "NotUsedYet"),
    ] {
        let record =
            VMDiskSyncStatus { last_failure: Some(failure(class, reason, 2)), ..sync(SyncPhase::BackingOff, 1) };
        let found = compute_of(&image(), vec![record]);
        assert_eq!(said(&found)[1], ("SourceResolved", status, condition), "{reason}");
        assert!(found.message.is_some_and(|message| message == format!("{reason}: what was found")));
    }
    let facts = SourceFacts { digest: Some("sha256:1".into()), ..SourceFacts::default() };
    let read = VMDiskSyncStatus {
        last_failure: Some(failure(C::Final, "DoesNotFit", 2)),
        source: Some(facts.clone()),
        ..sync(SyncPhase::Failed, 1)
    };
    let status = compute_of(&image(), vec![read]);
    assert_eq!(said(&status)[1], ("SourceResolved", "True", "Resolved"), "it was read; the claim is too small");
    assert_eq!(status.source, Some(facts));
}

#[test]
fn what_an_older_spec_found_is_not_said_of_this_one() {
    let old = VMDiskSyncStatus {
        source: Some(SourceFacts { digest: Some("sha256:1".into()), ..SourceFacts::default() }),
        image_generation: Some(1),
        ..sync(SyncPhase::Succeeded, 1)
    };
    assert_eq!(compute_of(&image(), vec![old]).source, None);
}

#[test]
fn failures_are_counted_until_a_success() {
    let failed = VMDiskSyncStatus {
        attempt: 3,
        last_failure: Some(failure(FailureClass::Transient, "Connection", 9)),
        ..sync(SyncPhase::Failed, 5)
    };
    let status = compute_of(&image(), vec![failed.clone(), sync(SyncPhase::Succeeded, 2)]);
    assert_eq!((status.failure_count, status.last_failure_time.map(|time| time.0)), (Some(3), Some(at(9))));
    let status = compute_of(&image(), vec![failed, sync(SyncPhase::Succeeded, 20)]);
    assert_eq!(status.failure_count, None);
}

#[test]
fn progress_is_the_furthest() {
    let running = |percent| VMDiskSyncStatus {
        progress: Some(Progress { percent: Some(percent), ..Progress::default() }),
        ..sync(SyncPhase::Syncing, 1)
    };
    let done = VMDiskSyncStatus {
        progress: Some(Progress { percent: Some(100), ..Progress::default() }),
        ..sync(SyncPhase::Succeeded, 1)
    };
    assert_eq!(compute_of(&image(), vec![running(12), running(42), done]).progress.as_deref(), Some("42%"));
}

#[test]
fn a_policy_that_forbids_the_source_is_said() {
    let policy = Policy { allowed_sources: vec![AllowedSource::parse("s3://bucket").unwrap()], ..Policy::default() };
    let status = compute(&image(), &[], &Done::default(), None, &policy, at(0));
    assert_eq!(said(&status)[0], ("Ready", "False", "Denied"));
    assert_eq!(status.phase, Some(ImagePhase::Failed));
    assert!(status.message.is_some_and(|message| message.contains("allowedSources")));
}

#[test]
fn nothing_changes_where_nothing_happened() {
    let mut image = image();
    let record = sync(SyncPhase::Succeeded, 1);
    let first = compute_of(&image, vec![record.clone()]);
    image.status = Some(first.clone());
    let syncs = [Arc::new(VMDiskSync { status: Some(record), ..VMDiskSync::default() })];
    assert_eq!(
        compute(&image, &syncs, &Done::default(), None, &Policy::default(), at(9_999)),
        first,
        "no time moves by itself"
    );
}

#[test]
fn the_size_is_what_was_asked_for_or_what_the_source_describes() {
    const GIB: i64 = 1 << 30;
    for (asked, described, expected) in [
        (None, None, None),
        (None, Some(24 * GIB), Some("24Gi")),
        (None, Some(112 << 20), Some("112Mi")),
        // An odd length, and a size that is no number of GiB.
        (None, Some(41_126_400), Some("40Mi")),
        (None, Some(GIB + 1), Some("1025Mi")),
        (None, Some(0), Some("0 bytes")),
        (None, Some(i64::MAX), Some("8388608Ti")),
        (Some("30Gi"), Some(24 * GIB), Some("30Gi")),
        (Some("1.5T"), None, Some("1.5T")),
    ] {
        let mut image = image();
        image.spec.disk_size = asked.map(|asked| Quantity(asked.to_owned()));
        let facts = SourceFacts { virtual_size: described, ..SourceFacts::default() };
        let read = VMDiskSyncStatus { source: described.map(|_| facts), ..sync(SyncPhase::Succeeded, 1) };
        assert_eq!(compute_of(&image, vec![read]).size.as_deref(), expected, "{asked:?} {described:?}");
    }
    let facts = SourceFacts { virtual_size: Some(GIB), ..SourceFacts::default() };
    let before = VMDiskSyncStatus { source: Some(facts), image_generation: Some(1), ..sync(SyncPhase::Succeeded, 1) };
    assert_eq!(compute_of(&image(), vec![before]).size, None, "of another spec");
}

#[test]
fn only_what_is_news_of_the_image_is_told_at_once() {
    let status = |phase, queued, succeeded, progress: Option<&str>| VMDiskImageStatus {
        phase: Some(phase),
        message: Some(format!("{queued} wait")),
        claims: Some(ClaimCounts { queued, succeeded, ..ClaimCounts::default() }),
        progress: progress.map(str::to_owned),
        ..VMDiskImageStatus::default()
    };
    let pending = status(ImagePhase::Pending, 0, 0, None);
    for (case, new, expected) in [
        ("nothing differs", pending.clone(), false),
        ("one waits", status(ImagePhase::Queued, 1, 0, None), true),
        ("one has begun", status(ImagePhase::Syncing, 0, 0, None), true),
        ("one has come some way", status(ImagePhase::Syncing, 0, 0, Some("42%")), false),
        ("one is filled", status(ImagePhase::Succeeded, 0, 1, None), false),
        ("one failed", status(ImagePhase::Failed, 0, 0, None), false),
    ] {
        assert_eq!(counts_alone(&pending, &new), expected, "{case}");
    }
}
