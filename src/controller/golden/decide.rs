//! What to do next for the golden data of one image. Pure: from what is there to one write and what is told.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{PersistentVolume, PersistentVolumeClaim},
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Time},
};
use kube::ResourceExt;
use populator_crd::{
    names, quantity,
    v1alpha1::{
        FailureClass, GoldenData, GoldenPhase, GoldenRecord, ImageReason, Origin, SourceFacts, SyncPhase, VMDiskImage,
        VMDiskSync,
    },
};

use super::{
    key, objects,
    plan::{Cut, Plan},
    resolve::{Resolution, current},
    snapshot::VolumeSnapshot,
    told::Told,
};
use crate::{
    sync::failure::Failure,
    world::{golden, phase},
};

/// How soon to look again at what others are at work on, in case no event tells.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// How soon to look again at a snapshot that is being taken.
const CUTTING: Duration = Duration::from_secs(3);

/// How often to look whether what is whole still is.
const CHECK: Duration = Duration::from_mins(10);

/// How soon to look again for the end of what is being deleted.
const GOING: Duration = Duration::from_secs(5);

/// What is there, of one image's golden data.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The image.
    pub image: Arc<VMDiskImage>,
    /// What is to be made of it.
    pub plan: Plan,
    /// What its source holds.
    pub resolution: Resolution,
    /// Whether there is an inspector.
    pub has_inspector: bool,
    /// The records of masters of this image.
    pub records: Vec<Arc<VMDiskSync>>,
    /// What bears the name of the wanted key's master.
    pub master: Option<PersistentVolumeClaim>,
    /// The record of that claim.
    pub master_sync: Option<Arc<VMDiskSync>>,
    /// The master's volume.
    pub volume: Option<PersistentVolume>,
    /// Pods that name the master. None of ours does.
    pub strangers: Vec<String>,
    /// What bears the name of the snapshot of the master.
    pub snapshot: Option<VolumeSnapshot>,
    /// What bears the golden name: a claim,
    pub claim: Option<PersistentVolumeClaim>,
    /// its record,
    pub claim_sync: Option<Arc<VMDiskSync>>,
    /// and a snapshot.
    pub golden_snapshot: Option<VolumeSnapshot>,
    /// The time of the pass.
    pub now: Timestamp,
}

/// One write, or none.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing to do now; look again no later than this.
    Rest(Option<Duration>),
    /// Start a pod that asks the source.
    Ask,
    /// Remove that pod.
    RemoveInspector,
    /// Create the master of this key.
    CreateMaster(String),
    /// Write this into the record of a master.
    Record(Arc<VMDiskSync>, Box<GoldenRecord>),
    /// Take the snapshot of this record's master.
    TakeSnapshot(Arc<VMDiskSync>),
    /// Remove a snapshot, by name and UID.
    RemoveSnapshot(Origin),
    /// Remove a claim of ours that has no record, by name and UID.
    RemoveMaster(Origin),
    /// Remove what was cut and filled for this record, and then say so in it.
    Prune(Arc<VMDiskSync>),
    /// Create the golden claim.
    CreateClaim,
    /// Take the snapshot that bears the golden name.
    TakeGoldenSnapshot(String),
}

/// Decides.
#[must_use]
pub fn next(seen: &Seen) -> (Step, Told) {
    let generation = seen.image.metadata.generation.unwrap_or_default();
    match &seen.plan {
        Plan::Nothing => (Step::Rest(None), Told::nothing(generation)),
        Plan::Direct(why) => direct(seen, why),
        Plan::Cut(cut) => cut_from_master(seen, cut),
    }
}

/// The golden claim alone, filled from the source.
fn direct(seen: &Seen, why: &str) -> (Step, Told) {
    let told = Told { message: format!("The golden claim is filled from the source: {why}."), ..told(seen, false) };
    golden_claim(seen, told)
}

