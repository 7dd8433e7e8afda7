//! Claims whose match comes later, or goes: they proceed by themselves once it is there, and a volume that came to differ
//! is kept and not replaced.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::{CSIDriver, VolumeAttributesClass};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use populator_crd::names;
use serde_json::{Value, json};
use vmdisk_e2e::servers::Fault;
use vmdisk_e2e::testing::files::Server;
use vmdisk_e2e::testing::{bed, events, until};

use crate::bed::{Bed, SOON, driver, matching};

#[tokio::test]
async fn a_class_that_appears() {
    matching(async |bed| {
        let class = bed.class_name("later");
        let claim = bed.claim("claim", json!({"storageClassName": class})).await?;
        let words = [class.as_str(), "does not exist", "waits until it is created"];
        events::warned(bed.scene, &claim, "StorageClassNotFound", &words, SOON).await?;
        bed.assert_untouched().await?;
        bed.class("later", &driver()?, json!({})).await?;
        bed.until_filled("claim").await.map(drop)
    })
    .await;
}

/// No class is the default of the test bed. What Kubernetes does when one becomes it is done here by hand, for this claim
/// alone: other tests go on meanwhile.
#[tokio::test]
async fn a_default_class_that_appears() {
    matching(async |bed| {
        let claim = bed.claim("claim", json!({"storageClassName": Value::Null})).await?;
        let words = ["names no storage class", "Mark a StorageClass as the default", "storageClassName"];
        events::warned(bed.scene, &claim, "StorageClassMissing", &words, SOON).await?;
        bed.assert_untouched().await?;
        let class = json!({"spec": {"storageClassName": bed::variable("STORAGE_CLASS_IMMEDIATE")?}});
        let claims = bed.scene.api::<PersistentVolumeClaim>();
        claims.patch("claim", &PatchParams::default(), &Patch::Merge(class)).await?;
        bed.until_filled("claim").await.map(drop)
    })
    .await;
}

/// A driver that is installed after the claim: there is nobody behind this one, so no more than the prime comes of it.
#[tokio::test]
async fn a_driver_that_appears() {
    matching(async |bed| {
        let name = format!("{}.vmdisk.test", bed.scene.namespace);
        let class = bed.class("later", &name, json!({})).await?;
        let claim = bed.claim("claim", json!({"storageClassName": class})).await?;
        let words = [name.as_str(), "no CSIDriver object"];
        events::warned(bed.scene, &claim, "ProvisionerUnsupported", &words, SOON).await?;
        bed.assert_untouched().await?;

        let drivers = Api::<CSIDriver>::all(bed.scene.bed.client.clone());
        let driver = serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"attachRequired": false}}))?;
        drivers.create(&PostParams::default(), &driver).await?;
        let prime = names::prime(&claim.uid().context("a stored claim has a UID")?);
        let made = until::exists(&bed.scene.api::<PersistentVolumeClaim>(), &prime, SOON).await;
        drivers.delete(&name, &DeleteParams::default()).await?;
        made.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_class_of_attributes_that_appears() {
    matching(async |bed| {
        let name = bed.class_name("later");
        let claim = bed.claim("claim", json!({"volumeAttributesClassName": name})).await?;
        events::warned(bed.scene, &claim, "ProvisioningFailed", &[name.as_str(), "not found"], SOON).await?;

        let classes = Api::<VolumeAttributesClass>::all(bed.scene.bed.client.clone());
        let class: VolumeAttributesClass = serde_json::from_value(
            json!({"metadata": {"name": name}, "driverName": driver()?, "parameters": {"tier": "gold"}}),
        )?;
        classes.create(&PostParams::default(), &class).await?;
        let filled = bed.until_filled("claim").await;
        // Kubernetes keeps it until the claim has gone.
        classes.delete(&name, &DeleteParams::default()).await?;
        filled.map(drop)
    })
    .await;
}

/// A volume that could never be bound to its claim: with a second one it would be no better, and each one costs.
#[tokio::test]
async fn a_volume_that_came_to_differ() {
    matching(async |bed| {
        let volume = differing_volume(bed).await?;
        let claim = bed.scene.api::<PersistentVolumeClaim>().get("claim").await?;
        let words = [volume.as_str(), "ReadWriteOnce", "It is kept", "create the claim again"];
        events::warned(bed.scene, &claim, "VolumeMismatch", &words, SOON).await?;
        // The one that was kept goes with the claim; that there was no other is judged of every test here.
        bed.scene.delete::<PersistentVolumeClaim>("claim", SOON).await?;
        until::gone(&Api::<PersistentVolume>::all(bed.scene.bed.client.clone()), &volume, SOON).await
    })
    .await;
}

/// Lets a claim's volume lose its access mode while it is filled, and gives its name.
async fn differing_volume(bed: &Bed<'_>) -> Result<String> {
    let server = Server::files()?;
    let path = bed.disk_path();
    server.set(path, &Fault::stalling()).await?;
    let claim = bed.claim("claim", json!({})).await?;
    server.until_held(path, SOON).await?;
    let prime = names::prime(&claim.uid().context("a stored claim has a UID")?);
    let prime = bed.scene.api::<PersistentVolumeClaim>().get(&prime).await?;
    let volume = prime.spec.and_then(|spec| spec.volume_name).context("a prime that is filled has a volume")?;
    let volumes = Api::<PersistentVolume>::all(bed.scene.bed.client.clone());
    let other = Patch::Merge(json!({"spec": {"accessModes": ["ReadOnlyMany"]}}));
    volumes.patch(&volume, &PatchParams::default(), &other).await.context("cannot change the volume")?;
    server.release(path).await?;
    Ok(volume)
}
