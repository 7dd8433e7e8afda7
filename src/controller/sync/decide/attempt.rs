//! An attempt, from its admission to its end.

use std::time::Duration;

use super::{Answer, Permit, Prime, Situation, Step, fail, fail_with, left, restart, spec_changed, start_left, write};
use crate::{
    sync::{failure::Failure, transition},
    worker::Worker,
};

/// How long a prime may be without a volume before the record must say that it is ours: most have theirs by then, and their
/// worker is recorded with them. A process that dies before has lost no byte, only a volume to be made again.
const UNWRITTEN: Duration = Duration::from_secs(2);

/// How much longer than `attemptTimeout` the controller waits for the kubelet to end a worker, from its admission on.
const SLACK: Duration = Duration::from_mins(1);

/// How soon to look again for the end of a worker that is being deleted: a lost node has none to tell of.
const STOPPING: Duration = Duration::from_secs(15);

pub(super) fn syncing(situation: &Situation<'_>) -> Step {
    let Situation { status, worker, policy, now, .. } = *situation;
    match worker {
        Worker::Ended(ended) => match Failure::of(ended) {
            Some(failure) => fail_with(situation, &failure.of_route(status.route.as_ref()), Some(ended)),
            // Containers of others hold the volume: the pod has to go, and with it the worker's word.
            None if !ended.at_rest && status.filled_at.is_none() => write(transition::filled(status, ended, now)),
            None if !ended.at_rest => Step::DeleteWorker,
            None => Step::Answer(Answer::Filled),
        },
        Worker::Lost if status.filled_at.is_some() => Step::DeleteWorker,
        Worker::Lost => fail(
            situation,
            &Failure::interrupted(
                "NodeLost",
                "the worker's node does not answer; what it wrote is given up".to_owned(),
            ),
        ),
        Worker::Stopping => Step::Answer(Answer::Running(Some(STOPPING))),
        Worker::Running => {
            let limit = policy.start_timeout.saturating_add(policy.attempt_timeout).saturating_add(SLACK);
            match left(status, limit, now) {
                None => fail(situation, &Failure::timed_out()),
                Some(_) if situation.unwritten => write(status.clone()),
                Some(wait) => Step::Answer(Answer::Running(Some(wait))),
            }
        }
        Worker::Starting { waiting_for } => match start_left(status, policy, now) {
            None => fail(situation, &not_started(situation, Some(waiting_for))),
            // Right after it was created, and before it can run: what it fetches from here on is not lost with this process.
            Some(_) if situation.unwritten => write(status.clone()),
            Some(wait) => Step::Answer(Answer::Running(Some(wait))),
        },
        Worker::Absent => start(situation),
    }
}

/// Admitted, and no worker there.
fn start(situation: &Situation<'_>) -> Step {
    let status = situation.status;
    if status.filled_at.is_some() && situation.prime == Prime::Bound {
        return Step::Answer(Answer::Filled);
    }
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
        // Without memory of it, the worker may have come and gone.
        Prime::Absent | Prime::Bound if !fresh => fail(
            situation,
            &Failure::interrupted(
                "WorkerGone",
                "the worker was gone before it ended; what it wrote is given up".to_owned(),
            ),
        ),
        // Without a volume no worker can have run, whatever happened before this process began.
        Prime::Pending if !fresh => Step::Vouch,
        prime => match start_left(status, situation.policy, situation.now) {
            None => fail(situation, &not_started(situation, None)),
            // Its job would be made from a policy that nobody can read. What runs goes on.
            Some(wait) if situation.policy.closed().is_some() => Step::Answer(Answer::Running(Some(wait))),
            Some(_) if prime == Prime::Absent => Step::Answer(Answer::NeedPrime),
            // A pod that is there before its volume costs a second of the scheduler's back-off, and a kubelet that is
            // quicker than the claim's status waits for many.
            Some(_) if prime == Prime::Pending && !situation.worker_binds && must_record(situation) => {
                write(status.clone())
            }
            Some(wait) if prime == Prime::Pending && !situation.worker_binds => {
                Step::Answer(Answer::Running(Some(no_later_than_recorded(situation, wait))))
            }
            Some(_) => Step::CreateWorker,
        },
    }
}

fn must_record(situation: &Situation<'_>) -> bool {
    situation.unwritten && left(situation.status, UNWRITTEN, situation.now).is_none()
}

fn no_later_than_recorded(situation: &Situation<'_>, wait: Duration) -> Duration {
    match left(situation.status, UNWRITTEN, situation.now) {
        Some(left) if situation.unwritten => wait.min(left),
        _ => wait,
    }
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