fn cut_from_master(seen: &Seen, cut: &Cut) -> (Step, Told) {
    // What nothing can be cut from goes before another master takes its name.
    if let Some((record, _)) = records(seen).find(|(_, golden)| is_to_go(golden)) {
        return (Step::Prune(Arc::clone(record)), Told { reason: ImageReason::Resolving, ..told(seen, true) });
    }
    let resolving =
        |message: &str| Told { reason: ImageReason::Resolving, message: message.to_owned(), ..told(seen, true) };
    match &seen.resolution {
        Resolution::Ask => (Step::Ask, resolving("The source is about to be asked what it holds.")),
        Resolution::Asking => (Step::Rest(Some(LOOK_AGAIN)), resolving("The source is being asked what it holds.")),
        Resolution::AskAnew => (Step::RemoveInspector, resolving("The source is about to be asked again.")),
        Resolution::Failed { failure, again } => {
            let wait = again.and_then(|again| Duration::try_from(again.duration_since(seen.now)).ok());
            (Step::Rest(wait), unresolved(seen, failure))
        }
        Resolution::Found { key, facts } => found(seen, key, facts),
        Resolution::Recorded(_) if seen.has_inspector => (Step::RemoveInspector, resolving("")),
        Resolution::Recorded(_) => match current(&seen.records, &seen.image) {
            Some((record, golden)) => recorded(seen, cut, record, golden),
            None => (Step::Rest(Some(GOING)), resolving("")),
        },
    }
}

/// The source holds what no current record tells of.
fn found(seen: &Seen, key: &str, facts: &SourceFacts) -> (Step, Told) {
    let image_uid = seen.image.metadata.uid.clone().unwrap_or_default();
    let generation = seen.image.metadata.generation.unwrap_or_default();
    let told = Told {
        reason: ImageReason::Queued,
        message: "The golden master waits for its turn.".to_owned(),
        source: Some(facts.clone()),
        ..told(seen, true)
    };
    // It holds what was fetched before.
    if let Some((record, golden)) = records(seen).find(|(_, golden)| golden.key == key && is_alive(golden)) {
        let phase = if golden.phase == GoldenPhase::Superseded { GoldenPhase::Ready } else { golden.phase };
        return (record_with(record, GoldenRecord { image_uid, generation, phase, ..golden.clone() }), told);
    }
    if let Some((record, _)) = records(seen).find(|(_, golden)| is_unfinished(golden)) {
        return (Step::Prune(Arc::clone(record)), told);
    }
    let Some(master) = &seen.master else { return (Step::CreateMaster(key.to_owned()), told) };
    if let Some(why) = objects::mismatch(master, &seen.image, key) {
        return (Step::Rest(Some(LOOK_AGAIN)), name_taken(told, "PersistentVolumeClaim", &master.name_any(), why));
    }
    if master.metadata.deletion_timestamp.is_some() {
        return (Step::Rest(Some(GOING)), told);
    }
    match &seen.master_sync {
        Some(sync) if golden(sync).is_none() => {
            let golden = GoldenRecord { key: key.to_owned(), image_uid, generation, ..GoldenRecord::default() };
            (record_with(sync, golden), told)
        }
        // Its record was deleted, and nothing else says what it holds.
        None if master.spec.as_ref().is_some_and(|spec| spec.volume_name.is_some()) => {
            (Step::RemoveMaster(origin(master)), told)
        }
        // The machinery is about to ask for it.
        _ => (Step::Rest(Some(LOOK_AGAIN)), told),
    }
}

/// There is a record of what the source holds.
fn recorded(seen: &Seen, cut: &Cut, record: &Arc<VMDiskSync>, golden: &GoldenRecord) -> (Step, Told) {
    let source = record.status.as_ref().and_then(|status| status.source.clone());
    let told = Told { source, ..told(seen, true) };
    if golden.phase != GoldenPhase::Ready || *cut == Cut::Clone {
        let is_there = seen.master.as_ref().is_some_and(|master| {
            master.metadata.uid.as_ref() == Some(&record.spec.claim.uid) && master.metadata.deletion_timestamp.is_none()
        });
        if !is_there {
            return (unusable(record, golden, "the master is gone".to_owned()), told);
        }
        if let Some(stranger) = seen.strangers.first() {
            let reason = format!("pod {stranger} names the master and may have written to it");
            return (unusable(record, golden, reason), told);
        }
    }
    match golden.phase {
        GoldenPhase::Filling => filling(seen, record, golden, told),
        GoldenPhase::Cutting => cutting(seen, cut, record, golden, told),
        _ => ready(seen, cut, record, golden, told),
    }
}

