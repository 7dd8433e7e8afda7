//! What to do next for one sync: a pure function of its record, its worker, its prime and its permit.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use populator_crd::v1alpha1::{SyncPhase, SyncReason, VMDiskSyncStatus};
use volume_populator::{Cause, Notice};

use super::{
    failure::{self, Failure},
    transition::{self, Admission},
};
use crate::{
    policy::Policy,
    worker::{Ended, Worker},
};

/// What a pass knows of a sync whose claim wants to be filled.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    /// The record.
    pub status: &'a VMDiskSyncStatus,
    /// What an admission would latch now; its generation is the image's.
    pub admission: Admission<'a>,
    /// The worker pod.
    pub worker: &'a Worker,
    /// The prime.
    pub prime: Prime,
    /// Whether the worker is the consumer that the prime's class waits for, so that no volume comes before it.
    pub worker_binds: bool,
    /// The API server's words, if it has just refused the prime.
    pub prime_refused: Option<&'a str>,
    /// What the gate says.
    pub permit: Permit,
    /// The policy in force.
    pub policy: &'a Policy,
    /// The time of the pass.
    pub now: Timestamp,
    /// 0 to 1, to spread waits.
    pub jitter: f64,
}

/// The state of a prime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prime {
    /// Not there.
    Absent,
    /// There, without a volume: no worker can have run.
    Pending,
    /// There, with its volume.
    Bound,
    /// There, but going, or another sync's.
    Foreign,
}

/// What the gate says of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// It has not been asked in this pass.
    Unasked,
    /// The sync stands in the queue since this time.
    Waiting(Timestamp),
    /// The sync may be admitted, or was admitted by this process, and no worker was created under the permit.
    Fresh,
    /// The sync was admitted, and its worker created, or nobody knows.
    Used,
}

/// One step. All but `Answer` are followed by another look at the situation.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Ask the gate for a permit, with the place in the queue that the sync has, if it has one.
    AskGate(Option<Timestamp>),
    /// Write this status.
    Write(Box<VMDiskSyncStatus>),
    /// Note that no worker has been created under the permit.
    Vouch,
    /// Create the worker.
    CreateWorker,
    /// Delete the worker, and see it gone.
    DeleteWorker,
    /// Nothing to do now.
    Answer(Answer),
}

/// What the machinery is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Wait.
    Hold(Option<Notice>, Option<Duration>),
    /// Create the prime; look again no later than this.
    NeedPrime,
    /// The worker is at it.
    Running(Option<Duration>),
    /// The volume is whole.
    Filled,
    /// Remove worker and prime.
    Discard(Option<Notice>, Option<Duration>),
    /// Remove worker and prime, and wait for a change.
    Failed(Notice),
}

/// Decides.
#[must_use]
pub fn next(situation: &Situation<'_>) -> Step {
    let status = situation.status;
    if situation.prime == Prime::Foreign {
        return Step::Answer(Answer::Discard(None, None));
    }
    match status.phase {
        None | Some(SyncPhase::Queued) => queued(situation),
        Some(SyncPhase::Syncing) => syncing(situation),
        Some(SyncPhase::BackingOff) => backing_off(situation),
        Some(SyncPhase::Failed) => failed(situation),
        // The claim is asked for again, so it was not gone after all.
        Some(SyncPhase::Cancelled) => restart(situation),
        // A claim that is bound does not become unbound: the machinery has not seen it yet.
        Some(SyncPhase::Succeeded) => Step::Answer(Answer::Hold(None, None)),
    }
}

fn queued(situation: &Situation<'_>) -> Step {
    if spec_changed(situation) {
        return restart(situation);
    }
    if let Some(step) = clear_the_way(situation) {
        return step;
    }
    let place = situation.status.enqueued_at.as_ref().map(|time| time.0);
    match situation.permit {
        Permit::Unasked => Step::AskGate(place),
        Permit::Fresh | Permit::Used => admit(situation),
        Permit::Waiting(since) if place.is_none() => write(transition::queued(situation.status, since, situation.now)),
        Permit::Waiting(_) => Step::Answer(Answer::Hold(Some(waiting(situation)), None)),
    }
}

