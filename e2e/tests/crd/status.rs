//! What the controller writes comes back as it was: no field is pruned, no value refused, no time rounded.

use anyhow::{Context as _, Result};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt as _};
use populator_crd::v1alpha1::*;
use populator_crd::{VMDiskImage, VMDiskImageSpec, VMDiskImageStatus, VMDiskSync, VMDiskSyncSpec, VMDiskSyncStatus};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use vmdisk_e2e::testing::Scene;

/// Every field is set: one that is new breaks this literal.
fn image_status() -> Result<VMDiskImageStatus> {
    Ok(VMDiskImageStatus {
        phase: Some(ImagePhase::Syncing),
        message: Some("golden claim fedora is being filled".into()),
        conditions: ImageCondition::ALL
            .iter()
            .map(|condition| self::condition(condition.as_str(), ImageReason::Syncing.as_str()))
            .collect::<Result<_>>()?,
        observed_generation: Some(1),
        source: Some(source()),
        size: Some("24Gi".into()),
        claims: Some(ClaimCounts { queued: 1, syncing: 2, succeeded: 3, failed: 4 }),
        golden: Some(GoldenData {
            key: "e3b0c442".into(),
            uid: "0b8c6a1e".into(),
            volume_handle: Some("pvc-1".into()),
            since: Some(time()?),
            claim: "fedora".into(),
            snapshot: Some("fedora".into()),
            digest: Some("sha256:00".into()),
        }),
        progress: Some("42%".into()),
        failure_count: Some(1),
        last_failure_time: Some(time()?),
    })
}

fn sync_status() -> Result<VMDiskSyncStatus> {
    Ok(VMDiskSyncStatus {
        phase: Some(SyncPhase::BackingOff),
        enqueued_at: Some(MicroTime("2026-11-21T06:00:00.123456Z".parse()?)),
        attempt: 2,
        interruptions: 1,
        disruptions: 1,
        not_before: Some(time()?),
        started_at: Some(time()?),
        finished_at: Some(time()?),
        image_generation: Some(7),
        progress: Some(Progress {
            percent: Some(99),
            bytes_fetched: i64::MAX,
            bytes_written: 1 << 40,
            bytes_per_second: Some(1 << 30),
            stage: Some(Stage::Finalizing),
        }),
        golden: Some(Box::new(GoldenRecord {
            key: "e3b0c442".into(),
            image_uid: "0b8c6a1e".into(),
            generation: 3,
            phase: GoldenPhase::Ready,
            reason: Some("the snapshot is gone and is taken again".into()),
            driver: Some("ebs.csi.aws.com".into()),
            fs_type: Some("ext4".into()),
            volume_handle: Some("vol-1".into()),
            snapshot: Some(Origin { name: "fedora-e3b0c442".into(), uid: "s1".into() }),
            restore_size: Some(1 << 30),
            cut_at: Some(time()?),
        })),
        route: Some(Route {
            kind: RouteKind::Fetch,
            from: None,
            reason: Some("the snapshot is in another driver".into()),
        }),
        source: Some(source()),
        prime: Some("prime-0b8c6a1e-5b0c-4c7c-9a55-6f3f0c2f7d11".into()),
        prime_uid: Some("3f2c0c39-2a0e-4c58-8f0d-0f1a8a1f3a11".into()),
        pod: Some("populate-0b8c6a1e-5b0c-4c7c-9a55-6f3f0c2f7d11".into()),
        pod_uid: Some("8d0b9a55-6f3f-4c7c-9a55-6f3f0c2f7d12".into()),
        filled_at: Some(time()?),
        target: Some(TargetFacts {
            storage_class: Some("gp3".into()),
            volume_mode: "Block".into(),
            requested_bytes: 24 << 30,
        }),
        node: Some("node-1".into()),
        last_failure: Some(LastFailure {
            class: FailureClass::SourceMissing,
            reason: "NotFound".into(),
            message: "https://example.org/a answers 404".into(),
            time: time()?,
            found_by: Some("attacker-vm-0b8c6a1e".into()),
        }),
        conditions: SyncCondition::ALL
            .iter()
            .map(|condition| self::condition(condition.as_str(), SyncReason::BackingOff.as_str()))
            .collect::<Result<_>>()?,
    })
}

fn source() -> SourceFacts {
    SourceFacts {
        digest: Some("\"5d41402abc4b2a76b9719d911017c592-3\"".into()),
        format: Some(DiskFormat::Qcow2),
        virtual_size: Some(10 << 30),
        size: Some(600 << 20),
    }
}

fn condition(type_: &str, reason: &str) -> Result<Condition> {
    Ok(Condition {
        type_: type_.into(),
        status: "False".into(),
        reason: reason.into(),
        message: "as an example".into(),
        observed_generation: Some(1),
        last_transition_time: time()?,
    })
}

/// To the second, as these times are kept.
fn time() -> Result<Time> {
    Ok(Time("2026-11-21T06:00:00Z".parse::<Timestamp>()?))
}

/// Writes both statuses as the controller does, and reads them back.
pub(crate) async fn survives(scene: &Scene) -> Result<()> {
    let url = Some("docker://quay.io/containerdisks/fedora:42".to_owned());
    let image = VMDiskImage::new("fedora", VMDiskImageSpec { url, ..VMDiskImageSpec::default() });
    let written = image_status()?;
    let stored = write(scene, &image, &written).await?;
    assert_eq!(stored.status.as_ref(), Some(&written));

    let claim = ClaimReference { namespace: scene.namespace.clone(), name: "vm".into(), uid: "0b8c6a1e".into() };
    let image = ImageReference { name: "fedora".into(), uid: stored.uid().unwrap_or_default(), generation: 1 };
    let sync = VMDiskSync::new("vm-0b8c6a1e", VMDiskSyncSpec { purpose: Purpose::Claim, claim, image });
    let written = sync_status()?;
    assert_eq!(write(scene, &sync, &written).await?.status, Some(written));
    Ok(())
}

async fn write<K>(scene: &Scene, object: &K, status: &impl Serialize) -> Result<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    scene.create(object).await?;
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "status": status,
    });
    let params = PatchParams::apply(populator_crd::names::MANAGER).force();
    scene
        .api::<K>()
        .patch_status(&object.name_any(), &params, &Patch::Apply(&patch))
        .await
        .with_context(|| format!("the API server refuses a status of {}", K::kind(&())))
}