fn filling(seen: &Seen, record: &Arc<VMDiskSync>, golden: &GoldenRecord, told: Told) -> (Step, Told) {
    let told = by_sync(told, Some(record), "golden master");
    if phase(record) != Some(SyncPhase::Succeeded) {
        return (Step::Rest(Some(LOOK_AGAIN)), told);
    }
    let facts = record.status.as_ref().and_then(|status| status.source.clone()).unwrap_or_default();
    if key::of(&seen.image, &facts) != golden.key {
        let reason = "the source changed between the look at it and the fetch".to_owned();
        return (unusable(record, golden, reason), told);
    }
    // Bound since a moment; the volume is read with the next look.
    let Some(volume) = &seen.volume else { return (Step::Rest(Some(GOING)), told) };
    let csi = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref());
    let golden = GoldenRecord {
        phase: GoldenPhase::Cutting,
        driver: csi.map(|csi| csi.driver.clone()),
        fs_type: csi.and_then(|csi| csi.fs_type.clone()),
        volume_handle: csi.map(|csi| csi.volume_handle.clone()),
        ..golden.clone()
    };
    (record_with(record, golden), Told { reason: ImageReason::Cutting, ..told })
}

fn cutting(seen: &Seen, cut: &Cut, record: &Arc<VMDiskSync>, golden: &GoldenRecord, told: Told) -> (Step, Told) {
    let told = Told {
        reason: ImageReason::Cutting,
        message: "The snapshot of the golden master is being taken.".to_owned(),
        ..told
    };
    if *cut == Cut::Clone {
        let golden =
            GoldenRecord { phase: GoldenPhase::Ready, cut_at: Some(Time(seen.now)), reason: None, ..golden.clone() };
        return (record_with(record, golden), told);
    }
    let Some(snapshot) = &seen.snapshot else {
        return (Step::TakeSnapshot(Arc::clone(record)), told);
    };
    let uid = snapshot.metadata.uid.as_deref().unwrap_or_default();
    if golden.snapshot.as_ref().is_none_or(|known| known.uid != uid) {
        if !objects::is_of(snapshot, record) {
            let why = "it is not the controller's";
            return (Step::Rest(Some(LOOK_AGAIN)), name_taken(told, "VolumeSnapshot", &snapshot.name_any(), why));
        }
        // Of an earlier process that could not write it down any more, or forged: another one is taken.
        return if snapshot.metadata.deletion_timestamp.is_some() {
            (Step::Rest(Some(GOING)), told)
        } else {
            (Step::RemoveSnapshot(origin_of(snapshot)), told)
        };
    }
    let status = snapshot.status.clone().unwrap_or_default();
    let cut_at = status.creation_time.filter(|_| status.bound_volume_snapshot_content_name.is_some());
    let (Some(cut_at), Some(true)) = (cut_at, status.ready_to_use) else {
        let said = status.error.and_then(|error| error.message);
        let message = said.map_or(told.message.clone(), |said| {
            let said: String = said.chars().take(512).collect();
            format!("The snapshot of the golden master is not ready: {said}")
        });
        return (Step::Rest(Some(CUTTING)), Told { message, ..told });
    };
    let restore_size = status.restore_size.and_then(|size| quantity::bytes(&Quantity(size)).ok());
    let golden =
        GoldenRecord { phase: GoldenPhase::Ready, restore_size, cut_at: Some(cut_at), reason: None, ..golden.clone() };
    (record_with(record, golden), told)
}