fn backing_off(situation: &Situation<'_>) -> Step {
    let status = situation.status;
    if spec_changed(situation) {
        return restart(situation);
    }
    let remaining = status.not_before.as_ref().and_then(|time| remaining(situation.now, time.0));
    let notice = last_notice(situation);
    let kept = situation.policy.keep_failed_workers && matches!(situation.worker, Worker::Ended(_));
    if let (true, Some(wait)) = (kept, remaining) {
        return Step::Answer(Answer::Hold(notice, Some(wait)));
    }
    if status.prime.is_none() && situation.prime != Prime::Absent {
        return Step::Answer(Answer::Discard(notice, remaining));
    }
    if let Some(step) = clear_the_way(situation) {
        return step;
    }
    if let Some(wait) = remaining {
        return Step::Answer(Answer::Hold(notice, Some(wait)));
    }
    match situation.permit {
        // A retry that is due rejoins at the tail.
        Permit::Unasked => Step::AskGate(None),
        Permit::Fresh | Permit::Used => admit(situation),
        Permit::Waiting(since) => write(transition::queued(status, since, situation.now)),
    }
}

fn syncing(situation: &Situation<'_>) -> Step {
    let start_by = start_deadline(situation);
    match situation.worker {
        Worker::Ended(ended) => match Failure::of(ended) {
            None => Step::Answer(Answer::Filled),
            Some(failure) => fail_with(situation, &failure, Some(ended)),
        },
        Worker::Lost => fail(
            situation,
            &Failure::interrupted(
                "NodeLost",
                "the worker's node does not answer; what it wrote is given up".to_owned(),
            ),
        ),
        // The machinery's next look comes with the pod's end; a lost node has no end, so there is a latest moment.
        Worker::Stopping => Step::Answer(Answer::Running(Some(Duration::from_secs(15)))),
        Worker::Running => Step::Answer(Answer::Running(None)),
        Worker::Starting { waiting_for } => match start_by {
            Some(wait) => Step::Answer(Answer::Running(Some(wait))),
            None => fail(situation, &not_started(situation, Some(waiting_for))),
        },
        Worker::Absent => start(situation, start_by),
    }
}

/// Admitted, and no worker there.
fn start(situation: &Situation<'_>, start_by: Option<Duration>) -> Step {
    // The job is made from the image as it is now: it must be the spec that was latched.
    if spec_changed(situation) {
        return restart(situation);
    }
    if situation.permit == Permit::Unasked {
        return Step::AskGate(None);
    }
    if let Some(message) = situation.prime_refused {
        let message =
            format!("the prime was refused ({message}); correct the quota or policy of the image's namespace");
        return fail(situation, &Failure::not_started("VolumeRefused", message));
    }
    let fresh = situation.permit == Permit::Fresh;
    match situation.prime {
        // Without memory of it, the worker may have come and gone together with its prime.
        Prime::Absent if !fresh => write(transition::readmitted(situation.status, &situation.admission, situation.now)),
        Prime::Absent if start_by.is_none() => fail(situation, &not_started(situation, None)),
        Prime::Absent => Step::Answer(Answer::NeedPrime),
        Prime::Bound if !fresh => fail(
            situation,
            &Failure::interrupted(
                "WorkerGone",
                "the worker was deleted before it ended; what it wrote is given up".to_owned(),
            ),
        ),
        // Without a volume no worker can have run, whatever happened before this process began.
        Prime::Pending if !fresh => Step::Vouch,
        // A pod that is there before its volume costs a second of the scheduler's back-off, and a kubelet that is quicker
        // than the claim's status waits for many.
        Prime::Pending if !situation.worker_binds => match start_by {
            Some(wait) => Step::Answer(Answer::Running(Some(wait))),
            None => fail(situation, &not_started(situation, None)),
        },
        Prime::Pending | Prime::Bound | Prime::Foreign => Step::CreateWorker,
    }
}

fn failed(situation: &Situation<'_>) -> Step {
    if spec_changed(situation) {
        return restart(situation);
    }
    let notice = last_notice(situation).unwrap_or_else(|| Notice {
        warning: true,
        reason: "SyncFailed",
        message: "The sync failed; delete the VMDiskSync to start again.".to_owned(),
    });
    if situation.policy.keep_failed_workers && matches!(situation.worker, Worker::Ended(_)) {
        return Step::Answer(Answer::Hold(Some(notice), None));
    }
    Step::Answer(Answer::Failed(notice))
}

