//! Every situation that a sync can be in, and the step that follows.

#[path = "decide/attempt_tests.rs"]
mod attempt;
#[path = "decide/waiting_tests.rs"]
mod waiting;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use populator_crd::v1alpha1::{FailureClass, Route, TargetFacts};
use vmdisk_wire::{ExitClass, Report};

use super::*;
use crate::worker::{Ended, Outcome};

const GENERATION: i64 = 7;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn admission() -> Admission<'static> {
    static TARGET: TargetFacts = TargetFacts { storage_class: None, volume_mode: String::new(), requested_bytes: 0 };
    let route = Route::fetch();
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
