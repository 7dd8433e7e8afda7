use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use vmdisk_wire::Report;

use super::*;

fn ended(outcome: Outcome, report: Option<Report>) -> Ended {
    Ended { outcome, report, timed_out: false, at_rest: true, detail: "Error, exit code 1".into(), node: None }
}

fn report(class: ExitClass, reason: &str) -> Report {
    Report { class, reason: reason.into(), message: format!("{reason} happened"), ..Report::default() }
}

#[test]
fn every_outcome_has_its_class() {
    use ExitClass as E;
    for (outcome, class, counts) in [
        (Outcome::Exited(E::Transient), FailureClass::Transient, true),
        (Outcome::Exited(E::TargetIo), FailureClass::Transient, true),
        (Outcome::Exited(E::SourceMissing), FailureClass::SourceMissing, false),
        (Outcome::Exited(E::Denied), FailureClass::Denied, false),
        (Outcome::Exited(E::DoesNotFit), FailureClass::Final, false),
        (Outcome::Exited(E::VerificationFailed), FailureClass::Final, false),
        (Outcome::Exited(E::Malformed), FailureClass::Final, false),
        (Outcome::Exited(E::BadJob), FailureClass::Final, false),
        (Outcome::Interrupted, FailureClass::Interrupted, false),
        (Outcome::NotStarted, FailureClass::Transient, false),
        (Outcome::Killed, FailureClass::Transient, true),
        (Outcome::Unexplained, FailureClass::Transient, true),
    ] {
        let failure = Failure::of(&ended(outcome, None)).unwrap();
        assert_eq!((failure.class, failure.counts), (class, counts), "{outcome:?}");
        assert!(!failure.keep_prime, "{outcome:?}: without a report nothing is known to be resumable");
    }
    assert_eq!(Failure::of(&ended(Outcome::Exited(E::Done), None)), None);
}

#[test]
fn the_worker_is_quoted_and_its_wishes_are_kept() {
    let said = Report { resumable: true, retry_after_seconds: Some(30), ..report(ExitClass::Transient, "Throttled") };
    let failure = Failure::of(&ended(Outcome::Exited(ExitClass::Transient), Some(said))).unwrap();
    assert_eq!(
        failure,
        Failure {
            class: FailureClass::Transient,
            reason: "Throttled".into(),
            message: "Throttled happened".into(),
            counts: true,
            keep_prime: true,
            retry_after: Some(Duration::from_secs(30)),
        }
    );
}

#[test]
fn a_prime_is_kept_only_where_another_attempt_can_use_it() {
    for (class, kept) in [
        (ExitClass::Transient, true),
        (ExitClass::SourceMissing, true),
        (ExitClass::Denied, true),
        (ExitClass::TargetIo, false),
        (ExitClass::Malformed, false),
    ] {
        let said = Report { resumable: true, ..report(class, "X") };
        let failure = Failure::of(&ended(Outcome::Exited(class), Some(said))).unwrap();
        assert_eq!(failure.keep_prime, kept, "{class:?}");
    }
}

#[test]
fn a_killed_worker_has_said_whether_another_can_go_on() {
    let so_far = |resumable| Report { resumable, ..report(ExitClass::Transient, UNFINISHED) };
    for (outcome, resumable, reason, kept) in [
        (Outcome::Killed, true, "WorkerKilled", true),
        (Outcome::Killed, false, "WorkerKilled", false),
        (Outcome::Interrupted, true, "Interrupted", true),
        (Outcome::Unexplained, true, "WorkerFailed", true),
    ] {
        let failure = Failure::of(&ended(outcome, Some(so_far(resumable)))).unwrap();
        assert_eq!((failure.reason.as_str(), failure.keep_prime), (reason, kept), "{outcome:?}");
        assert!(!failure.message.contains("happened"), "{}", failure.message);
    }
}