fn ready(seen: &Seen, cut: &Cut, record: &Arc<VMDiskSync>, golden: &GoldenRecord, told: Told) -> (Step, Told) {
    let told = Told { golden: Some(data(seen, record, golden)), ..told };
    if matches!(cut, Cut::Snapshot(_)) {
        let there = seen.snapshot.as_ref().filter(|snapshot| snapshot.metadata.deletion_timestamp.is_none());
        let uid = there.and_then(|snapshot| snapshot.metadata.uid.as_deref());
        if uid != golden.snapshot.as_ref().map(|snapshot| snapshot.uid.as_str()) || uid.is_none() {
            // Somebody removed it. The master is still whole, or what follows says that it is not.
            let golden = GoldenRecord {
                phase: GoldenPhase::Cutting,
                snapshot: None,
                reason: Some("the snapshot is gone and is taken again".to_owned()),
                ..golden.clone()
            };
            return (record_with(record, golden), told);
        }
    }
    for (other, theirs) in records(seen).filter(|(_, theirs)| theirs.key != golden.key) {
        if is_unfinished(theirs) {
            return (Step::Prune(Arc::clone(other)), told);
        }
        if theirs.phase == GoldenPhase::Ready {
            return (record_with(other, GoldenRecord { phase: GoldenPhase::Superseded, ..theirs.clone() }), told);
        }
    }
    let Cut::Snapshot(_) = cut else { return golden_claim(seen, told) };
    let (step, told) = golden_claim(seen, told);
    if !matches!(step, Step::Rest(_)) || told.reason == ImageReason::NameTaken {
        return (step, told);
    }
    golden_snapshot(seen, &golden.key, step, told)
}

/// The claim that bears the golden name.
fn golden_claim(seen: &Seen, told: Told) -> (Step, Told) {
    let Some(claim) = &seen.claim else { return (Step::CreateClaim, told) };
    if claim.metadata.deletion_timestamp.is_some() {
        return (Step::Rest(Some(GOING)), told);
    }
    let source = claim.spec.as_ref().and_then(|spec| spec.data_source_ref.as_ref());
    if source.is_none_or(|source| source.kind != "VMDiskImage" || source.name != seen.image.name_any()) {
        let why = "its dataSourceRef does not name this image";
        return (Step::Rest(Some(LOOK_AGAIN)), name_taken(told, "PersistentVolumeClaim", &claim.name_any(), why));
    }
    let bound = claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    if !bound {
        return (Step::Rest(Some(LOOK_AGAIN)), by_sync(told, seen.claim_sync.as_ref(), "golden claim"));
    }
    let message = format!("The golden claim {} is whole.", claim.name_any());
    (Step::Rest(Some(CHECK)), Told { status: "True", reason: ImageReason::Succeeded, message, ..told })
}

/// The snapshot that bears the golden name.
fn golden_snapshot(seen: &Seen, key: &str, rest: Step, told: Told) -> (Step, Told) {
    let Some(snapshot) = &seen.golden_snapshot else { return (Step::TakeGoldenSnapshot(key.to_owned()), told) };
    if snapshot.metadata.deletion_timestamp.is_some() {
        return (Step::Rest(Some(GOING)), told);
    }
    if !snapshot.labels().contains_key(names::GOLDEN_LABEL) {
        let why = "it is not the controller's";
        return (Step::Rest(Some(LOOK_AGAIN)), name_taken(told, "VolumeSnapshot", &snapshot.name_any(), why));
    }
    if snapshot.annotations().get(names::KEY_ANNOTATION).is_none_or(|found| found != key) {
        return (Step::RemoveSnapshot(origin_of(snapshot)), told);
    }
    let is_ready = snapshot.status.as_ref().and_then(|status| status.ready_to_use) == Some(true);
    if told.status == "True" && !is_ready {
        let message = "The snapshot that bears the golden name is being taken.".to_owned();
        return (Step::Rest(Some(CUTTING)), Told { status: "False", reason: ImageReason::Cutting, message, ..told });
    }
    (rest, told)
}

/// A preload that has begun, of which more is said by who knows.
fn told(seen: &Seen, cuts: bool) -> Told {
    let generation = seen.image.metadata.generation.unwrap_or_default();
    let current = records(seen).find(|(_, golden)| golden.phase == GoldenPhase::Ready);
    Told {
        generation,
        cuts,
        status: "False",
        reason: ImageReason::Queued,
        message: "The preload has begun.".to_owned(),
        golden: current.map(|(record, golden)| data(seen, record, golden)),
        source: None,
        unresolved: None,
    }
}

