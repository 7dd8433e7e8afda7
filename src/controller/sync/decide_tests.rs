use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use populator_crd::v1alpha1::{FailureClass, Route, RouteKind};
use vmdisk_wire::{ExitClass, Outcome, Report};

use super::*;
use crate::worker::Ended;

const GENERATION: i64 = 7;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn admission() -> Admission<'static> {
    Admission { claim_uid: "u", generation: GENERATION, route: Route { kind: RouteKind::Fetch, reason: None } }
}

/// One situation, to be varied; it owns what a [`Situation`] borrows.
struct Case {
    status: VMDiskSyncStatus,
    generation: i64,
    worker: Worker,
    prime: Prime,
    worker_binds: bool,
    refused: Option<&'static str>,
    permit: Permit,
    policy: Policy,
    now: i64,
}

impl Case {
    fn new(status: VMDiskSyncStatus) -> Self {
        Self {
            status,
            generation: GENERATION,
            worker: Worker::Absent,
            prime: Prime::Absent,
            worker_binds: false,
            refused: None,
            permit: Permit::Unasked,
            policy: Policy::default(),
            now: 10,
        }
    }

    fn next(&self) -> Step {
        next(&Situation {
            status: &self.status,
            admission: Admission { generation: self.generation, ..admission() },
            worker: &self.worker,
            prime: self.prime,
            worker_binds: self.worker_binds,
            prime_refused: self.refused,
            permit: self.permit,
            policy: &self.policy,
            now: at(self.now),
            jitter: 0.5,
        })
    }

    /// What is written, in short: the phase, and the reason of the last failure.
    fn written(&self) -> (SyncPhase, String, VMDiskSyncStatus) {
        match self.next() {
            Step::Write(status) => {
                let failure = status.last_failure.as_ref().map(|last| last.reason.clone()).unwrap_or_default();
                (status.phase.unwrap_or_default(), failure, *status)
            }
            other => panic!("expected a write, found {other:?}"),
        }
    }
}

fn queued() -> VMDiskSyncStatus {
    transition::queued(&VMDiskSyncStatus::default(), at(1), at(1))
}

fn syncing() -> VMDiskSyncStatus {
    transition::admitted(&queued(), &admission(), at(2))
}

fn backing_off(keep_prime: bool) -> VMDiskSyncStatus {
    let failure = Failure {
        class: FailureClass::Transient,
        reason: "Connection".into(),
        message: "it broke".into(),
        counts: true,
        keep_prime,
        retry_after: None,
    };
    transition::failed(&syncing(), &failure, None, &Policy::default(), at(5), 0.5)
}

fn failed_for_good() -> VMDiskSyncStatus {
    let failure = Failure {
        class: FailureClass::Final,
        counts: false,
        ..Failure::not_started("MalformedImage", "it is no image".into())
    };
    transition::failed(&syncing(), &failure, None, &Policy::default(), at(5), 0.5)
}

fn ended(class: ExitClass) -> Worker {
    Worker::Ended(Box::new(Ended {
        outcome: Outcome::Exited(class),
        report: Some(Report { class, reason: format!("{class:?}"), message: "m".into(), ..Report::default() }),
        timed_out: false,
        detail: String::new(),
        node: Some("node-1".into()),
    }))
}

fn starting() -> Worker {
    Worker::Starting { waiting_for: "ErrImagePull: no such image".into() }
}

#[test]
fn a_new_sync_asks_for_its_turn_and_waits_for_it() {
    let mut case = Case::new(VMDiskSyncStatus::default());
    assert_eq!(case.next(), Step::AskGate(None));
    case.permit = Permit::Waiting(at(3));
    let (phase, _, status) = case.written();
    assert_eq!((phase, status.enqueued_at.map(|time| time.0)), (SyncPhase::Queued, Some(at(3))));

    let mut case = Case::new(queued());
    assert_eq!(case.next(), Step::AskGate(Some(at(1))), "with the place that its record says");
    case.permit = Permit::Waiting(at(1));
    let Step::Answer(Answer::Hold(Some(notice), None)) = case.next() else { panic!("{:?}", case.next()) };
    assert_eq!((notice.reason, notice.warning), ("Queued", false));
}

