//! With and without a grant.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use populator_crd::names::CLAIM_UID_LABEL;
use populator_crd::{GROUP, VMDiskSync};
use serde_json::json;
use vmdisk_e2e::testing::files::{self, Server};
use vmdisk_e2e::testing::traces::primes_and_workers;
use vmdisk_e2e::testing::{Scene, bed, events, objects};

use crate::lab::{DISK_BYTES, Lab, SOON, across};

#[tokio::test]
async fn a_claim_with_a_grant_is_filled() {
    across(async |lab| {
        let (disk, expected) = files::publish_random(lab.images, "disk.img", DISK_BYTES)?;
        lab.images.create(&objects::image("image", &disk.url)).await?;
        lab.grant().await?;
        let claim = lab.claim("claim", "image").await?;
        lab.until_filled("claim", &expected).await?;
        let refusals = events::of(&lab.claims, &claim, "ReferenceNotGranted").await?;
        ensure!(refusals.is_empty(), "a granted claim was refused: {refusals:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_claim_without_a_grant_is_refused_and_goes_on_once_it_is_given() {
    across(async |lab| {
        let (disk, expected) = files::publish_random(lab.images, "disk.img", DISK_BYTES)?;
        lab.images.create(&objects::image("image", &disk.url)).await?;
        grant_to_others(lab).await?;
        let claim = lab.claim("claim", "image").await?;
        let refusal = refused(lab, &claim).await?;
        // Nobody learns from a refusal what exists where nothing is granted.
        let absent = lab.claim("absent", "no-such-image").await?;
        let other = refused(lab, &absent).await?;
        ensure!(
            other == refusal.replace("VMDiskImage image.", "VMDiskImage no-such-image."),
            "an image that exists is refused with {refusal:?}, and one that does not with {other:?}"
        );
        for scene in [lab.images, &lab.claims] {
            nothing_is_made(scene).await?;
        }
        let count = Server::files()?.count(&disk.path).await?;
        ensure!(count.requests == 0, "a disk was fetched that nobody granted: {count:?}");

        lab.grant().await?;
        lab.until_filled("claim", &expected).await?;
        let words = ["no-such-image", "does not exist", "waits until it is created"];
        events::warned(&lab.claims, &absent, "PopulatorDataSourceNotFound", &words, SOON).await.map(drop)
    })
    .await;
}

/// Grants that name everything but this: another namespace of claims, another kind, another image.
async fn grant_to_others(lab: &Lab<'_>) -> Result<()> {
    let from = |kind: &str, namespace: &str| json!({"group": "", "kind": kind, "namespace": namespace});
    let image = json!({"group": GROUP, "kind": "VMDiskImage"});
    let claims = from("PersistentVolumeClaim", &lab.claims.namespace);
    let another_namespace = from("PersistentVolumeClaim", "vmdisk-nobody");
    lab.grant_from_to("another-namespace", another_namespace, image.clone()).await?;
    lab.grant_from_to("another-user", from("Pod", &lab.claims.namespace), image).await?;
    lab.grant_from_to("another-kind", claims.clone(), json!({"group": "", "kind": "Secret"})).await?;
    let another_image = json!({"group": GROUP, "kind": "VMDiskImage", "name": "another"});
    lab.grant_from_to("another-image", claims, another_image).await
}

/// The refusal names both namespaces and the way out.
async fn refused(lab: &Lab<'_>, claim: &PersistentVolumeClaim) -> Result<String> {
    let found = format!("No ReferenceGrant in namespace {}", lab.images.namespace);
    let from = format!("from PersistentVolumeClaim in {}", lab.claims.namespace);
    let words = [found.as_str(), "Create one there", &from, "to VMDiskImage"];
    events::warned(&lab.claims, claim, "ReferenceNotGranted", &words, SOON).await
}

async fn nothing_is_made(scene: &Scene) -> Result<()> {
    let mut made = primes_and_workers(scene, CLAIM_UID_LABEL).await?;
    let syncs = scene.api::<VMDiskSync>().list(&ListParams::default()).await?;
    made.extend(syncs.iter().map(ResourceExt::name_any));
    ensure!(made.is_empty(), "without a grant, {made:?} are in {}", scene.namespace);
    Ok(())
}

/// Across namespaces, what a class resolves by the namespace of the claim would be that of the prime.
#[tokio::test]
async fn a_class_with_secrets_of_the_claims_namespace_is_refused() {
    across(async |lab| {
        let classes = Api::<StorageClass>::all(lab.images.bed.client.clone());
        let class: StorageClass = serde_json::from_value(json!({
            "metadata": {"name": lab.claims.namespace},
            "provisioner": bed::variable("CSI_DRIVER")?,
            "parameters": {
                "csi.storage.k8s.io/node-stage-secret-name": "key",
                "csi.storage.k8s.io/node-stage-secret-namespace": "${pvc.namespace}",
            },
        }))
        .context("a class")?;
        classes.create(&PostParams::default(), &class).await?;
        let refused = refused_for_its_class(lab).await;
        classes.delete(&lab.claims.namespace, &DeleteParams::default()).await?;
        refused
    })
    .await;
}

async fn refused_for_its_class(lab: &Lab<'_>) -> Result<()> {
    let (disk, _) = files::publish_random(lab.images, "disk.img", DISK_BYTES)?;
    lab.images.create(&objects::image("image", &disk.url)).await?;
    lab.grant().await?;
    let claim = lab.claim_of("claim", "image", &lab.claims.namespace).await?;
    let words = ["node-stage-secret-namespace", "${pvc.namespace}", "Use a class whose secrets do not depend"];
    events::warned(&lab.claims, &claim, "SecretTemplateUnsupported", &words, SOON).await?;
    nothing_is_made(lab.images).await
}
