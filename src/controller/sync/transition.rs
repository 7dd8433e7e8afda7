//! What a sync's record says after each thing that can happen to it. Pure: from one status to the next.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use populator_crd::{
    names,
    v1alpha1::{
        FailureClass, LastFailure, Progress, Route, SourceFacts, SyncCondition, SyncPhase, SyncReason, TargetFacts,
        VMDiskSyncStatus,
    },
};
use vmdisk_wire::Report;

use super::{backoff, failure::Failure, verdict};
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
    /// What the claim offers.
    pub target: &'a TargetFacts,
}

/// Whether nothing was ever written into the record: the API server shows such a one as queued since its creation.
#[must_use]
pub fn is_new(status: &VMDiskSyncStatus) -> bool {
    status.conditions.is_empty() && status.enqueued_at.is_none()
}

/// Whether what other syncs of the image find out decides what follows.
#[must_use]
pub fn waits_for_others(status: Option<&VMDiskSyncStatus>) -> bool {
    let Some(status) = status else { return false };
    let failure = status.last_failure.as_ref();
    match status.phase {
        None | Some(SyncPhase::Queued) => {
            let waits = [SyncReason::WaitingForSource.as_str(), SyncReason::WaitingForGolden.as_str()];
            status.conditions.iter().any(|condition| waits.contains(&condition.reason.as_str()))
        }
        Some(SyncPhase::BackingOff) => failure.is_some_and(|failure| verdict::is_polled(failure.class)),
        Some(SyncPhase::Failed) => failure.is_some_and(|failure| failure.found_by.is_some()),
        Some(SyncPhase::Syncing | SyncPhase::Succeeded | SyncPhase::Cancelled) => false,
    }
}

/// The sync waits for its turn since `enqueued_at`.
#[must_use]
pub fn queued(status: &VMDiskSyncStatus, enqueued_at: Timestamp, now: Timestamp) -> VMDiskSyncStatus {
    waiting(status, Some(enqueued_at), SyncReason::WaitingForTurn, now)
}

/// The sync waits for what another one finds out about the image, and keeps its place for then.
#[must_use]
pub fn waiting_for_source(status: &VMDiskSyncStatus, enqueued_at: Timestamp, now: Timestamp) -> VMDiskSyncStatus {
    waiting(status, Some(enqueued_at), SyncReason::WaitingForSource, now)
}

/// The sync waits for golden data that is on its way, and keeps its place for then.
#[must_use]
pub fn waiting_for_golden(status: &VMDiskSyncStatus, enqueued_at: Timestamp, now: Timestamp) -> VMDiskSyncStatus {
    waiting(status, Some(enqueued_at), SyncReason::WaitingForGolden, now)
}

fn waiting(
    status: &VMDiskSyncStatus,
    enqueued_at: Option<Timestamp>,
    reason: SyncReason,
    now: Timestamp,
) -> VMDiskSyncStatus {
    let mut next = VMDiskSyncStatus {
        phase: Some(SyncPhase::Queued),
        enqueued_at: enqueued_at.map(MicroTime),
        not_before: None,
        progress: None,
        pod: None,
        pod_uid: None,
        filled_at: None,
        ..status.clone()
    };
    tell(&mut next, ("False", reason), ("Unknown", SyncReason::InProgress), now);
    next
}

/// The sync starts anew, because the image's spec is another: what the old one promised or failed at means nothing.
#[must_use]
pub fn restarted(status: &VMDiskSyncStatus, now: Timestamp) -> VMDiskSyncStatus {
    let blank = VMDiskSyncStatus { conditions: status.conditions.clone(), ..VMDiskSyncStatus::default() };
    queued(&blank, now, now)
}

/// The sync leaves the queue without an end: no node is selected for its claim, or the claim may not be filled now. It
/// joins again when it is asked for again. `has_run`: a worker of it may have fetched something.
#[must_use]
pub fn set_aside(status: &VMDiskSyncStatus, has_run: bool, now: Timestamp) -> VMDiskSyncStatus {
    let interrupted = i32::from(status.phase == Some(SyncPhase::Syncing));
    let before = VMDiskSyncStatus {
        interruptions: status.interruptions + interrupted,
        disruptions: status.disruptions + i32::from(has_run) * interrupted,
        prime: None,
        prime_uid: None,
        ..status.clone()
    };
    waiting(&before, None, SyncReason::WaitingForNode, now)
}

/// The gate let the sync run: a new attempt begins. Where it goes on in a prime that was kept, it must find the bytes that
/// are in there already; otherwise the source is taken as it is now, and a tag that was moved is not held to what it was.
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
        target: Some(admission.target.clone()),
        prime: Some(names::prime(admission.claim_uid)),
        prime_uid: status.prime_uid.clone().filter(|_| status.prime.is_some()),
        source: status.source.clone().filter(|_| status.prime.is_some()),
        pod: Some(names::worker(admission.claim_uid)),
        pod_uid: None,
        filled_at: None,
        node: None,
        ..status.clone()
    };
    tell(&mut next, ("True", SyncReason::Admitted), ("Unknown", SyncReason::InProgress), now);
    next
}

