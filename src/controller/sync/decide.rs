//! What to do next for one sync: a pure function of its record, its worker, its prime, its permit, and what other syncs
//! know of the image.

mod attempt;
mod waiting;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use populator_crd::v1alpha1::{SyncPhase, SyncReason, VMDiskSyncStatus};
use volume_populator::{Cause, Notice};

use super::{
    failure::{self, Failure},
    transition::{self, Admission},
    verdict::Verdict,
};
use crate::{
    policy::Policy,
    worker::{Ended, Worker},
};

/// What a pass knows of a sync whose claim wants to be filled.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and they come in every combination")]
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    /// The record, with what was made since it was written last.
    pub status: &'a VMDiskSyncStatus,
    /// Whether the record in the cluster lacks something of that.
    pub unwritten: bool,
    /// What the image's other syncs know of it.
    pub verdict: &'a Verdict,
    /// Whether this sync is the one that asks a source again which another found missing, too.
    pub asks_for_all: bool,
    /// When the record was created: its place in the queue as long as nothing else is written.
    pub created: Option<Timestamp>,
    /// What an admission would latch now; its generation is the image's.
    pub admission: Admission<'a>,
    /// The worker pod.
    pub worker: &'a Worker,
    /// Whether that pod only asks whether the source can be had.
    pub inspects: bool,
    /// Whether another pod may be started that does so.
    pub may_inspect: bool,
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
    /// Create a pod that asks whether the source can be had, without a volume.
    CreateInspector,
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
        None | Some(SyncPhase::Queued) => waiting::queued(situation),
        Some(SyncPhase::Syncing) => attempt::syncing(situation),
        Some(SyncPhase::BackingOff) => waiting::backing_off(situation),
        Some(SyncPhase::Failed) => waiting::failed(situation),
        // The claim is asked for again, so it was not gone after all.
        Some(SyncPhase::Cancelled) => restart(situation),
        // A claim that is bound does not become unbound: the machinery has not seen it yet.
        Some(SyncPhase::Succeeded) => Step::Answer(Answer::Hold(None, None)),
    }
}

/// What an end of the claim's filling, or of an attempt, means for the record.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a> {
    /// Why it is over.
    pub cause: Cause,
    /// What the user was told.
    pub notice: Option<&'a Notice>,
    /// Whether the record is of an image that the claim does not name any more.
    pub moved: bool,
    /// The worker.
    pub worker: &'a Worker,
    /// The policy in force.
    pub policy: &'a Policy,
    /// The time of the pass.
    pub now: Timestamp,
    /// 0 to 1, to spread waits.
    pub jitter: f64,
}

/// What a clean-up writes; `None`: nothing. What ends an attempt that fetched is counted here, before anything is made
/// again.
#[must_use]
pub fn wind_up(status: &VMDiskSyncStatus, ending: &Ending<'_>) -> Option<VMDiskSyncStatus> {
    let phase = status.phase.unwrap_or_default();
    let ended = match ending.worker {
        Worker::Ended(ended) => Some(&**ended),
        _ => None,
    };
    let (now, syncing) = (ending.now, phase == SyncPhase::Syncing);
    let fail = |failure: &Failure| transition::failed(status, failure, ended, ending.policy, now, ending.jitter);
    match ending.cause {
        Cause::Bound => (phase != SyncPhase::Succeeded).then(|| transition::succeeded(status, ended, now)),
        // What is final stays as it is; but a claim that is gone is not waited for any more.
        Cause::Gone if !matches!(phase, SyncPhase::Succeeded | SyncPhase::Cancelled) => {
            Some(transition::cancelled(status, SyncReason::ClaimGone, now))
        }
        Cause::Elsewhere if !phase.is_final() => Some(transition::cancelled(status, SyncReason::BoundElsewhere, now)),
        _ if ending.moved && !phase.is_final() => Some(transition::cancelled(status, SyncReason::Moved, now)),
        Cause::Mismatch if !phase.is_final() => {
            Some(fail(&Failure::mismatch(ending.notice.map(|notice| notice.message.clone()).unwrap_or_default())))
        }
        Cause::Lost if syncing => Some(fail(&lost(ending.notice))),
        Cause::Unplaced | Cause::Refused if syncing => {
            Some(transition::set_aside(status, ending.worker.has_started(), now))
        }
        _ => None,
    }
}

/// What was being filled is gone, and with it what was fetched.
fn lost(notice: Option<&Notice>) -> Failure {
    match notice {
        Some(notice) => Failure::interrupted(notice.reason, notice.message.clone()),
        None => Failure::interrupted(
            "VolumeLost",
            "the volume or the worker that was filling it is gone; the filling starts again".to_owned(),
        ),
    }
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

/// How much of `limit` is left since the attempt was admitted.
fn left(status: &VMDiskSyncStatus, limit: Duration, now: Timestamp) -> Option<Duration> {
    left_since(status.started_at.as_ref(), limit, now)
}

/// How much of `limit` is left since then, or all of it where nothing says since when.
fn left_since(since: Option<&Time>, limit: Duration, now: Timestamp) -> Option<Duration> {
    let since = since.map_or(now, |time| time.0);
    remaining(now, since.checked_add(limit).unwrap_or(Timestamp::MAX))
}

/// How much of `startTimeout` is left to a sync that was admitted. With nothing left no worker is created any more, so this
/// is also how long a permit can be held without one (see [`crate::gate::still_held`]).
#[must_use]
pub fn start_left(status: &VMDiskSyncStatus, policy: &Policy, now: Timestamp) -> Option<Duration> {
    left(status, policy.start_timeout, now)
}

fn remaining(now: Timestamp, deadline: Timestamp) -> Option<Duration> {
    Duration::try_from(deadline.duration_since(now)).ok().filter(|wait| !wait.is_zero())
}

fn last_notice(situation: &Situation<'_>) -> Option<Notice> {
    let failure = situation.status.last_failure.as_ref()?;
    Some(failure::notice(failure, transition::is_exhausted(situation.status)))
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
