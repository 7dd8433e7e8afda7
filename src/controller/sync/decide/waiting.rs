//! Between attempts: in the queue, backing off, or given up.

use std::time::Duration;

use jiff::Timestamp;
use populator_crd::v1alpha1::FailureClass;
use volume_populator::Notice;

use super::{
    Answer, Permit, Prime, Situation, Step, fail_with, last_notice, left_since, remaining, restart, spec_changed, write,
};
use crate::{
    sync::{
        failure::{self, Failure},
        transition,
        verdict::{Verdict, is_polled},
    },
    worker::Worker,
};

/// How soon to look again for the end of a pod that is being deleted, or for room for another inspector.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// How long a claim waits for its turn before it is told: a wait that is over by then needs no word, and every word is a
/// write.
const TOLD_AFTER: Duration = Duration::from_mins(10);

pub(super) fn queued(situation: &Situation<'_>) -> Step {
    if spec_changed(situation) {
        return restart(situation);
    }
    if let Some(step) = clear_the_way(situation) {
        return step;
    }
    let place = place(situation);
    if let Some(step) = go_by_others(situation, place) {
        return step;
    }
    match situation.permit {
        Permit::Unasked => Step::AskGate(place),
        Permit::Fresh | Permit::Used => admit(situation),
        // It was set aside, and joins again.
        Permit::Waiting(since) if place.is_none() => write(transition::queued(situation.status, since, situation.now)),
        Permit::Waiting(_) if situation.policy.closed().is_some() => {
            Step::Answer(Answer::Hold(Some(waiting(situation)), None))
        }
        Permit::Waiting(since) => {
            let told = since.checked_add(TOLD_AFTER).unwrap_or(Timestamp::MAX);
            Step::Answer(match remaining(situation.now, told) {
                Some(wait) => Answer::Hold(None, Some(wait)),
                None => Answer::Hold(Some(waiting(situation)), None),
            })
        }
    }
}

/// The place in the queue, if the sync has one.
fn place(situation: &Situation<'_>) -> Option<Timestamp> {
    if transition::is_new(situation.status) {
        return situation.created;
    }
    situation.status.enqueued_at.as_ref().map(|time| time.0)
}

/// What another sync found out, or is about to, spares this one an attempt.
fn go_by_others(situation: &Situation<'_>, place: Option<Timestamp>) -> Option<Step> {
    let status = situation.status;
    match situation.verdict {
        Verdict::Go => None,
        Verdict::Fail(failure) => {
            let generation = situation.admission.generation;
            Some(write(transition::failed_like(status, failure, generation, situation.now)))
        }
        Verdict::Golden { message } => {
            let waits = transition::waiting_for_golden(status, place.unwrap_or(situation.now), situation.now);
            if waits != *status {
                return Some(write(waits));
            }
            let since = place.unwrap_or(situation.now).checked_add(TOLD_AFTER).unwrap_or(Timestamp::MAX);
            let wait = remaining(situation.now, since);
            let notice = || Notice { warning: false, reason: "WaitingForGolden", message: message.clone() };
            Some(Step::Answer(Answer::Hold(wait.is_none().then(notice), wait)))
        }
        Verdict::Wait { failure, until, .. } => {
            let waits = transition::waiting_for_source(status, place.unwrap_or(situation.now), situation.now);
            if waits != *status {
                return Some(write(waits));
            }
            let notice = failure.as_ref().map(|failure| failure::notice(failure, false));
            let at_most = until.and_then(|until| remaining(situation.now, until));
            Some(Step::Answer(Answer::Hold(notice, at_most)))
        }
    }
}

pub(super) fn backing_off(situation: &Situation<'_>) -> Step {
    let status = situation.status;
    if spec_changed(situation) {
        return restart(situation);
    }
    let wait = status.not_before.as_ref().and_then(|time| remaining(situation.now, time.0));
    let notice = last_notice(situation);
    if situation.inspects {
        return inspecting(situation, notice);
    }
    let kept = situation.policy.keep_failed_workers && matches!(situation.worker, Worker::Ended(_));
    if let (true, Some(wait)) = (kept, wait) {
        return Step::Answer(Answer::Hold(notice, Some(wait)));
    }
    if status.prime.is_none() && situation.prime != Prime::Absent {
        return Step::Answer(Answer::Discard(notice, wait));
    }
    if let Some(step) = clear_the_way(situation) {
        return step;
    }
    if let Some(wait) = wait {
        return Step::Answer(Answer::Hold(notice, Some(wait)));
    }
    let polls = status.last_failure.as_ref().is_some_and(|failure| is_polled(failure.class));
    if polls && status.prime.is_none() {
        // One asks for all, and without a volume: what is missing costs a request.
        return if !situation.asks_for_all {
            Step::Answer(Answer::Hold(notice, None))
        } else if situation.may_inspect {
            Step::CreateInspector
        } else {
            Step::Answer(Answer::Hold(notice, Some(LOOK_AGAIN)))
        };
    }
    if let Some(step) = go_by_others(situation, None) {
        return step;
    }
    match situation.permit {
        // A retry that is due rejoins at the tail.
        Permit::Unasked => Step::AskGate(None),
        Permit::Fresh | Permit::Used => admit(situation),
        Permit::Waiting(since) => write(transition::queued(status, since, situation.now)),
    }
}

/// A pod asks whether the source can be had.
fn inspecting(situation: &Situation<'_>, notice: Option<Notice>) -> Step {
    match situation.worker {
        Worker::Ended(ended) => match Failure::of(ended) {
            None => write(transition::healed(situation.status, situation.now)),
            // What it says of the source counts; that it could not say anything is no news of the source.
            Some(failure) if ended.report.is_some() => fail_with(situation, &failure, Some(ended)),
            Some(failure) => fail_with(situation, &Failure { class: class(situation), ..failure }, Some(ended)),
        },
        Worker::Lost => Step::DeleteWorker,
        Worker::Starting { .. } if overdue(situation) => Step::DeleteWorker,
        _ => Step::Answer(Answer::Hold(notice, Some(LOOK_AGAIN))),
    }
}

/// Asked again, and no answer: the finding stands.
fn class(situation: &Situation<'_>) -> FailureClass {
    let failure = situation.status.last_failure.as_ref();
    failure.map_or(FailureClass::SourceMissing, |failure| failure.class)
}

/// Whether an inspector should have started long ago.
fn overdue(situation: &Situation<'_>) -> bool {
    left_since(situation.status.not_before.as_ref(), situation.policy.start_timeout, situation.now).is_none()
}

pub(super) fn failed(situation: &Situation<'_>) -> Step {
    if spec_changed(situation) {
        return restart(situation);
    }
    // What another sync found out holds as long as that one says so.
    let copied = situation.status.last_failure.as_ref().is_some_and(|failure| failure.found_by.is_some());
    if copied && !matches!(situation.verdict, Verdict::Fail(_)) {
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
        Worker::Stopping => Some(Step::Answer(Answer::Hold(None, Some(LOOK_AGAIN)))),
        _ => Some(Step::DeleteWorker),
    }
}

fn admit(situation: &Situation<'_>) -> Step {
    write(transition::admitted(situation.status, &situation.admission, situation.now))
}

fn waiting(situation: &Situation<'_>) -> Notice {
    if let Some(message) = situation.policy.closed() {
        return Notice { warning: true, reason: "PolicyClosed", message };
    }
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
