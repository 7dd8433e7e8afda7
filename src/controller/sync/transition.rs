//! What a sync's record says after each thing that can happen to it. Pure: from one status to the next.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use populator_crd::{
    names,
    v1alpha1::{
        FailureClass, LastFailure, Progress, Route, SourceFacts, SyncCondition, SyncPhase, SyncReason, VMDiskSyncStatus,
    },
};
use vmdisk_wire::Report;

use super::{backoff, failure::Failure};
use crate::{conditions, policy::Policy, source_facts, worker::Ended};

/// What an admission latches.
#[derive(Clone, Debug)]
pub struct Admission<'a> {
    /// The claim's UID, which names prime and worker.
    pub claim_uid: &'a str,
    /// The image's generation.
    pub generation: i64,
    /// How the claim is filled.
    pub route: Route,
}

/// The sync waits for its turn since `enqueued_at`.
#[must_use]
pub fn queued(status: &VMDiskSyncStatus, enqueued_at: Timestamp, now: Timestamp) -> VMDiskSyncStatus {
    let mut next = VMDiskSyncStatus {
        phase: Some(SyncPhase::Queued),
        enqueued_at: Some(MicroTime(enqueued_at)),
        not_before: None,
        progress: None,
        pod: None,
        ..status.clone()
    };
    tell(&mut next, ("False", SyncReason::WaitingForTurn), ("Unknown", SyncReason::InProgress), now);
    next
}

/// The sync starts anew, because the image's spec is another: what the old one promised or failed at means nothing.
#[must_use]
pub fn restarted(status: &VMDiskSyncStatus, now: Timestamp) -> VMDiskSyncStatus {
    let blank = VMDiskSyncStatus { conditions: status.conditions.clone(), ..VMDiskSyncStatus::default() };
    queued(&blank, now, now)
}

/// The sync leaves the queue without an end: no node is selected for its claim, or the claim may not be filled now. It
/// joins again when it is asked for again.
#[must_use]
pub fn set_aside(status: &VMDiskSyncStatus, now: Timestamp) -> VMDiskSyncStatus {
    let interrupted = status.phase == Some(SyncPhase::Syncing);
    let mut next = VMDiskSyncStatus {
        interruptions: status.interruptions + i32::from(interrupted),
        enqueued_at: None,
        prime: None,
        ..queued(status, now, now)
    };
    next.enqueued_at = None;
    tell(&mut next, ("False", SyncReason::WaitingForNode), ("Unknown", SyncReason::InProgress), now);
    next
}

/// The gate let the sync run: a new attempt begins.
#[must_use]
pub fn admitted(status: &VMDiskSyncStatus, admission: &Admission<'_>, now: Timestamp) -> VMDiskSyncStatus {
    let mut next = VMDiskSyncStatus {
        phase: Some(SyncPhase::Syncing),
        attempt: status.attempt + 1,
        started_at: Some(Time(now)),
        image_generation: Some(admission.generation),
        not_before: None,
        finished_at: None,
        progress: None,
        route: Some(admission.route.clone()),
        prime: Some(names::prime(admission.claim_uid)),
        pod: Some(names::worker(admission.claim_uid)),
        node: None,
        ..status.clone()
    };
    tell(&mut next, ("True", SyncReason::Admitted), ("Unknown", SyncReason::InProgress), now);
    next
}

/// The worker of this attempt may have run unseen: the attempt counts as interrupted, and another begins in its place
/// under the same permit.
#[must_use]
pub fn readmitted(status: &VMDiskSyncStatus, admission: &Admission<'_>, now: Timestamp) -> VMDiskSyncStatus {
    VMDiskSyncStatus { interruptions: status.interruptions + 1, ..admitted(status, admission, now) }
}

/// The attempt failed; `ended` is how its worker ended, if it did.
#[must_use]
pub fn failed(
    status: &VMDiskSyncStatus,
    failure: &Failure,
    ended: Option<&Ended>,
    policy: &Policy,
    now: Timestamp,
    jitter: f64,
) -> VMDiskSyncStatus {
    let report = ended.and_then(|ended| ended.report.as_ref());
    let interruptions = status.interruptions + i32::from(!failure.counts && uncounted(failure.class));
    // Failures that counted: what retryLimit bounds. The first attempt is no retry.
    let failures = u32::try_from(status.attempt - interruptions).unwrap_or(0);
    let exhausted = failure.class == FailureClass::Transient && failure.counts && failures > policy.retry_limit;
    let uncounted_so_far = u32::try_from(interruptions).unwrap_or(0);
    let wait = match failure.class {
        FailureClass::Final => None,
        FailureClass::Transient if exhausted => None,
        FailureClass::Transient if failure.counts => Some(backoff::after_failure(policy, failures, jitter)),
        FailureClass::Transient => Some(backoff::after_failure(policy, uncounted_so_far, jitter)),
        FailureClass::Interrupted => Some(backoff::after_interruption(policy, uncounted_so_far, jitter)),
        FailureClass::SourceMissing => Some(backoff::interval(policy.missing_retry_interval, jitter)),
        FailureClass::Denied => Some(backoff::interval(policy.denied_retry_interval, jitter)),
    };
    // The server's wish is honoured as far as the operator's own maximum goes.
    let wished = failure.retry_after.map(|wish| wish.min(policy.retry_backoff_max));
    let wait = wait.map(|wait| wished.map_or(wait, |wish| wait.max(wish)));

    let mut next = VMDiskSyncStatus {
        interruptions,
        last_failure: Some(LastFailure {
            class: failure.class,
            reason: cut(&failure.reason, 128),
            message: cut(&failure.message, 4096),
            time: Time(now),
        }),
        prime: status.prime.clone().filter(|_| failure.keep_prime),
        source: learnt(status, report),
        progress: final_progress(status, report),
        node: node(status, ended),
        ..status.clone()
    };
    if let Some(wait) = wait {
        next.phase = Some(SyncPhase::BackingOff);
        next.not_before = Some(Time(later(now, wait)));
        tell(&mut next, ("False", SyncReason::BackingOff), ("Unknown", SyncReason::BackingOff), now);
    } else {
        next.phase = Some(SyncPhase::Failed);
        next.finished_at = Some(Time(now));
        next.prime = None;
        let reason = if exhausted { SyncReason::RetryLimitReached } else { SyncReason::FailedFinally };
        tell(&mut next, ("False", SyncReason::Finished), ("False", reason), now);
    }
    next
}

