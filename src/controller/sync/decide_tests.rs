use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use populator_crd::v1alpha1::{FailureClass, LastFailure, Route, RouteKind, TargetFacts};
use vmdisk_wire::{ExitClass, Report};

use super::*;
use crate::worker::{Ended, Outcome};

const GENERATION: i64 = 7;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn admission() -> Admission<'static> {
    static TARGET: TargetFacts = TargetFacts { storage_class: None, volume_mode: String::new(), requested_bytes: 0 };
    let route = Route { kind: RouteKind::Fetch, from: None, reason: None };
    Admission { claim_uid: "u", generation: GENERATION, route, target: &TARGET }
}

/// One situation, to be varied; it owns what a [`Situation`] borrows.
#[expect(clippy::struct_excessive_bools, reason = "as in what it varies")]
struct Case {
    status: VMDiskSyncStatus,
    generation: i64,
    unwritten: bool,
    verdict: Verdict,
    asks: bool,
    worker: Worker,
    inspects: bool,
    may_inspect: bool,
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
            unwritten: false,
            verdict: Verdict::Go,
            asks: true,
            worker: Worker::Absent,
            inspects: false,
            may_inspect: true,
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
            unwritten: self.unwritten,
            verdict: &self.verdict,
            asks_for_all: self.asks,
            created: Some(at(0)),
            inspects: self.inspects,
            may_inspect: self.may_inspect,
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
        at_rest: true,
        detail: String::new(),
        node: Some("node-1".into()),
    }))
}

fn starting() -> Worker {
    Worker::Starting { waiting_for: "ErrImagePull: no such image".into() }
}

#[test]
fn a_new_sync_asks_for_its_turn_and_waits_for_it_without_a_word() {
    let mut case = Case::new(VMDiskSyncStatus { phase: Some(SyncPhase::Queued), ..VMDiskSyncStatus::default() });
    assert_eq!(case.next(), Step::AskGate(Some(at(0))), "its place is that of its creation");
    case.permit = Permit::Waiting(at(0));
    assert_eq!(case.next(), Step::Answer(Answer::Hold(None, Some(Duration::from_secs(590)))), "nothing is written");
    case.now = 600;
    let Step::Answer(Answer::Hold(Some(notice), None)) = case.next() else { panic!("{:?}", case.next()) };
    assert_eq!((notice.reason, notice.warning), ("Queued", false), "after a while its claim is told");

    let case = Case::new(queued());
    assert_eq!(case.next(), Step::AskGate(Some(at(1))), "with the place that its record says");
    let aside = transition::set_aside(&syncing(), false, at(5));
    let mut case = Case::new(aside);
    assert_eq!(case.next(), Step::AskGate(None), "what was set aside joins at the tail");
    case.permit = Permit::Waiting(at(9));
    assert_eq!(case.written().2.enqueued_at.map(|time| time.0), Some(at(9)));
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
    for prime in [Prime::Absent, Prime::Bound] {
        let (phase, failure, status) = used(prime).written();
        assert_eq!((phase, failure.as_str()), (SyncPhase::BackingOff, "WorkerGone"), "{prime:?}");
        assert_eq!((status.interruptions, status.disruptions), (1, 1), "counted before anything is made again");
        assert_eq!((status.prime, status.prime_uid), (None, None), "what it wrote is not to be trusted");
    }
}

