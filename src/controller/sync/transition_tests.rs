use vmdisk_wire::ExitClass;

use super::*;

const JITTER: f64 = 0.5;

fn now() -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap()
}

fn admission() -> Admission<'static> {
    static TARGET: TargetFacts = TargetFacts { storage_class: None, volume_mode: String::new(), requested_bytes: 0 };
    Admission { claim_uid: "u", generation: 7, route: Route::fetch(), target: &TARGET }
}

/// A record in its `attempt`-th attempt.
fn syncing(attempt: i32, interruptions: i32) -> VMDiskSyncStatus {
    let before = VMDiskSyncStatus { attempt: attempt - 1, interruptions, ..VMDiskSyncStatus::default() };
    admitted(&before, &admission(), now())
}

fn transient() -> Failure {
    Failure {
        class: FailureClass::Transient,
        reason: "Connection".into(),
        message: "it broke".into(),
        counts: true,
        keep_prime: false,
        retry_after: None,
    }
}

fn of_class(class: FailureClass) -> Failure {
    Failure { class, counts: class == FailureClass::Transient, ..transient() }
}

fn ended(report: Report) -> Ended {
    let outcome = crate::worker::Outcome::Exited(report.class);
    Ended {
        outcome,
        report: Some(report),
        timed_out: false,
        at_rest: true,
        detail: String::new(),
        node: Some("node-1".into()),
    }
}

fn fail(status: &VMDiskSyncStatus, failure: &Failure) -> VMDiskSyncStatus {
    failed(status, failure, None, &Policy::default(), now(), JITTER)
}

fn waits(status: &VMDiskSyncStatus) -> Option<i64> {
    status.not_before.as_ref().map(|time| time.0.duration_since(now()).as_secs())
}

fn said(status: &VMDiskSyncStatus) -> Vec<(&str, &str, &str)> {
    let all = status.conditions.iter();
    all.map(|condition| (condition.type_.as_str(), condition.status.as_str(), condition.reason.as_str())).collect()
}

#[test]
fn admission_latches_what_the_attempt_runs_with() {
    let queued = queued(&VMDiskSyncStatus::default(), now(), now());
    assert_eq!(said(&queued), [("Admitted", "False", "WaitingForTurn"), ("Succeeded", "Unknown", "InProgress")]);
    let status = admitted(&queued, &admission(), now());
    assert_eq!(status.phase, Some(SyncPhase::Syncing));
    assert_eq!((status.attempt, status.image_generation), (1, Some(7)));
    assert_eq!(status.prime.as_deref(), Some("prime-u"));
    assert_eq!(status.pod.as_deref(), Some("populate-u"));
    assert_eq!(status.enqueued_at, queued.enqueued_at, "the wait stays on record");
    assert_eq!(said(&status), [("Admitted", "True", "Admitted"), ("Succeeded", "Unknown", "InProgress")]);
}

#[test]
fn transient_failures_double_up_to_the_limit() {
    let mut status = VMDiskSyncStatus::default();
    for (wait, phase) in
        [(Some(300), SyncPhase::BackingOff), (Some(600), SyncPhase::BackingOff), (None, SyncPhase::Failed)]
    {
        status = admitted(&status, &admission(), now());
        status = fail(&status, &transient());
        assert_eq!((waits(&status).filter(|_| wait.is_some()), status.phase), (wait, Some(phase)));
    }
    assert_eq!(status.attempt, 3, "retryLimit 2: the first attempt and two retries");
    assert!(is_exhausted(&status));
    assert_eq!(said(&status), [("Admitted", "False", "Finished"), ("Succeeded", "False", "RetryLimitReached")]);
}

#[test]
fn what_does_not_count_never_uses_up_the_retries() {
    use FailureClass::{Denied, Interrupted, SourceMissing};
    for (class, wait) in [(Interrupted, 300), (SourceMissing, 300), (Denied, 3600)] {
        let mut status = VMDiskSyncStatus::default();
        for _ in 0..10 {
            status = fail(&admitted(&status, &admission(), now()), &of_class(class));
            assert_eq!(status.phase, Some(SyncPhase::BackingOff), "{class:?}");
        }
        assert_eq!(waits(&status), Some(wait), "{class:?}");
        let status = fail(&admitted(&status, &admission(), now()), &transient());
        assert_eq!((status.phase, waits(&status)), (Some(SyncPhase::BackingOff), Some(300)), "{class:?}");
    }
}

#[test]
fn a_worker_that_never_started_backs_off_for_longer_and_longer_and_never_fails() {
    let failure = Failure::not_started("WorkerNotStarted", "no node".into());
    let mut status = VMDiskSyncStatus::default();
    let mut seen = Vec::new();
    for _ in 0..6 {
        status = fail(&admitted(&status, &admission(), now()), &failure);
        assert_eq!(status.phase, Some(SyncPhase::BackingOff));
        seen.extend(waits(&status));
    }
    assert_eq!(seen, [300, 600, 1200, 2400, 3600, 3600]);
    assert_eq!(status.last_failure.map(|last| last.class), Some(FailureClass::Transient));
}