/// What an earlier attempt left must be gone before the next one asks for a permit.
fn clear_the_way(situation: &Situation<'_>) -> Option<Step> {
    if situation.status.prime.is_none() && situation.prime != Prime::Absent {
        return Some(Step::Answer(Answer::Discard(None, None)));
    }
    match situation.worker {
        Worker::Absent => None,
        Worker::Stopping => Some(Step::Answer(Answer::Hold(None, Some(Duration::from_secs(15))))),
        _ => Some(Step::DeleteWorker),
    }
}

/// What a clean-up writes before it deletes the worker; `None`: nothing.
#[must_use]
pub fn wind_up(status: &VMDiskSyncStatus, cause: Cause, worker: &Worker, now: Timestamp) -> Option<VMDiskSyncStatus> {
    let phase = status.phase.unwrap_or_default();
    let ended = match worker {
        Worker::Ended(ended) => Some(&**ended),
        _ => None,
    };
    match cause {
        Cause::Bound => (phase != SyncPhase::Succeeded).then(|| transition::succeeded(status, ended, now)),
        Cause::Gone if !phase.is_final() => Some(transition::cancelled(status, SyncReason::ClaimGone, now)),
        Cause::Elsewhere if !phase.is_final() => Some(transition::cancelled(status, SyncReason::BoundElsewhere, now)),
        Cause::Unplaced | Cause::Refused if phase == SyncPhase::Syncing => Some(transition::set_aside(status, now)),
        _ => None,
    }
}

fn admit(situation: &Situation<'_>) -> Step {
    write(transition::admitted(situation.status, &situation.admission, situation.now))
}

fn restart(situation: &Situation<'_>) -> Step {
    write(transition::restarted(situation.status, situation.now))
}

fn fail(situation: &Situation<'_>, failure: &Failure) -> Step {
    fail_with(situation, failure, None)
}

fn fail_with(situation: &Situation<'_>, failure: &Failure, ended: Option<&Ended>) -> Step {
    write(transition::failed(situation.status, failure, ended, situation.policy, situation.now, situation.jitter))
}

fn write(status: VMDiskSyncStatus) -> Step {
    Step::Write(Box::new(status))
}

/// Whether an attempt was made with another spec than the image has now.
fn spec_changed(situation: &Situation<'_>) -> bool {
    situation.status.image_generation.is_some_and(|latched| latched != situation.admission.generation)
}

/// How much of `startTimeout` is left.
fn start_deadline(situation: &Situation<'_>) -> Option<Duration> {
    let started = situation.status.started_at.as_ref().map_or(situation.now, |time| time.0);
    let limit = SignedDuration::try_from(situation.policy.start_timeout).unwrap_or(SignedDuration::MAX);
    let deadline = started.checked_add(limit).unwrap_or(Timestamp::MAX);
    remaining(situation.now, deadline)
}

fn remaining(now: Timestamp, deadline: Timestamp) -> Option<Duration> {
    Duration::try_from(deadline.duration_since(now)).ok().filter(|wait| !wait.is_zero())
}

fn not_started(situation: &Situation<'_>, waiting_for: Option<&String>) -> Failure {
    match situation.prime {
        Prime::Bound => Failure::not_started(
            "WorkerNotStarted",
            format!(
                "the worker did not start within startTimeout ({})",
                waiting_for.map_or("it could not be created", String::as_str)
            ),
        ),
        _ => Failure::not_started(
            "VolumeNotProvisioned",
            match waiting_for {
                Some(waiting_for) => format!(
                    "no volume was provisioned within startTimeout; see the events of the prime and of its StorageClass's \
                     driver (the worker is waiting: {waiting_for})"
                ),
                None => "no volume was provisioned within startTimeout; see the events of the claim, of the prime and of its \
                         StorageClass's driver"
                    .to_owned(),
            },
        ),
    }
}

fn last_notice(situation: &Situation<'_>) -> Option<Notice> {
    let failure = situation.status.last_failure.as_ref()?;
    Some(failure::notice(failure, transition::is_exhausted(situation.status)))
}

fn waiting(situation: &Situation<'_>) -> Notice {
    Notice {
        warning: false,
        reason: "Queued",
        message: format!(
            "Waiting for its turn: {} syncs may run at once (concurrency in sync-operator-policy); see kubectl get \
             vmdisksync -A for the queue",
            situation.policy.concurrency
        ),
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