#[test]
fn a_free_permit_makes_the_first_write_an_admission() {
    for status in [VMDiskSyncStatus::default(), queued()] {
        let (phase, _, status) = Case { permit: Permit::Fresh, ..Case::new(status) }.written();
        assert_eq!((phase, status.attempt), (SyncPhase::Syncing, 1));
        assert_eq!(status.image_generation, Some(GENERATION));
    }
}

#[test]
fn what_an_earlier_attempt_left_goes_before_the_turn_comes() {
    for status in [queued(), backing_off(false)] {
        let left = Case { prime: Prime::Bound, permit: Permit::Fresh, now: 1_000, ..Case::new(status.clone()) };
        assert!(matches!(left.next(), Step::Answer(Answer::Discard(..))), "a prime that nobody kept");
        let left = Case { worker: ended(ExitClass::Transient), now: 1_000, ..Case::new(status.clone()) };
        assert_eq!(left.next(), Step::DeleteWorker);
        let left = Case { worker: Worker::Stopping, now: 1_000, ..Case::new(status) };
        assert!(matches!(left.next(), Step::Answer(Answer::Hold(None, Some(_)))));
    }
}

#[test]
fn an_admitted_sync_gets_its_prime_and_then_its_worker() {
    let mut case = Case::new(syncing());
    assert_eq!(case.next(), Step::AskGate(None));
    case.permit = Permit::Fresh;
    assert_eq!(case.next(), Step::Answer(Answer::NeedPrime));
    case.prime = Prime::Pending;
    assert!(matches!(case.next(), Step::Answer(Answer::Running(Some(_)))), "a pod before its volume only waits");
    case.worker_binds = true;
    assert_eq!(case.next(), Step::CreateWorker, "unless it is what the volume waits for");
    case.worker_binds = false;
    case.prime = Prime::Bound;
    assert_eq!(case.next(), Step::CreateWorker);
}

#[test]
fn a_worker_that_may_have_run_unseen_is_counted() {
    let used = |prime| Case { permit: Permit::Used, prime, ..Case::new(syncing()) };
    assert_eq!(used(Prime::Pending).next(), Step::Vouch, "without a volume none can have run");
    let (phase, _, status) = used(Prime::Absent).written();
    assert_eq!((phase, status.attempt, status.interruptions), (SyncPhase::Syncing, 2, 1));
    let (phase, failure, status) = used(Prime::Bound).written();
    assert_eq!((phase, failure.as_str()), (SyncPhase::BackingOff, "WorkerGone"));
    assert_eq!(status.prime, None, "what it wrote is not to be trusted");
}

#[test]
fn what_the_worker_does_decides_while_it_syncs() {
    let with = |worker| Case { worker, prime: Prime::Bound, ..Case::new(syncing()) };
    assert_eq!(with(Worker::Running).next(), Step::Answer(Answer::Running(None)));
    assert!(matches!(with(Worker::Stopping).next(), Step::Answer(Answer::Running(Some(_)))));
    assert_eq!(with(ended(ExitClass::Done)).next(), Step::Answer(Answer::Filled));
    for (class, phase) in [
        (ExitClass::Transient, SyncPhase::BackingOff),
        (ExitClass::TargetIo, SyncPhase::BackingOff),
        (ExitClass::SourceMissing, SyncPhase::BackingOff),
        (ExitClass::Denied, SyncPhase::BackingOff),
        (ExitClass::DoesNotFit, SyncPhase::Failed),
        (ExitClass::VerificationFailed, SyncPhase::Failed),
        (ExitClass::Malformed, SyncPhase::Failed),
        (ExitClass::BadJob, SyncPhase::Failed),
    ] {
        let (written, failure, _) = with(ended(class)).written();
        assert_eq!((written, failure), (phase, format!("{class:?}")));
    }
    let (phase, failure, status) = with(Worker::Lost).written();
    assert_eq!((phase, failure.as_str(), status.interruptions), (SyncPhase::BackingOff, "NodeLost", 1));
}