#[test]
fn what_the_clusters_life_cuts_short_has_a_limit_of_its_own() {
    let mut status = VMDiskSyncStatus::default();
    for disruption in 1..=11 {
        status = fail(&admitted(&status, &admission(), now()), &of_class(FailureClass::Interrupted));
        let over = disruption > 10;
        assert_eq!(status.phase, Some(if over { SyncPhase::Failed } else { SyncPhase::BackingOff }), "{disruption}");
        assert_eq!((status.disruptions, is_exhausted(&status)), (disruption, over));
    }
    assert_eq!(said(&status)[1], ("Succeeded", "False", "DisruptionLimitReached"));
}

#[test]
fn a_retry_is_held_to_the_same_bytes_only_where_it_goes_on_in_them() {
    let source = || Some(SourceFacts { digest: Some("sha256:1".into()), ..SourceFacts::default() });
    for keep_prime in [true, false] {
        let before = VMDiskSyncStatus { source: source(), prime_uid: Some("p1".into()), ..syncing(1, 0) };
        let again = admitted(&fail(&before, &Failure { keep_prime, ..transient() }), &admission(), now());
        assert_eq!(again.source, source().filter(|_| keep_prime));
        assert_eq!(again.prime_uid.as_deref(), keep_prime.then_some("p1"));
        assert_eq!(again.pod_uid, None, "the worker is another in any case");
    }
}

#[test]
fn a_final_failure_ends_it() {
    let status = fail(&syncing(1, 0), &of_class(FailureClass::Final));
    assert_eq!(status.phase, Some(SyncPhase::Failed));
    assert_eq!((status.not_before, status.prime.clone()), (None, None));
    assert!(status.finished_at.is_some());
    assert_eq!(said(&fail(&syncing(1, 0), &of_class(FailureClass::Final)))[1], ("Succeeded", "False", "FailedFinally"));
}

#[test]
fn the_servers_wish_lengthens_a_wait_up_to_the_operators_maximum() {
    for (wish, wait) in [(10, 300), (900, 900), (1_000_000, 3600)] {
        let failure = Failure { retry_after: Some(Duration::from_secs(wish)), ..transient() };
        assert_eq!(waits(&fail(&syncing(1, 0), &failure)), Some(wait));
    }
}

#[test]
fn the_prime_is_kept_only_to_go_on() {
    let kept = fail(&syncing(1, 0), &Failure { keep_prime: true, ..transient() });
    assert_eq!(kept.prime.as_deref(), Some("prime-u"));
    assert_eq!(fail(&syncing(1, 0), &transient()).prime, None);
    let exhausted = fail(&syncing(3, 0), &Failure { keep_prime: true, ..transient() });
    assert_eq!((exhausted.phase, exhausted.prime), (Some(SyncPhase::Failed), None));
}

#[test]
fn what_was_learnt_is_kept_for_the_next_attempt_and_dropped_with_the_spec() {
    let report = Report {
        class: ExitClass::Transient,
        source: vmdisk_wire::SourceFacts { digest: Some("sha256:1".into()), size: Some(9), ..Default::default() },
        bytes_fetched: 5,
        ..Report::default()
    };
    let ended = ended(report);
    let failed = failed(&syncing(1, 0), &transient(), Some(&ended), &Policy::default(), now(), JITTER);
    let source = failed.source.clone().unwrap();
    assert_eq!((source.digest.as_deref(), source.size), (Some("sha256:1"), Some(9)));
    assert_eq!(failed.progress.as_ref().map(|progress| progress.bytes_fetched), Some(5));
    assert_eq!(queued(&failed, now(), now()).source, failed.source);
    let fresh = restarted(&failed, now());
    assert_eq!((fresh.source, fresh.attempt, fresh.last_failure, fresh.image_generation), (None, 0, None, None));
    assert_eq!(fresh.enqueued_at.map(|time| time.0), Some(now()), "at the tail");
}

#[test]
fn success_is_whole() {
    let report = Report { bytes_fetched: 5, bytes_written: 3, ..Report::default() };
    let ended = ended(report);
    let status = succeeded(&syncing(2, 1), Some(&ended), now());
    let progress = status.progress.clone().unwrap();
    assert_eq!((progress.percent, progress.bytes_fetched, progress.bytes_written), (Some(100), 5, 3));
    assert_eq!(said(&status), [("Admitted", "False", "Finished"), ("Succeeded", "True", "Bound")]);
    assert_eq!((status.attempt, status.interruptions), (2, 1));
    assert_eq!(status.node.as_deref(), Some("node-1"));
}

#[test]
fn setting_aside_interrupts_what_ran_and_loses_the_place() {
    let aside = set_aside(&syncing(1, 0), true, now());
    assert_eq!((aside.phase, aside.interruptions, aside.enqueued_at), (Some(SyncPhase::Queued), 1, None));
    assert_eq!((aside.prime, aside.disruptions), (None, 1));
    assert_eq!(set_aside(&syncing(1, 0), false, now()).disruptions, 0, "nothing can have been fetched");
}

#[test]
fn conditions_move_only_when_they_change() {
    let before = syncing(1, 0);
    let later = Timestamp::from_second(2_000_000).unwrap();
    let status = failed(&before, &transient(), None, &Policy::default(), later, JITTER);
    let times: Vec<Timestamp> = status.conditions.iter().map(|condition| condition.last_transition_time.0).collect();
    assert_eq!(times, [later, now()], "Admitted went to False, Succeeded is as Unknown as before");
    assert_eq!(status.conditions[1].message, "it broke");
}
