//! The status of an image, computed whole from its spec, the policy and its syncs. Pure; nothing is read back but the
//! times of transitions.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use populator_crd::{
    quantity,
    v1alpha1::{
        ClaimCounts, FailureClass, ImageCondition, ImagePhase, ImageReason, LastFailure, Purpose, SourceFacts,
        SyncPhase, VMDiskImage, VMDiskImageStatus, VMDiskSync, VMDiskSyncStatus,
    },
};

use super::{Invalid, validate};
use crate::{
    conditions,
    golden::told::Told,
    ledger::{Done, Success},
    policy::Policy,
    sync::failure::Concern,
    world,
};

/// What the image's status should say. `syncs` are the syncs of this image that are not done, `done` is what is.
#[must_use]
pub fn compute(
    image: &VMDiskImage,
    syncs: &[Arc<VMDiskSync>],
    done: &Done,
    told: Option<&Told>,
    policy: &Policy,
    now: Timestamp,
) -> VMDiskImageStatus {
    let generation = image.metadata.generation;
    let invalid = validate(&image.spec, policy).err();
    let last_success = done.latest.as_ref().map(success);
    let records: Vec<&VMDiskSyncStatus> =
        syncs.iter().filter_map(|sync| sync.status.as_ref()).chain(&last_success).collect();
    let latest = latest(&records);
    let told = told.filter(|told| Some(told.generation) == generation);
    let said = [ready(invalid.as_ref()), resolved(latest, told), preloaded(image, told)];
    let new = said.into_iter().map(|said| Condition {
        type_: said.condition.as_str().to_owned(),
        status: said.status.to_owned(),
        reason: said.reason.as_str().to_owned(),
        message: said.message,
        observed_generation: generation,
        last_transition_time: Time(now),
    });
    let old = image.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let conditions = conditions::carried_over(old, new.collect());
    let claims = count(syncs, done);
    let failures = failures(&records);
    let last_failure = records.iter().filter_map(|record| record.last_failure.as_ref()).max_by_key(|last| last.time.0);
    let source = records
        .iter()
        .filter(|record| record.image_generation == generation && record.source.is_some())
        .max_by_key(|record| record.started_at.as_ref().map(|time| time.0))
        .and_then(|record| record.source.clone())
        .or_else(|| told?.source.clone());
    let golden = match (told, &image.status) {
        (Some(told), _) => told.golden.clone(),
        // Nobody has looked yet.
        (None, Some(status)) => status.golden.clone(),
        (None, None) => None,
    };
    VMDiskImageStatus {
        phase: Some(phase(image, &conditions, claims, latest)),
        message: Some(message(image, &conditions, claims, latest)),
        observed_generation: generation,
        size: size(image, source.as_ref()),
        source,
        claims: Some(claims),
        golden,
        progress: progress(&records),
        failure_count: (failures > 0).then_some(failures),
        last_failure_time: last_failure.map(|last| last.time.clone()),
        conditions,
    }
}

/// Whether two statuses differ in nothing but how many claims wait or have just begun: nothing of that is news of the image.
#[must_use]
pub fn counts_alone(old: &VMDiskImageStatus, new: &VMDiskImageStatus) -> bool {
    let bare = |status: &VMDiskImageStatus| {
        let counts = status.claims.unwrap_or_default();
        VMDiskImageStatus {
            phase: None,
            message: None,
            claims: Some(ClaimCounts { queued: 0, syncing: 0, ..counts }),
            ..status.clone()
        }
    };
    let on_the_way = |status: &VMDiskImageStatus| {
        matches!(status.phase, None | Some(ImagePhase::Pending | ImagePhase::Queued | ImagePhase::Syncing))
    };
    old != new && bare(old) == bare(new) && (old.phase == new.phase || on_the_way(new))
}

/// The phase, derived from the conditions and the claims. For humans: no program may branch on it.
#[must_use]
pub fn phase(
    image: &VMDiskImage,
    conditions: &[Condition],
    claims: ClaimCounts,
    latest: Option<&VMDiskSyncStatus>,
) -> ImagePhase {
    let ready = conditions::find(conditions, ImageCondition::Ready.as_str());
    if ready.is_some_and(|ready| ready.status == "False") {
        return ImagePhase::Failed;
    }
    if image.spec.storage_class.is_some() {
        return conditions::find(conditions, ImageCondition::Preloaded.as_str())
            .map_or(ImagePhase::Pending, of_preload);
    }
    match (claims, latest.and_then(|latest| latest.phase)) {
        (ClaimCounts { syncing: 1.., .. }, _) => ImagePhase::Syncing,
        (ClaimCounts { queued: 1.., .. }, _) => ImagePhase::Queued,
        (_, Some(SyncPhase::Succeeded)) => ImagePhase::Succeeded,
        (_, Some(SyncPhase::Failed)) => ImagePhase::Failed,
        _ if claims.succeeded > 0 => ImagePhase::Succeeded,
        _ => ImagePhase::Pending,
    }
}

