//! What is true of an image is asked once, not once for each claim. Pure.
//!
//! ```text
//! a sync's own attempt ──▶ finding (its lastFailure, for this image and generation)
//!                             │
//!                 every other sync of the image ──▶ Verdict: go, wait for what that one finds, or fail as it did
//! ```
//!
//! A finding lives in the record of the sync that paid for it, so that it outlives this process and, for as long as records
//! are kept, its claim. Deleting that record, or changing the image, takes it back. Until a claim was filled from an image
//! once, one sync at a time tries: a hundred claims of a corrupt image are one download.

use std::{collections::BTreeSet, time::Duration};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use populator_crd::v1alpha1::{FailureClass, LastFailure, SyncPhase, TargetFacts, VMDiskSync, VMDiskSyncStatus};

use super::failure::Concern;
use crate::{policy::Policy, world::phase};

/// What the syncs of an image know of it, seen from one of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Verdict {
    /// Nothing speaks against trying.
    #[default]
    Go,
    /// Another sync is trying, or asks from time to time whether the source can be had. `failure` is what it found last.
    Wait {
        /// The name of its record.
        on: String,
        /// What it found, with whose it is.
        failure: Option<LastFailure>,
        /// When the finding is too old to wait for, if nobody asks again.
        until: Option<Timestamp>,
    },
    /// Golden data is on its way that it will be cut from.
    Golden {
        /// What is waited for, for a human.
        message: String,
    },
    /// It would end as that one did.
    Fail(LastFailure),
}

/// Whether a record holds something that was found out about an image by an attempt of its own.
#[must_use]
pub fn is_finding(sync: &VMDiskSync) -> bool {
    finding(sync).is_some()
}

fn finding(sync: &VMDiskSync) -> Option<&LastFailure> {
    let failure = sync.status.as_ref()?.last_failure.as_ref()?;
    (failure.found_by.is_none() && concerns_image(failure)).then_some(failure)
}

/// Whether a failure is the image's, whoever asks for it.
fn concerns_image(failure: &LastFailure) -> bool {
    match failure.class {
        FailureClass::SourceMissing | FailureClass::Denied => true,
        FailureClass::Final => Concern::of(&failure.reason) != Concern::Other,
        FailureClass::Transient | FailureClass::Interrupted => false,
    }
}

/// Whether a source that failed so is asked again from time to time.
#[must_use]
pub const fn is_polled(class: FailureClass) -> bool {
    matches!(class, FailureClass::SourceMissing | FailureClass::Denied)
}

/// What a sync has to go by.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The UID of the sync that asks.
    pub sync_uid: &'a str,
    /// The generation of the image's spec.
    pub generation: i64,
    /// What its claim offers.
    pub target: &'a TargetFacts,
    /// Whether a claim was ever filled from this generation, or nothing needs proof.
    pub is_proven: bool,
    /// The UIDs of the syncs whose workers run, or have ended.
    pub at_work: &'a BTreeSet<String>,
    /// The policy in force.
    pub policy: &'a Policy,
    /// The time of the pass.
    pub now: Timestamp,
}

/// Judges, from the records of the same image.
#[must_use]
pub fn judge<'a>(question: &Question<'_>, siblings: impl IntoIterator<Item = &'a VMDiskSync>) -> Verdict {
    let of_the_spec = |sync: &&VMDiskSync| {
        sync.metadata.uid.as_deref() != Some(question.sync_uid)
            && sync.metadata.deletion_timestamp.is_none()
            && sync.status.as_ref().and_then(|status| status.image_generation) == Some(question.generation)
    };
    let siblings: Vec<&VMDiskSync> = siblings.into_iter().filter(of_the_spec).collect();
    let found = || siblings.iter().filter_map(|sync| Some((*sync, finding(sync)?)));
    if let Some((sync, failure)) = found().find(|(sync, failure)| is_final_for(question.target, sync, failure)) {
        return Verdict::Fail(told(sync, failure));
    }
    // The one that asks next is the one to wait for.
    let polled = found().filter_map(|(sync, failure)| Some((holds_until(question, sync, failure)?, sync, failure)));
    if let Some((until, sync, failure)) = polled.min_by_key(|(until, sync, _)| (*until, sync.uid())) {
        let asks_again = phase(sync) == Some(SyncPhase::BackingOff);
        let until = (!asks_again).then_some(until);
        return Verdict::Wait { on: sync.name_any(), failure: Some(told(sync, failure)), until };
    }
    if question.is_proven {
        return Verdict::Go;
    }
    let trying = siblings.iter().filter_map(|sync| Some((*sync, tries_until(sync, question.at_work, question.now)?)));
    match trying.min_by_key(|(sync, _)| sync.uid()) {
        Some((sync, until)) => Verdict::Wait { on: sync.name_any(), failure: None, until },
        None => Verdict::Go,
    }
}