/// Told by how far the filling of a claim is.
fn by_sync(told: Told, sync: Option<&Arc<VMDiskSync>>, what: &str) -> Told {
    let status = sync.and_then(|sync| sync.status.as_ref());
    let failure = status.and_then(|status| status.last_failure.as_ref());
    let failed = failure.map_or_else(String::new, |failure| format!("{}: {}", failure.reason, failure.message));
    let (reason, message) = match status.and_then(|status| status.phase) {
        None | Some(SyncPhase::Queued) => (ImageReason::Queued, format!("The {what} waits for its turn.")),
        Some(SyncPhase::Syncing) => (ImageReason::Syncing, format!("The {what} is being filled.")),
        Some(SyncPhase::BackingOff) => (ImageReason::BackingOff, failed),
        Some(SyncPhase::Failed | SyncPhase::Cancelled) => (ImageReason::Failed, failed),
        Some(SyncPhase::Succeeded) => (ImageReason::Syncing, format!("The {what} is about to be bound.")),
    };
    Told { reason, message, ..told }
}

fn unresolved(seen: &Seen, failure: &Failure) -> Told {
    let message = format!("{}: {}", failure.reason, failure.message);
    let (reason, source) = match failure.class {
        FailureClass::SourceMissing => (ImageReason::BackingOff, ImageReason::SourceMissing),
        FailureClass::Denied => (ImageReason::BackingOff, ImageReason::Denied),
        FailureClass::Final => (ImageReason::Failed, ImageReason::Malformed),
        FailureClass::Transient | FailureClass::Interrupted => (ImageReason::BackingOff, ImageReason::Unreachable),
    };
    Told { reason, unresolved: Some((source, message.clone())), message, ..told(seen, true) }
}

fn name_taken(told: Told, kind: &str, name: &str, why: &str) -> Told {
    let message =
        format!("{kind} {name} is there already, and {why}; delete it, or set another spec.name in a new image");
    Told { status: "False", reason: ImageReason::NameTaken, message, ..told }
}

fn data(seen: &Seen, record: &VMDiskSync, golden: &GoldenRecord) -> GoldenData {
    GoldenData {
        key: golden.key.clone(),
        claim: seen.image.golden_name().to_owned(),
        uid: record.spec.claim.uid.clone(),
        volume_handle: golden.volume_handle.clone(),
        since: golden.cut_at.clone(),
        snapshot: golden.snapshot.as_ref().map(|snapshot| snapshot.name.clone()),
        digest: record.status.as_ref().and_then(|status| status.source.as_ref()?.digest.clone()),
    }
}

fn records(seen: &Seen) -> impl Iterator<Item = (&Arc<VMDiskSync>, &GoldenRecord)> {
    seen.records.iter().filter_map(|record| Some((record, golden(record)?)))
}

fn record_with(record: &Arc<VMDiskSync>, golden: GoldenRecord) -> Step {
    Step::Record(Arc::clone(record), Box::new(golden))
}

fn unusable(record: &Arc<VMDiskSync>, golden: &GoldenRecord, reason: String) -> Step {
    record_with(record, GoldenRecord { phase: GoldenPhase::Unusable, reason: Some(reason), ..golden.clone() })
}

fn is_to_go(golden: &GoldenRecord) -> bool {
    matches!(golden.phase, GoldenPhase::Unusable | GoldenPhase::Pruning)
}

fn is_unfinished(golden: &GoldenRecord) -> bool {
    matches!(golden.phase, GoldenPhase::Filling | GoldenPhase::Cutting)
}

fn is_alive(golden: &GoldenRecord) -> bool {
    is_unfinished(golden) || matches!(golden.phase, GoldenPhase::Ready | GoldenPhase::Superseded)
}

fn origin(claim: &PersistentVolumeClaim) -> Origin {
    Origin { name: claim.name_any(), uid: claim.uid().unwrap_or_default() }
}

fn origin_of(snapshot: &VolumeSnapshot) -> Origin {
    Origin { name: snapshot.name_any(), uid: snapshot.metadata.uid.clone().unwrap_or_default() }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