#[test]
fn nothing_sits_on_a_permit_beyond_the_start_timeout() {
    for (worker, prime, refused, reason) in [
        (starting(), Prime::Bound, None, "WorkerNotStarted"),
        (starting(), Prime::Pending, None, "VolumeNotProvisioned"),
        (Worker::Absent, Prime::Absent, None, "VolumeNotProvisioned"),
        (Worker::Absent, Prime::Pending, None, "VolumeNotProvisioned"),
    ] {
        let mut case = Case { worker, prime, refused, permit: Permit::Fresh, now: 301, ..Case::new(syncing()) };
        assert!(matches!(case.next(), Step::Answer(Answer::Running(Some(_)) | Answer::NeedPrime)), "{reason}");
        case.now = 302;
        let (phase, failure, status) = case.written();
        assert_eq!((phase, failure.as_str()), (SyncPhase::BackingOff, reason));
        assert_eq!((status.interruptions, status.prime), (1, None), "it cost nothing, so it does not count");
    }
    let refused = Case { refused: Some("exceeded quota"), permit: Permit::Fresh, ..Case::new(syncing()) };
    let (phase, failure, status) = refused.written();
    assert_eq!((phase, failure.as_str()), (SyncPhase::BackingOff, "VolumeRefused"), "at once");
    assert!(status.last_failure.is_some_and(|last| last.message.contains("exceeded quota")));
}

#[test]
fn a_worker_that_waits_is_quoted() {
    let case = Case { worker: starting(), prime: Prime::Bound, now: 1_000, ..Case::new(syncing()) };
    let (_, _, status) = case.written();
    assert!(status.last_failure.is_some_and(|last| last.message.contains("ErrImagePull: no such image")));
}

#[test]
fn backing_off_lasts_until_it_is_due_and_rejoins_at_the_tail() {
    let waiting = Case { prime: Prime::Bound, ..Case::new(backing_off(true)) };
    let Step::Answer(Answer::Hold(Some(notice), Some(wait))) = waiting.next() else { panic!("{:?}", waiting.next()) };
    assert_eq!((notice.reason, wait), ("SyncRetrying", Duration::from_secs(295)));
    let mut due = Case { now: 305, prime: Prime::Bound, ..Case::new(backing_off(true)) };
    assert_eq!(due.next(), Step::AskGate(None), "without its old place");
    due.permit = Permit::Waiting(at(305));
    let (phase, _, status) = due.written();
    assert_eq!((phase, status.enqueued_at.map(|time| time.0)), (SyncPhase::Queued, Some(at(305))));
    assert_eq!(status.prime.as_deref(), Some("prime-u"), "kept, to go on in");
    due.permit = Permit::Fresh;
    let (phase, _, status) = due.written();
    assert_eq!((phase, status.attempt), (SyncPhase::Syncing, 2));
}

#[test]
fn a_failed_attempts_prime_goes_and_its_worker_with_it() {
    let case = Case { prime: Prime::Bound, worker: ended(ExitClass::Transient), ..Case::new(backing_off(false)) };
    assert!(matches!(case.next(), Step::Answer(Answer::Discard(Some(_), Some(_)))));
    let kept = Case { worker: ended(ExitClass::Transient), prime: Prime::Bound, ..Case::new(backing_off(true)) };
    assert_eq!(kept.next(), Step::DeleteWorker, "the worker goes, the prime stays");
}