#[test]
fn what_the_worker_does_decides_while_it_syncs() {
    let with = |worker| Case { worker, prime: Prime::Bound, ..Case::new(syncing()) };
    assert!(matches!(with(Worker::Running).next(), Step::Answer(Answer::Running(Some(_)))));
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
        (Worker::Absent, Prime::Bound, None, "WorkerNotStarted"),
    ] {
        let mut case = Case { worker, prime, refused, permit: Permit::Fresh, now: 301, ..Case::new(syncing()) };
        let waits =
            matches!(case.next(), Step::Answer(Answer::Running(Some(_)) | Answer::NeedPrime) | Step::CreateWorker);
        assert!(waits, "{reason}");
        case.now = 302;
        let (phase, failure, status) = case.written();
        assert_eq!((phase, failure.as_str()), (SyncPhase::BackingOff, reason));
        assert_eq!((status.interruptions, status.disruptions), (1, 0), "it cost nothing, so it does not count");
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
    assert!(matches!(running.next(), Step::Answer(Answer::Running(_))), "it finishes with what it started with");
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

fn wind_up_by(status: &VMDiskSyncStatus, cause: Cause, worker: &Worker, moved: bool) -> Option<VMDiskSyncStatus> {
    let notice = Notice { warning: true, reason: "VolumeInUse", message: "a pod had it".into() };
    let policy = Policy::default();
    let ending = Ending { cause, notice: Some(&notice), moved, worker, policy: &policy, now: at(20), jitter: 0.5 };
    wind_up(status, &ending)
}

#[test]
fn winding_up_records_the_end_once() {
    use Cause::{Bound, Discarded, Elsewhere, Gone, Lost, Mismatch, Refused, Unplaced};
    let succeeded = transition::succeeded(&syncing(), None, at(9));
    for (status, cause, moved, expected) in [
        (syncing(), Bound, false, Some(SyncPhase::Succeeded)),
        (succeeded.clone(), Bound, false, None),
        (succeeded.clone(), Gone, false, None),
        (succeeded.clone(), Elsewhere, false, None),
        (VMDiskSyncStatus::default(), Gone, false, Some(SyncPhase::Cancelled)),
        (queued(), Gone, false, Some(SyncPhase::Cancelled)),
        (syncing(), Gone, false, Some(SyncPhase::Cancelled)),
        (failed_for_good(), Gone, false, Some(SyncPhase::Cancelled)),
        (backing_off(false), Elsewhere, false, Some(SyncPhase::Cancelled)),
        (syncing(), Unplaced, false, Some(SyncPhase::Queued)),
        (syncing(), Refused, false, Some(SyncPhase::Queued)),
        (queued(), Unplaced, false, None),
        (backing_off(false), Refused, false, None),
        (syncing(), Discarded, false, None),
        (syncing(), Lost, false, Some(SyncPhase::BackingOff)),
        (queued(), Lost, false, None),
        (backing_off(true), Lost, false, None),
        (syncing(), Mismatch, false, Some(SyncPhase::Failed)),
        (queued(), Mismatch, false, Some(SyncPhase::Failed)),
        (failed_for_good(), Mismatch, false, None),
        (syncing(), Refused, true, Some(SyncPhase::Cancelled)),
        (queued(), Lost, true, Some(SyncPhase::Cancelled)),
        (succeeded.clone(), Refused, true, None),
    ] {
        let written = wind_up_by(&status, cause, &Worker::Absent, moved).and_then(|next| next.phase);
        assert_eq!(written, expected, "{:?} {cause:?} {moved}", status.phase);
    }
    let done = wind_up_by(&syncing(), Bound, &ended(ExitClass::Done), false).unwrap();
    assert_eq!(done.finished_at, Some(Time(at(20))));
}

#[test]
fn what_is_lost_is_counted_and_says_why() {
    let lost = wind_up_by(&syncing(), Cause::Lost, &Worker::Running, false).unwrap();
    let failure = lost.last_failure.unwrap();
    assert_eq!((failure.class, failure.reason.as_str()), (FailureClass::Interrupted, "VolumeInUse"));
    assert_eq!((lost.interruptions, lost.disruptions, lost.prime_uid), (1, 1, None));
    let mismatch = wind_up_by(&syncing(), Cause::Mismatch, &Worker::Absent, false).unwrap();
    let failure = mismatch.last_failure.unwrap();
    assert_eq!((failure.class, failure.reason.as_str()), (FailureClass::Final, "VolumeMismatch"));
    for (worker, disruptions) in [(Worker::Absent, 0), (starting(), 0), (Worker::Running, 1)] {
        let aside = wind_up_by(&syncing(), Cause::Unplaced, &worker, false).unwrap();
        assert_eq!(aside.disruptions, disruptions, "{worker:?}");
    }
}

#[test]
fn a_worker_is_written_down_before_it_can_run() {
    for worker in [Worker::Running, starting()] {
        let mut case = Case { worker, prime: Prime::Bound, unwritten: true, ..Case::new(syncing()) };
        assert_eq!(case.next(), Step::Write(Box::new(case.status.clone())));
        case.unwritten = false;
        assert!(matches!(case.next(), Step::Answer(Answer::Running(Some(_)))));
    }
}

#[test]
fn a_prime_that_waits_for_its_volume_is_written_down_before_long() {
    let mut case =
        Case { prime: Prime::Pending, unwritten: true, permit: Permit::Fresh, now: 3, ..Case::new(syncing()) };
    assert_eq!(case.next(), Step::Answer(Answer::Running(Some(Duration::from_secs(1)))), "most have a volume by then");
    case.now = 4;
    assert_eq!(case.next(), Step::Write(Box::new(case.status.clone())));
    case.unwritten = false;
    assert!(matches!(case.next(), Step::Answer(Answer::Running(Some(_)))));
}

#[test]
fn a_worker_that_its_node_does_not_stop_is_stopped() {
    let mut case =
        Case { worker: Worker::Running, prime: Prime::Bound, now: 2 + 43_200 + 300 + 59, ..Case::new(syncing()) };
    assert!(matches!(case.next(), Step::Answer(Answer::Running(Some(_)))));
    case.now += 1;
    let (phase, failure, status) = case.written();
    assert_eq!((phase, failure.as_str(), status.interruptions), (SyncPhase::BackingOff, "AttemptTimeout", 0));
}

#[test]
fn a_pod_that_others_keep_running_goes_before_the_hand_over() {
    let Worker::Ended(done) = ended(ExitClass::Done) else { panic!() };
    let held = Worker::Ended(Box::new(Ended { at_rest: false, ..*done }));
    let mut case = Case { worker: held, prime: Prime::Bound, ..Case::new(syncing()) };
    let (phase, _, status) = case.written();
    assert_eq!((phase, status.filled_at.clone()), (SyncPhase::Syncing, Some(Time(at(10)))));
    case.status = status;
    assert_eq!(case.next(), Step::DeleteWorker, "once its word is written down");
    case.worker = Worker::Stopping;
    assert!(matches!(case.next(), Step::Answer(Answer::Running(Some(_)))));
    case.worker = Worker::Absent;
    assert_eq!(case.next(), Step::Answer(Answer::Filled));
    case.prime = Prime::Absent;
    assert_ne!(case.next(), Step::Answer(Answer::Filled), "not without its volume");
}

fn found(class: FailureClass) -> LastFailure {
    let time = Time(at(1));
    LastFailure { class, reason: "Found".into(), message: "m".into(), time, found_by: Some("other".into()) }
}

#[test]
fn what_another_sync_finds_out_spares_an_attempt() {
    let with = |status, verdict| Case { verdict, ..Case::new(status) };
    for status in [VMDiskSyncStatus::default(), queued()] {
        let (phase, failure, status) = with(status, Verdict::Fail(found(FailureClass::Final))).written();
        assert_eq!((phase, failure.as_str(), status.attempt), (SyncPhase::Failed, "Found", 0));
        assert_eq!(status.image_generation, Some(GENERATION));
        let mut copied = with(status, Verdict::Fail(found(FailureClass::Final)));
        assert!(matches!(copied.next(), Step::Answer(Answer::Failed(_))));
        copied.verdict = Verdict::Go;
        assert_eq!(copied.written().0, SyncPhase::Queued, "what was found is taken back");
    }
    let waits = || Verdict::Wait { on: "other".into(), failure: Some(found(FailureClass::SourceMissing)), until: None };
    let (phase, _, status) = with(queued(), waits()).written();
    assert_eq!(
        (phase, status.enqueued_at.clone().map(|time| time.0)),
        (SyncPhase::Queued, Some(at(1))),
        "it keeps its place"
    );
    assert!(transition::waits_for_others(Some(&status)));
    let Step::Answer(Answer::Hold(Some(notice), None)) = with(status, waits()).next() else { panic!() };
    assert_eq!(notice.reason, "SourceMissing");
    let fresh = Case { permit: Permit::Fresh, ..with(queued(), waits()) };
    assert_eq!(fresh.written().0, SyncPhase::Queued, "also when its turn has come");
}

fn missing() -> VMDiskSyncStatus {
    let failure = Failure {
        class: FailureClass::SourceMissing,
        counts: false,
        ..Failure::not_started("NotFound", "it is not there".into())
    };
    transition::failed(&syncing(), &failure, None, &Policy::default(), at(5), 0.5)
}

#[test]
fn a_source_that_is_missing_is_asked_again_without_a_volume() {
    let mut due = Case { now: 305, ..Case::new(missing()) };
    assert_eq!(due.next(), Step::CreateInspector);
    due.may_inspect = false;
    assert!(matches!(due.next(), Step::Answer(Answer::Hold(Some(_), Some(_)))));
    due.asks = false;
    assert!(matches!(due.next(), Step::Answer(Answer::Hold(Some(_), None))), "another sync asks for all");

    let inspecting = |worker| Case { worker, inspects: true, now: 310, ..Case::new(missing()) };
    assert!(matches!(inspecting(Worker::Running).next(), Step::Answer(Answer::Hold(Some(_), Some(_)))));
    let (phase, _, status) = inspecting(ended(ExitClass::Done)).written();
    assert_eq!((phase, status.last_failure, status.attempt), (SyncPhase::Queued, None, 1));
    let (phase, failure, status) = inspecting(ended(ExitClass::SourceMissing)).written();
    assert_eq!((phase, failure.as_str()), (SyncPhase::BackingOff, "SourceMissing"));
    assert_eq!((status.attempt, status.interruptions, status.pod_uid), (1, 1, None), "a question is no attempt");
    assert_eq!(inspecting(ended(ExitClass::Malformed)).written().0, SyncPhase::Failed);
    assert_eq!(inspecting(Worker::Lost).next(), Step::DeleteWorker);
    let Worker::Ended(killed) = ended(ExitClass::Transient) else { panic!() };
    let killed = Worker::Ended(Box::new(Ended { outcome: Outcome::Killed, report: None, ..*killed }));
    let (phase, _, status) = inspecting(killed).written();
    let class = status.last_failure.map(|failure| failure.class);
    assert_eq!((phase, class), (SyncPhase::BackingOff, Some(FailureClass::SourceMissing)), "the finding stands");
    assert_eq!(Case { now: 700, ..inspecting(starting()) }.next(), Step::DeleteWorker, "it never started");
}