#[test]
fn an_end_without_a_word_says_where_to_look() {
    for (outcome, reason, hint) in [
        (Outcome::Killed, "WorkerKilled", "workerResources"),
        (Outcome::NotStarted, "WorkerNotStarted", "never ran"),
        (Outcome::Unexplained, "WorkerFailed", "keepFailedWorkers"),
        (Outcome::Interrupted, "Interrupted", "was stopped"),
    ] {
        let failure = Failure::of(&ended(outcome, None)).unwrap();
        assert_eq!(failure.reason, reason);
        assert!(failure.message.contains(hint) && failure.message.contains("exit code 1"), "{}", failure.message);
    }
    let late = Ended { timed_out: true, ..ended(Outcome::Exited(ExitClass::Transient), None) };
    let failure = Failure::of(&late).unwrap();
    assert_eq!(failure.reason, "AttemptTimeout");
    assert!(failure.message.contains("raise attemptTimeout"));
}

#[test]
fn the_user_hears_the_cause_and_what_to_do() {
    use FailureClass as C;
    for (class, reason, exhausted, event, advice) in [
        (C::Transient, "Connection", false, "SyncRetrying", "will be retried"),
        (C::Transient, "Connection", true, "RetryLimitReached", "delete the VMDiskSync"),
        (C::Transient, "WorkerNotStarted", false, "WorkerNotStarted", "will be retried"),
        (C::Transient, "WorkerRefused", false, "WorkerRefused", "will be retried"),
        (C::Transient, "VolumeNotProvisioned", false, "VolumeNotProvisioned", "will be retried"),
        (C::Transient, "VolumeRefused", false, "VolumeRefused", "will be retried"),
        (C::Interrupted, "Interrupted", false, "SyncInterrupted", "starts again"),
        (C::Interrupted, "Interrupted", true, "DisruptionLimitReached", "delete the VMDiskSync"),
        (C::Final, "VolumeMismatch", false, "VolumeMismatch", "make a claim that fits"),
        (C::SourceMissing, "NotFound", false, "SourceMissing", "heals itself"),
        (C::Denied, "Unauthorized", false, "SourceDenied", "delete the VMDiskSync"),
        (C::Denied, "SecretMissing", false, "SecretMissing", "delete the VMDiskSync"),
        (C::Final, "DoesNotFit", false, "DoesNotFit", "make a claim that fits"),
        (C::Final, "DigestMismatch", false, "VerificationFailed", "Change the image"),
        (C::Final, "SizeMismatch", false, "VerificationFailed", "Change the image"),
        (C::Final, "BackingFile", false, "ImageRefused", "Change the image"),
        (C::Final, "NestedImage", false, "ImageRefused", "Change the image"),
        (C::Final, "ScratchTooSmall", false, "SyncFailed", "Change the image"),
        (C::Final, "BadJob", false, "SyncFailed", "Change the image"),
        (C::Final, "WorkerFailed", false, "SyncFailed", "Change the image"),
    ] {
        let last = LastFailure {
            class,
            reason: reason.into(),
            message: "what was found".into(),
            time: Time(jiff::Timestamp::UNIX_EPOCH),
            found_by: None,
        };
        let notice = notice(&last, exhausted);
        assert!(notice.warning);
        assert_eq!(notice.reason, event, "{class:?} {reason}");
        assert!(notice.message.starts_with(&format!("{reason}: what was found. ")), "{}", notice.message);
        assert!(notice.message.contains(advice), "{}", notice.message);
    }
}

#[test]
fn what_another_sync_found_says_which_one() {
    let time = Time(jiff::Timestamp::UNIX_EPOCH);
    let found_by = Some("other-1234".to_owned());
    let last = LastFailure { class: FailureClass::Final, reason: "R".into(), message: "m".into(), time, found_by };
    let notice = notice(&last, false);
    assert!(
        notice.message.contains("VMDiskSync other-1234") && notice.message.contains("delete that one"),
        "{}",
        notice.message
    );
}
