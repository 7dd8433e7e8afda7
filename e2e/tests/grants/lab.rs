//! A namespace of images (the test's own), and beside it one of claims.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use populator_crd::GROUP;
use populator_crd::names::IMAGE_NAMESPACE_ANNOTATION;
use serde_json::{Value, json};
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::reader::{self, Expected};
use vmdisk_e2e::testing::scene::delete_namespace;
use vmdisk_e2e::testing::volumes::Volumes;
use vmdisk_e2e::testing::{Scene, bed, diagnostics, scenario, until};

/// Other tests may hold all permits for a while.
pub(crate) const SOON: Duration = Duration::from_mins(2);

pub(crate) const DISK_BYTES: usize = 4 << 20;

/// What a test works on.
pub(crate) struct Lab<'a> {
    /// Where images and their Secrets are.
    pub(crate) images: &'a Scene,
    /// Where claims are.
    pub(crate) claims: Scene,
}

/// Runs one test with both namespaces. None of its claims may ever have had a second volume.
pub(crate) async fn across(body: impl AsyncFnOnce(&Lab<'_>) -> Result<()>) {
    scenario("images", async |images| {
        let namespace = images.another_namespace("lab").await?;
        let lab = Lab { images, claims: Scene { namespace, ..images.clone() } };
        let outcome = judged(&lab, body).await;
        if outcome.is_err() {
            diagnostics::tell(&lab.claims).await;
        }
        delete_namespace(&images.bed, &lab.claims.namespace).await?;
        outcome
    })
    .await;
}

async fn judged(lab: &Lab<'_>, body: impl AsyncFnOnce(&Lab<'_>) -> Result<()>) -> Result<()> {
    // The cluster's own, so that what comes after it is not.
    until::exists(&lab.claims.api::<ConfigMap>(), "kube-root-ca.crt", SOON).await?;
    let volumes = Volumes::watch(&lab.images.bed).await?;
    body(lab).await?;
    let seen = volumes.stop().await?;
    for claim in lab.claims.api::<PersistentVolumeClaim>().list(&ListParams::default()).await? {
        if objects::is_bound(&claim) {
            seen.assert_only_its_own(&claim)?;
        } else {
            // An attempt may have begun to fill one.
            seen.assert_at_most_one(&claim)?;
        }
    }
    Ok(())
}

impl Lab<'_> {
    /// Creates a claim for an image of the other namespace, as the annotation says it.
    pub(crate) async fn claim(&self, name: &str, image: &str) -> Result<PersistentVolumeClaim> {
        self.claim_of(name, image, &bed::variable("STORAGE_CLASS_IMMEDIATE")?).await
    }

    /// The same in any class.
    pub(crate) async fn claim_of(&self, name: &str, image: &str, class: &str) -> Result<PersistentVolumeClaim> {
        let mut claim = objects::claim_of(name, image, "64Mi", Mode::Filesystem, class)?;
        let images = self.images.namespace.clone();
        claim.metadata.annotations = Some([(IMAGE_NAMESPACE_ANNOTATION.to_owned(), images)].into());
        self.claims.create(&claim).await
    }

    /// Grants claims of the other namespace the use of every image.
    pub(crate) async fn grant(&self) -> Result<()> {
        let from = json!({"group": "", "kind": "PersistentVolumeClaim", "namespace": self.claims.namespace});
        self.grant_from_to("lab", from, json!({"group": GROUP, "kind": "VMDiskImage"})).await
    }

    /// Grants what may or may not be meant for the claims.
    pub(crate) async fn grant_from_to(&self, name: &str, from: Value, to: Value) -> Result<()> {
        let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1beta1", "ReferenceGrant");
        let kind = ApiResource::from_gvk(&kind);
        let api = Api::<DynamicObject>::namespaced_with(self.images.bed.client.clone(), &self.images.namespace, &kind);
        let grant = DynamicObject::new(name, &kind).data(json!({"spec": {"from": [from], "to": [to]}}));
        api.create(&PostParams::default(), &grant).await.with_context(|| format!("cannot create the grant {name}"))?;
        Ok(())
    }

    /// Waits until the claim is bound, and finds this disk in it.
    pub(crate) async fn until_filled(&self, name: &str, disk: &Expected) -> Result<()> {
        reader::holds(&self.claims, name, Mode::Filesystem, disk, SOON).await.map(drop)
    }
}