/// The claim is bound to the volume that was filled.
#[must_use]
pub fn succeeded(status: &VMDiskSyncStatus, ended: Option<&Ended>, now: Timestamp) -> VMDiskSyncStatus {
    let report = ended.and_then(|ended| ended.report.as_ref());
    let mut next = VMDiskSyncStatus {
        phase: Some(SyncPhase::Succeeded),
        finished_at: Some(Time(now)),
        not_before: None,
        source: learnt(status, report),
        node: node(status, ended),
        progress: Some(Progress {
            percent: Some(100),
            stage: None,
            ..final_progress(status, report).unwrap_or_default()
        }),
        ..status.clone()
    };
    tell(&mut next, ("False", SyncReason::Finished), ("True", SyncReason::Bound), now);
    next
}

/// The claim is not ours to fill any more.
#[must_use]
pub fn cancelled(status: &VMDiskSyncStatus, reason: SyncReason, now: Timestamp) -> VMDiskSyncStatus {
    let mut next = VMDiskSyncStatus {
        phase: Some(SyncPhase::Cancelled),
        finished_at: Some(Time(now)),
        not_before: None,
        prime: None,
        ..status.clone()
    };
    tell(&mut next, ("False", SyncReason::Finished), ("False", reason), now);
    next
}

/// Whether the last failure used up the retries.
#[must_use]
pub fn is_exhausted(status: &VMDiskSyncStatus) -> bool {
    status.conditions.iter().any(|condition| {
        condition.type_ == SyncCondition::Succeeded.as_str()
            && condition.reason == SyncReason::RetryLimitReached.as_str()
    })
}

/// Counted as interruptions: what `retryLimit` is not about. A missing or refusing source has its own interval and no
/// limit, so its attempts must not use up the retries of a later transient failure either.
const fn uncounted(class: FailureClass) -> bool {
    !matches!(class, FailureClass::Final)
}

fn node(status: &VMDiskSyncStatus, ended: Option<&Ended>) -> Option<String> {
    ended.and_then(|ended| ended.node.clone()).or_else(|| status.node.clone())
}

fn learnt(status: &VMDiskSyncStatus, report: Option<&Report>) -> Option<SourceFacts> {
    match report {
        Some(report) => source_facts::merged(status.source.as_ref(), &report.source),
        None => status.source.clone(),
    }
}

fn final_progress(status: &VMDiskSyncStatus, report: Option<&Report>) -> Option<Progress> {
    let Some(report) = report else {
        return status.progress.clone();
    };
    Some(Progress {
        percent: status.progress.as_ref().and_then(|progress| progress.percent),
        bytes_fetched: i64::try_from(report.bytes_fetched).unwrap_or(i64::MAX),
        bytes_written: i64::try_from(report.bytes_written).unwrap_or(i64::MAX),
        bytes_per_second: None,
        stage: status.progress.as_ref().and_then(|progress| progress.stage),
    })
}

fn later(now: Timestamp, wait: Duration) -> Timestamp {
    SignedDuration::try_from(wait).ok().and_then(|wait| now.checked_add(wait).ok()).unwrap_or(now)
}

fn cut(text: &str, at_most: usize) -> String {
    text[..text.floor_char_boundary(at_most)].to_owned()
}

type Say = (&'static str, SyncReason);

fn tell(status: &mut VMDiskSyncStatus, admitted: Say, succeeded: Say, now: Timestamp) {
    let message = match status.phase {
        Some(SyncPhase::BackingOff | SyncPhase::Failed) => {
            status.last_failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default()
        }
        _ => String::new(),
    };
    let said = [(SyncCondition::Admitted, admitted, String::new()), (SyncCondition::Succeeded, succeeded, message)];
    let next = said.into_iter().map(|(type_, (value, reason), message)| Condition {
        type_: type_.as_str().to_owned(),
        status: value.to_owned(),
        reason: reason.as_str().to_owned(),
        message,
        observed_generation: None,
        last_transition_time: Time(now),
    });
    status.conditions = conditions::carried_over(&status.conditions, next.collect());
}

#[cfg(test)]
#[path = "transition_tests.rs"]
mod tests;