/// How long others wait for a sync that was admitted and whose worker does not run: what only its own claim can lack (a
/// volume, a node, a quota) must not hold up the others.
const TRIES_FOR: SignedDuration = SignedDuration::from_secs(5);

/// Whether a sync tries the image: `Some(None)`: its worker is at it; `Some(time)`: it is about to, and until when that
/// counts.
#[must_use]
pub fn tries_until(sync: &VMDiskSync, at_work: &BTreeSet<String>, now: Timestamp) -> Option<Option<Timestamp>> {
    if phase(sync) != Some(SyncPhase::Syncing) {
        return None;
    }
    if at_work.contains(sync.metadata.uid.as_deref()?) {
        return Some(None);
    }
    let started = sync.status.as_ref()?.started_at.as_ref()?.0;
    let until = started.checked_add(TRIES_FOR).ok()?;
    (until > now).then_some(Some(until))
}

fn told(sync: &VMDiskSync, failure: &LastFailure) -> LastFailure {
    LastFailure { found_by: Some(sync.name_any()), ..failure.clone() }
}

/// Whether a claim of this kind would fail in the same way for ever. Too large an image is so for those that offer no
/// more; everything else that is final is so for all.
fn is_final_for(target: &TargetFacts, sync: &VMDiskSync, failure: &LastFailure) -> bool {
    if failure.class != FailureClass::Final {
        return false;
    }
    if Concern::of(&failure.reason) != Concern::Room {
        return true;
    }
    let tried = sync.status.as_ref().and_then(|status| status.target.as_ref());
    tried.is_some_and(|tried| {
        tried.storage_class == target.storage_class
            && tried.volume_mode == target.volume_mode
            && tried.requested_bytes >= target.requested_bytes
    })
}

/// Until when a finding of a source that is asked again holds; `None`: it does not. One whose claim is gone is asked again
/// by nobody, so it holds for its interval.
fn holds_until(question: &Question<'_>, sync: &VMDiskSync, failure: &LastFailure) -> Option<Timestamp> {
    if !is_polled(failure.class) {
        return None;
    }
    let status: &VMDiskSyncStatus = sync.status.as_ref()?;
    match status.phase {
        Some(SyncPhase::BackingOff) => Some(status.not_before.as_ref()?.0),
        Some(SyncPhase::Cancelled) => {
            let until = failure.time.0.checked_add(interval(question.policy, failure.class)).ok()?;
            (until > question.now).then_some(until)
        }
        _ => None,
    }
}

fn interval(policy: &Policy, class: FailureClass) -> SignedDuration {
    let interval: Duration =
        if class == FailureClass::Denied { policy.denied_retry_interval } else { policy.missing_retry_interval };
    SignedDuration::try_from(interval).unwrap_or(SignedDuration::MAX)
}

/// Whether this sync is the one that asks the source again. Others that found the same wait for it.
#[must_use]
pub fn asks_for_all(
    sync_uid: &str,
    verdict: &Verdict,
    not_before: Option<Timestamp>,
    siblings: &[&VMDiskSync],
) -> bool {
    let Verdict::Wait { on, failure: Some(_), until: None } = verdict else { return true };
    let other = siblings.iter().find(|sync| sync.name_any() == *on);
    let others = other.and_then(|sync| Some((sync.status.as_ref()?.not_before.as_ref()?.0, sync.uid()?)));
    match (others, not_before) {
        (Some(others), Some(mine)) => (mine, sync_uid.to_owned()) < others,
        _ => true,
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