#[test]
fn a_failed_worker_is_kept_to_be_looked_at_if_the_policy_says_so() {
    let policy = Policy { keep_failed_workers: true, ..Policy::default() };
    let looked_at = |status, now| Case {
        policy: policy.clone(),
        worker: ended(ExitClass::Transient),
        prime: Prime::Bound,
        now,
        ..Case::new(status)
    };
    assert!(matches!(looked_at(backing_off(false), 10).next(), Step::Answer(Answer::Hold(Some(_), Some(_)))));
    assert!(matches!(looked_at(backing_off(false), 305).next(), Step::Answer(Answer::Discard(..))), "until the next");
    assert!(matches!(looked_at(failed_for_good(), 305).next(), Step::Answer(Answer::Hold(Some(_), None))));
}

#[test]
fn what_failed_for_good_waits_for_a_change() {
    let Step::Answer(Answer::Failed(notice)) = Case::new(failed_for_good()).next() else { panic!() };
    assert_eq!(notice.reason, "ImageRefused");
}

#[test]
fn another_spec_starts_anew_wherever_no_worker_runs() {
    for status in [failed_for_good(), backing_off(false), transition::queued(&backing_off(true), at(6), at(6))] {
        let (phase, _, status) = Case { generation: 8, ..Case::new(status) }.written();
        assert_eq!((phase, status.attempt, status.last_failure), (SyncPhase::Queued, 0, None));
        assert_eq!((status.prime, status.enqueued_at.map(|time| time.0)), (None, Some(at(10))));
    }
    let (phase, ..) = Case { generation: 8, ..Case::new(syncing()) }.written();
    assert_eq!(phase, SyncPhase::Queued, "admitted, but its worker would get the new spec");
    let running = Case { generation: 8, worker: Worker::Running, prime: Prime::Bound, ..Case::new(syncing()) };
    assert_eq!(running.next(), Step::Answer(Answer::Running(None)), "it finishes with what it started with");
    let done = Case { generation: 8, worker: ended(ExitClass::Done), prime: Prime::Bound, ..Case::new(syncing()) };
    assert_eq!(done.next(), Step::Answer(Answer::Filled));
}

#[test]
fn a_prime_that_goes_or_is_anothers_is_given_up_in_every_phase() {
    for status in [VMDiskSyncStatus::default(), queued(), syncing(), backing_off(true), failed_for_good()] {
        let case = Case { prime: Prime::Foreign, worker: Worker::Running, ..Case::new(status) };
        assert_eq!(case.next(), Step::Answer(Answer::Discard(None, None)));
    }
}

#[test]
fn a_cancelled_sync_whose_claim_lives_starts_anew() {
    let status = transition::cancelled(&syncing(), SyncReason::ClaimGone, at(3));
    assert_eq!(Case::new(status).written().0, SyncPhase::Queued);
}

#[test]
fn winding_up_records_the_end_once() {
    use Cause::{Bound, Discarded, Elsewhere, Gone, Refused, Unplaced};
    let succeeded = transition::succeeded(&syncing(), None, at(9));
    for (status, cause, expected) in [
        (syncing(), Bound, Some(SyncPhase::Succeeded)),
        (succeeded.clone(), Bound, None),
        (succeeded.clone(), Gone, None),
        (succeeded.clone(), Elsewhere, None),
        (VMDiskSyncStatus::default(), Gone, Some(SyncPhase::Cancelled)),
        (queued(), Gone, Some(SyncPhase::Cancelled)),
        (syncing(), Gone, Some(SyncPhase::Cancelled)),
        (backing_off(false), Elsewhere, Some(SyncPhase::Cancelled)),
        (failed_for_good(), Gone, None),
        (syncing(), Unplaced, Some(SyncPhase::Queued)),
        (syncing(), Refused, Some(SyncPhase::Queued)),
        (queued(), Unplaced, None),
        (backing_off(false), Refused, None),
        (syncing(), Discarded, None),
    ] {
        let written = wind_up(&status, cause, &Worker::Absent, at(20)).and_then(|next| next.phase);
        assert_eq!(written, expected, "{:?} {cause:?}", status.phase);
    }
    let done = wind_up(&syncing(), Bound, &ended(ExitClass::Done), at(20)).unwrap();
    assert_eq!(done.finished_at, Some(Time(at(20))));
}