/// The worker said that the volume is whole, and its pod has to go before the volume can change hands.
#[must_use]
pub fn filled(status: &VMDiskSyncStatus, ended: &Ended, now: Timestamp) -> VMDiskSyncStatus {
    let report = ended.report.as_ref();
    VMDiskSyncStatus {
        filled_at: Some(Time(now)),
        source: learnt(status, report),
        node: node(status, Some(ended)),
        progress: final_progress(status, report),
        ..status.clone()
    }
}

/// Another sync found out what this one's attempt would have ended with.
#[must_use]
pub fn failed_like(
    status: &VMDiskSyncStatus,
    failure: &LastFailure,
    generation: i64,
    now: Timestamp,
) -> VMDiskSyncStatus {
    let mut next = VMDiskSyncStatus {
        phase: Some(SyncPhase::Failed),
        image_generation: Some(generation),
        last_failure: Some(failure.clone()),
        finished_at: Some(Time(now)),
        not_before: None,
        prime: None,
        prime_uid: None,
        ..status.clone()
    };
    tell(&mut next, ("False", SyncReason::Finished), ("False", SyncReason::FailedFinally), now);
    next
}

/// The source was asked again, and can be had: the sync rejoins the queue.
#[must_use]
pub fn healed(status: &VMDiskSyncStatus, now: Timestamp) -> VMDiskSyncStatus {
    queued(&VMDiskSyncStatus { last_failure: None, ..status.clone() }, now, now)
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
    let admitted = status.phase == Some(SyncPhase::Syncing);
    let interruptions = status.interruptions + i32::from(admitted && !failure.counts && uncounted(failure.class));
    let disruptions = status.disruptions + i32::from(admitted && failure.class == FailureClass::Interrupted);
    // Failures that counted: what retryLimit bounds. The first attempt is no retry.
    let failures = u32::try_from(status.attempt - interruptions).unwrap_or(0);
    let exhausted = failure.class == FailureClass::Transient && failure.counts && failures > policy.retry_limit;
    let disrupted = failure.class == FailureClass::Interrupted
        && u32::try_from(disruptions).is_ok_and(|disruptions| disruptions > policy.disruption_limit);
    let uncounted_so_far = u32::try_from(interruptions).unwrap_or(0);
    let wait = match failure.class {
        FailureClass::Final => None,
        FailureClass::Transient if exhausted => None,
        FailureClass::Transient if failure.counts => Some(backoff::after_failure(policy, failures, jitter)),
        FailureClass::Transient => Some(backoff::after_failure(policy, uncounted_so_far, jitter)),
        FailureClass::Interrupted if disrupted => None,
        FailureClass::Interrupted => Some(backoff::after_interruption(policy, uncounted_so_far, jitter)),
        FailureClass::SourceMissing => Some(backoff::interval(policy.missing_retry_interval, jitter)),
        FailureClass::Denied => Some(backoff::interval(policy.denied_retry_interval, jitter)),
    };
    // The server's wish is honoured as far as the operator's own maximum goes.
    let wished = failure.retry_after.map(|wish| wish.min(policy.retry_backoff_max));
    let wait = wait.map(|wait| wished.map_or(wait, |wish| wait.max(wish)));

    let keeps = failure.keep_prime && wait.is_some();
    let mut next = VMDiskSyncStatus {
        interruptions,
        disruptions,
        last_failure: Some(LastFailure {
            class: failure.class,
            reason: cut(&failure.reason, 128),
            message: cut(&failure.message, 4096),
            time: Time(now),
            found_by: None,
        }),
        prime: status.prime.clone().filter(|_| keeps),
        prime_uid: status.prime_uid.clone().filter(|_| keeps),
        filled_at: None,
        // An inspector has had its say; a worker is looked at until it is removed.
        pod: status.pod.clone().filter(|_| admitted),
        pod_uid: status.pod_uid.clone().filter(|_| admitted),
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
        let reason = match (exhausted, disrupted) {
            (true, _) => SyncReason::RetryLimitReached,
            (_, true) => SyncReason::DisruptionLimitReached,
            _ => SyncReason::FailedFinally,
        };
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
        prime_uid: None,
        ..status.clone()
    };
    tell(&mut next, ("False", SyncReason::Finished), ("False", reason), now);
    next
}

/// Whether the last failure used up the retries, or the disruptions.
#[must_use]
pub fn is_exhausted(status: &VMDiskSyncStatus) -> bool {
    let limits = [SyncReason::RetryLimitReached.as_str(), SyncReason::DisruptionLimitReached.as_str()];
    status.conditions.iter().any(|condition| {
        condition.type_ == SyncCondition::Succeeded.as_str() && limits.contains(&condition.reason.as_str())
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

/// As much as the API takes (in characters, so never too much in bytes), and never nothing.
fn cut(text: &str, at_most: usize) -> String {
    let text = if text.is_empty() { "Unknown" } else { text };
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