fn of_preload(preloaded: &Condition) -> ImagePhase {
    let is = |reasons: &[ImageReason]| reasons.iter().any(|reason| reason.as_str() == preloaded.reason);
    if is(&[ImageReason::Succeeded]) {
        ImagePhase::Succeeded
    } else if is(&[ImageReason::Failed, ImageReason::NameTaken]) {
        ImagePhase::Failed
    } else if is(&[ImageReason::Syncing, ImageReason::Cutting]) {
        ImagePhase::Syncing
    } else {
        ImagePhase::Queued
    }
}

struct Said {
    condition: ImageCondition,
    status: &'static str,
    reason: ImageReason,
    message: String,
}

fn ready(invalid: Option<&Invalid>) -> Said {
    let (status, reason, message) = match invalid {
        None => ("True", ImageReason::Valid, String::new()),
        Some(Invalid::NotAllowed(..)) => {
            ("False", ImageReason::Denied, invalid.map(ToString::to_string).unwrap_or_default())
        }
        Some(invalid) => ("False", ImageReason::InvalidSpec, invalid.to_string()),
    };
    Said { condition: ImageCondition::Ready, status, reason, message }
}

fn resolved(latest: Option<&VMDiskSyncStatus>, told: Option<&Told>) -> Said {
    let condition = ImageCondition::SourceResolved;
    if let Some((reason, message)) = told.and_then(|told| told.unresolved.clone()) {
        return Said { condition, status: "False", reason, message };
    }
    if latest.is_none() && told.is_some_and(|told| told.source.is_some()) {
        return Said { condition, status: "True", reason: ImageReason::Resolved, message: String::new() };
    }
    let (status, reason, message) = match latest {
        Some(record) => match (record.phase, &record.last_failure) {
            (Some(SyncPhase::Succeeded), _) => ("True", ImageReason::Resolved, String::new()),
            (_, Some(failure)) => unresolved(record, failure),
            _ if record.source.is_some() => ("True", ImageReason::Resolved, String::new()),
            _ => ("Unknown", ImageReason::NotUsedYet, String::new()),
        },
        None => ("Unknown", ImageReason::NotUsedYet, "no claim has asked for this image yet".to_owned()),
    };
    Said { condition: ImageCondition::SourceResolved, status, reason, message }
}

fn unresolved(record: &VMDiskSyncStatus, failure: &LastFailure) -> (&'static str, ImageReason, String) {
    let message = format!("{}: {}", failure.reason, failure.message);
    match (failure.class, failure.reason.as_str()) {
        (FailureClass::SourceMissing, _) => ("False", ImageReason::SourceMissing, message),
        (FailureClass::Denied, _) => ("False", ImageReason::Denied, message),
        (FailureClass::Final, reason) if Concern::of(reason) == Concern::Bytes => {
            ("False", ImageReason::VerificationFailed, message)
        }
        (FailureClass::Final, reason) if Concern::of(reason) == Concern::Image => {
            ("False", ImageReason::Malformed, message)
        }
        // The source was read; what failed is not its fault.
        _ if record.source.is_some() => ("True", ImageReason::Resolved, String::new()),
        (FailureClass::Transient, "Connection" | "ServerError" | "Throttled" | "BadResponse" | "SourceChanged") => {
            ("False", ImageReason::Unreachable, message)
        }
        _ => ("Unknown", ImageReason::NotUsedYet, message),
    }
}

fn preloaded(image: &VMDiskImage, told: Option<&Told>) -> Said {
    let condition = ImageCondition::Preloaded;
    if image.spec.storage_class.is_none() {
        let Told { status, reason, message, .. } = Told::nothing(0);
        return Said { condition, status, reason, message };
    }
    let Some(Told { status, reason, message, .. }) = told.cloned() else {
        let message = "the preload is about to be looked at".to_owned();
        return Said { condition, status: "Unknown", reason: ImageReason::Resolving, message };
    };
    Said { condition, status, reason, message }
}

/// The record of the attempt that began or ended last.
fn latest<'a>(records: &[&'a VMDiskSyncStatus]) -> Option<&'a VMDiskSyncStatus> {
    records
        .iter()
        .filter(|record| record.started_at.is_some() && record.phase != Some(SyncPhase::Cancelled))
        .max_by_key(|record| record.started_at.as_ref().map(|time| time.0))
        .copied()
}

