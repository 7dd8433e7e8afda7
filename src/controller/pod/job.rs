//! The worker's order, from image, claim, sync and policy. Pure.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt as _;
use populator_crd::{
    quantity,
    v1alpha1::{DiskFormat, SourceType, SpecError, VMDiskImage, VMDiskImageSpec, VMDiskSyncStatus},
};
use vmdisk_wire::{Job, Limits, Operation, SCHEMA_VERSION, Source, Target, TargetKind};

use crate::{policy::Policy, source_facts};

/// What a job is made from.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The image.
    pub image: &'a VMDiskImage,
    /// The claim.
    pub claim: &'a PersistentVolumeClaim,
    /// The sync's record, for what earlier attempts learnt.
    pub status: &'a VMDiskSyncStatus,
    /// The policy in force.
    pub policy: &'a Policy,
    /// The UID of the prime.
    pub prime_uid: Option<&'a str>,
}

/// Makes the job.
///
/// # Errors
///
/// [`SpecError`] when the image's spec does not say what to do.
pub fn job(order: Order<'_>) -> Result<Job, SpecError> {
    let Order { image, claim, status, policy, prime_uid } = order;
    let spec = &image.spec;
    let source_type = spec.source_type()?;
    // What an earlier attempt resolved holds only for the spec that it was made with. (And only where this one goes on in
    // what that one wrote: otherwise its admission has dropped it.)
    let pinned = status
        .source
        .as_ref()
        .filter(|_| status.image_generation == image.metadata.generation)
        .and_then(|source| source.digest.clone());
    Ok(Job {
        schema_version: SCHEMA_VERSION,
        operation: Operation::Fill,
        source: Source {
            source_type: wire_type(source_type),
            url: spec.url.clone().filter(|_| source_type != SourceType::Blank).unwrap_or_default(),
            format: source_facts::wire_format(spec.format),
            path: spec.path.clone(),
            checksum: spec.checksum.clone(),
            region: spec.region.clone(),
            pinned: pinned.filter(|_| source_type != SourceType::Blank),
            secret: spec.secret_ref.as_ref().map(|name| format!("{}/{name}", image.namespace().unwrap_or_default())),
        },
        target: Some(Target {
            kind: target_kind(claim),
            path: match target_kind(claim) {
                TargetKind::Filesystem => vmdisk_wire::TARGET_DIRECTORY.to_owned(),
                TargetKind::Block => vmdisk_wire::TARGET_DEVICE.to_owned(),
            },
            requested_bytes: requested_bytes(claim),
            overhead_per_mille: match target_kind(claim) {
                TargetKind::Filesystem => policy.overhead_per_mille,
                TargetKind::Block => 0,
            },
            claim_uid: prime_uid.map(str::to_owned),
        }),
        limits: Limits {
            bandwidth_bytes_per_second: policy.bandwidth_per_worker,
            allowed_sources: policy.allowed_sources.iter().map(ToString::to_string).collect(),
            refused_networks: policy.refused_networks.clone(),
            scratch_bytes: needs_scratch(spec).then_some(policy.scratch_size),
        },
    })
}

/// The claim's volume mode.
#[must_use]
pub fn target_kind(claim: &PersistentVolumeClaim) -> TargetKind {
    match claim.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref()) {
        Some("Block") => TargetKind::Block,
        _ => TargetKind::Filesystem,
    }
}

/// Whether the worker may have to stage the whole file: everything but what is said to be raw, and no disk at all.
#[must_use]
pub fn needs_scratch(spec: &VMDiskImageSpec) -> bool {
    spec.format != DiskFormat::Raw && spec.source_type != Some(SourceType::Blank)
}

fn requested_bytes(claim: &PersistentVolumeClaim) -> Option<u64> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    let bytes = quantity::bytes(requests.get("storage")?).ok()?;
    u64::try_from(bytes).ok()
}

const fn wire_type(source_type: SourceType) -> vmdisk_wire::SourceType {
    match source_type {
        SourceType::Registry => vmdisk_wire::SourceType::Registry,
        SourceType::S3 => vmdisk_wire::SourceType::S3,
        SourceType::Http => vmdisk_wire::SourceType::Http,
        SourceType::Blank => vmdisk_wire::SourceType::Blank,
    }
}
