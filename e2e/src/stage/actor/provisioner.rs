//! The external provisioner, as far as its objects go: a volume for each claim of the driver that has no data source of
//! another kind, reserved for the claim; released volumes of policy Delete are deleted.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use super::{DRIVER, World, persist};
use crate::stage::plane::{STUCK, WAITING};

/// Set by the volume controller once the provisioner's turn has come.
const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
/// Set by the scheduler.
pub(super) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Who made a volume.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

/// Whether a claim waits for a volume of the driver's. A claim with a data source of a kind that the provisioner does not
/// know is somebody else's to fill.
pub(super) fn is_wanted(claim: &PersistentVolumeClaim) -> bool {
    let Some(spec) = &claim.spec else { return false };
    let class = spec.storage_class_name.as_deref().unwrap_or_default();
    claim.metadata.deletion_timestamp.is_none()
        && spec.volume_name.as_deref().unwrap_or_default().is_empty()
        && spec.data_source_ref.is_none()
        && claim.annotations().get(PROVISIONER).is_some_and(|name| name == DRIVER)
        && class != STUCK
        && (class != WAITING || claim.annotations().contains_key(SELECTED_NODE))
}

/// Makes the volume of a claim; one that is there already is left alone.
pub(super) async fn provision(world: Arc<World>, claim: Arc<PersistentVolumeClaim>) {
    if let Err(error) = create(&world.client, &claim).await {
        tracing::warn!(%error, claim = claim.name_any(), "cannot make a volume");
    }
}

async fn create(
    client: &Client,
    claim: &PersistentVolumeClaim,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let spec = claim.spec.as_ref().ok_or("a claim has a spec")?;
    let class_name = spec.storage_class_name.clone().unwrap_or_default();
    let classes = Api::<StorageClass>::all(client.clone());
    let class = persist(|| classes.get(&class_name)).await?;
    let uid = claim.uid().unwrap_or_default();
    let name = format!("pvc-{uid}");
    let capacity = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let volume: PersistentVolume = serde_json::from_value(json!({
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: DRIVER}},
        "spec": {
            "accessModes": spec.access_modes,
            "capacity": capacity,
            "volumeMode": spec.volume_mode,
            "persistentVolumeReclaimPolicy": class.reclaim_policy,
            "storageClassName": class_name,
            "csi": {"driver": DRIVER, "volumeHandle": name},
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.namespace(),
                "name": claim.name_any(), "uid": uid, "resourceVersion": claim.resource_version(),
            },
        },
    }))?;
    let (volumes, post) = (Api::<PersistentVolume>::all(client.clone()), PostParams::default());
    match persist(|| volumes.create(&post, &volume)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether a volume of the driver's is to be deleted.
pub(super) fn is_abandoned(volume: &PersistentVolume) -> bool {
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    phase == Some("Released")
        && policy == Some("Delete")
        && volume.metadata.deletion_timestamp.is_none()
        && volume.annotations().get(PROVISIONED_BY).is_some_and(|name| name == DRIVER)
}

/// Deletes a volume.
pub(super) async fn delete(client: Client, volume: PersistentVolume) {
    let api: Api<PersistentVolume> = Api::all(client);
    // As it was seen: one that was reserved anew meanwhile is not abandoned.
    let seen = Preconditions { uid: volume.uid(), resource_version: volume.resource_version() };
    // Fails for a volume that has changed, which is seen again.
    let (name, params) = (volume.name_any(), DeleteParams::default().preconditions(seen));
    let _ = persist(|| api.delete(&name, &params)).await;
}