/// As much of the record of a success as is read here.
fn success(success: &Success) -> VMDiskSyncStatus {
    VMDiskSyncStatus {
        phase: Some(SyncPhase::Succeeded),
        image_generation: success.generation,
        started_at: success.started_at.map(Time),
        finished_at: success.finished_at.map(Time),
        source: success.source.clone(),
        ..VMDiskSyncStatus::default()
    }
}

fn count(syncs: &[Arc<VMDiskSync>], done: &Done) -> ClaimCounts {
    let succeeded = i32::try_from(done.succeeded).unwrap_or(i32::MAX);
    let mut counts = ClaimCounts { succeeded, ..ClaimCounts::default() };
    for sync in syncs.iter().filter(|sync| sync.spec.purpose == Purpose::Claim) {
        match world::phase(sync) {
            None | Some(SyncPhase::Queued | SyncPhase::BackingOff) => counts.queued += 1,
            Some(SyncPhase::Syncing) => counts.syncing += 1,
            Some(SyncPhase::Succeeded) => counts.succeeded += 1,
            Some(SyncPhase::Failed) => counts.failed += 1,
            Some(SyncPhase::Cancelled) => {}
        }
    }
    counts
}

/// Syncs whose last attempt failed and that have not succeeded since.
fn failures(records: &[&VMDiskSyncStatus]) -> i32 {
    let last_success = records
        .iter()
        .filter(|record| record.phase == Some(SyncPhase::Succeeded))
        .filter_map(|record| record.finished_at.as_ref().map(|time| time.0))
        .max();
    let failed = records.iter().filter(|record| {
        record.phase != Some(SyncPhase::Succeeded)
            && record.last_failure.as_ref().is_some_and(|last| last_success.is_none_or(|success| last.time.0 > success))
    });
    failed.map(|record| record.attempt.max(1)).sum()
}

/// The size in the words of a quantity: what was asked for, or what the source turned out to describe. A column shows
/// what a status says, and can make nothing of a number of bytes.
fn size(image: &VMDiskImage, source: Option<&SourceFacts>) -> Option<String> {
    /// Disks are written in whole mebibytes.
    const UNIT: u64 = 1 << 20;
    if let Some(asked) = &image.spec.disk_size {
        return Some(asked.0.clone());
    }
    let described = u64::try_from(source?.virtual_size?).ok()?;
    Some(quantity::human(described.div_ceil(UNIT) * UNIT))
}

/// The progress of the sync that is furthest: what somebody who waits for this image's disk sees next.
fn progress(records: &[&VMDiskSyncStatus]) -> Option<String> {
    records
        .iter()
        .filter(|record| record.phase == Some(SyncPhase::Syncing))
        .filter_map(|record| record.progress.as_ref()?.percent)
        .max()
        .map(|percent| format!("{percent}%"))
}

fn message(
    image: &VMDiskImage,
    conditions: &[Condition],
    claims: ClaimCounts,
    latest: Option<&VMDiskSyncStatus>,
) -> String {
    let problem = [ImageCondition::Ready, ImageCondition::SourceResolved].into_iter().find_map(|type_| {
        let condition = conditions::find(conditions, type_.as_str())?;
        (condition.status == "False").then(|| condition.message.clone())
    });
    if let Some(problem) = problem {
        return problem;
    }
    if let Some(failure) = latest
        .filter(|latest| matches!(latest.phase, Some(SyncPhase::BackingOff | SyncPhase::Failed)))
        .and_then(|latest| latest.last_failure.as_ref())
    {
        return format!("{}: {}", failure.reason, failure.message);
    }
    if let ClaimCounts { syncing: 1.., .. } = claims {
        return format!("Filling {} of {} waiting claims.", claims.syncing, claims.syncing + claims.queued);
    }
    if let ClaimCounts { queued: 1.., .. } = claims {
        return "Claims wait for their turn; see kubectl get vmdisksync -A for the queue.".to_owned();
    }
    if image.spec.storage_class.is_some() {
        let preloaded = conditions::find(conditions, ImageCondition::Preloaded.as_str());
        return preloaded.map(|condition| condition.message.clone()).unwrap_or_default();
    }
    match claims.succeeded {
        0 => "Ready: name this image in the dataSourceRef of a claim.".to_owned(),
        1 => "1 claim was filled.".to_owned(),
        filled => format!("{filled} claims were filled."),
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
