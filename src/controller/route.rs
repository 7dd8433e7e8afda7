//! Which way a claim is filled: cut from golden data, fetched, or an empty disk. Pure.

use std::sync::Arc;

use k8s_openapi::api::{core::v1::TypedLocalObjectReference, storage::v1::StorageClass};
use populator_crd::{
    quantity,
    v1alpha1::{
        GoldenPhase, GoldenRecord, Origin, PullPolicy, Purpose, Route, RouteKind, SourceType, SpecError, SyncPhase,
        TargetFacts, VMDiskImage, VMDiskSync, VMDiskSyncStatus,
    },
};

use crate::{
    golden::{resolve::current, snapshot, told::Told},
    world::phase,
};

/// So many attempts of one claim to be cut from golden data may fail before it is fetched. What is wrong with the golden
/// data itself other claims find out as well, and then one more is made for all.
const CUTS_THAT_MAY_FAIL: i32 = 2;

/// The parameter of a class that says which file system its volumes have (external-provisioner).
const FS_TYPE: &str = "csi.storage.k8s.io/fstype";

/// What the way goes by.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The image.
    pub image: &'a VMDiskImage,
    /// What the claim is for.
    pub purpose: Purpose,
    /// The sync's record.
    pub status: &'a VMDiskSyncStatus,
    /// What the claim offers.
    pub target: &'a TargetFacts,
    /// The claim's class.
    pub class: Option<&'a StorageClass>,
    /// The records of the image's masters.
    pub masters: &'a [Arc<VMDiskSync>],
    /// Where the image's preload stands.
    pub told: Option<&'a Told>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// This way.
    Go(Route),
    /// Golden data is on its way, or must be; what is waited for.
    Wait(String),
}

/// Chooses.
///
/// # Errors
///
/// [`SpecError`] when the image's spec does not say what to do.
pub fn choose(question: &Question<'_>) -> Result<Choice, SpecError> {
    let spec = &question.image.spec;
    if spec.source_type()? == SourceType::Blank {
        return Ok(go(RouteKind::Blank, None));
    }
    if question.purpose == Purpose::Master {
        return Ok(Choice::Go(Route::fetch()));
    }
    if spec.storage_class.is_none() {
        return Ok(fetch(question, None));
    }
    let generation = question.image.metadata.generation.unwrap_or_default();
    let Some(told) = question.told.filter(|told| told.generation == generation) else {
        return Ok(Choice::Wait("whether the image has golden data is about to be known".to_owned()));
    };
    if !told.cuts {
        return Ok(fetch(question, None));
    }
    let Some((record, data)) = current(question.masters, question.image) else {
        return Ok(Choice::Wait(told.message.clone()));
    };
    if let Some(why) = unfit(question, data) {
        return Ok(fetch(question, Some(why)));
    }
    if let Some(why) = failed_before(question.status) {
        return Ok(fetch(question, Some(why)));
    }
    if data.phase != GoldenPhase::Ready {
        // Whatever the master failed with is the image's, and its record says it to every other sync.
        return Ok(match phase(record) {
            Some(SyncPhase::Failed) => fetch(question, Some("the golden master could not be filled".to_owned())),
            _ => Choice::Wait(told.message.clone()),
        });
    }
    let claim = &record.spec.claim;
    Ok(match &data.snapshot {
        Some(snapshot) => go(RouteKind::Snapshot, Some(snapshot.clone())),
        None => go(RouteKind::Clone, Some(Origin { name: claim.name.clone(), uid: claim.uid.clone() })),
    })
}

fn go(kind: RouteKind, from: Option<Origin>) -> Choice {
    Choice::Go(Route { kind, from, reason: None })
}

fn fetch(question: &Question<'_>, why: Option<String>) -> Choice {
    if question.image.spec.pull_policy == PullPolicy::Never {
        let why = why.unwrap_or_else(|| "the image has none".to_owned());
        return Choice::Wait(format!("pullPolicy is Never, and no golden data serves this claim: {why}"));
    }
    Choice::Go(Route { kind: RouteKind::Fetch, from: None, reason: why })
}

/// Why golden data cannot serve this claim; `None`: it can.
fn unfit(question: &Question<'_>, data: &GoldenRecord) -> Option<String> {
    let (spec, target) = (&question.image.spec, question.target);
    if target.volume_mode != spec.volume_mode.as_str() {
        return Some(format!(
            "golden data has volumeMode {}, the claim {}",
            spec.volume_mode.as_str(),
            target.volume_mode
        ));
    }
    let size = spec.disk_size.as_ref().and_then(|size| quantity::bytes(size).ok()).unwrap_or_default();
    if target.requested_bytes < size {
        return Some(format!("golden data has {size} bytes, the claim requests {}", target.requested_bytes));
    }
    if target.storage_class == spec.storage_class {
        return None;
    }
    let provisioner = question.class.map(|class| class.provisioner.as_str());
    if data.driver.is_none() || provisioner != data.driver.as_deref() {
        return Some(format!(
            "golden data is in driver {}, the claim's class in {}",
            data.driver.as_deref().unwrap_or("(not known yet)"),
            provisioner.unwrap_or("none")
        ));
    }
    let parameters = question.class.and_then(|class| class.parameters.as_ref());
    let wanted = parameters.and_then(|parameters| parameters.get(FS_TYPE));
    // A class that names none has the driver's default, which nobody but the driver knows.
    (target.volume_mode == "Filesystem" && wanted != data.fs_type.as_ref()).then(|| {
        format!(
            "golden data has file system {}, the claim's class {}",
            data.fs_type.as_deref().unwrap_or("of the driver's choice"),
            wanted.map_or("of the driver's choice", String::as_str)
        )
    })
}

/// Why this claim is not cut again.
fn failed_before(status: &VMDiskSyncStatus) -> Option<String> {
    let route = status.route.as_ref()?;
    if route.kind == RouteKind::Fetch {
        // What it fell back to stays.
        return route.reason.clone();
    }
    let failure = status.last_failure.as_ref()?;
    (is_cut(route.kind) && status.attempt - status.interruptions >= CUTS_THAT_MAY_FAIL)
        .then(|| format!("it could not be cut from golden data ({}: {})", failure.reason, failure.message))
        .map(|why| why.chars().take(512).collect())
}

/// Whether a volume is made from another one.
#[must_use]
pub const fn is_cut(kind: RouteKind) -> bool {
    matches!(kind, RouteKind::Snapshot | RouteKind::Clone)
}

/// What a prime is made from.
#[must_use]
pub fn data_source(route: &Route) -> Option<TypedLocalObjectReference> {
    let from = route.from.as_ref()?;
    let (api_group, kind) = match route.kind {
        RouteKind::Snapshot => (Some(snapshot::GROUP.to_owned()), snapshot::KIND),
        RouteKind::Clone => (None, "PersistentVolumeClaim"),
        RouteKind::Fetch | RouteKind::Blank => return None,
    };
    Some(TypedLocalObjectReference { api_group, kind: kind.to_owned(), name: from.name.clone() })
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
