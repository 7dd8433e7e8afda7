//! Claims and grants that change while the claim is filled, and a claim that is made again and again.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt as _};
use populator_crd::names::{CLAIM_UID_LABEL, IMAGE_NAMESPACE_ANNOTATION};
use populator_crd::v1alpha1::SyncPhase;
use populator_crd::{GROUP, VMDiskSync};
use serde_json::json;
use vmdisk_e2e::servers::Fault;
use vmdisk_e2e::testing::files::{self, Server};
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::reader::{self, Expected};
use vmdisk_e2e::testing::traces::primes_and_workers;
use vmdisk_e2e::testing::{Scene, events, scenario, until};

use crate::lair::{SOON, beside};

const DISK: usize = 4 << 20;
/// What a worker may read beside the disk, and what a server had sent when the worker was stopped.
const PROBES: u64 = 1 << 20;

/// An image in a namespace, for which claims of another have a grant.
struct Granted {
    scene: Scene,
    path: String,
    expected: Expected,
}

impl Granted {
    async fn make(scene: &Scene, claims: &str, name: &str) -> Result<Self> {
        let (published, expected) = files::publish_random(scene, &format!("{name}.img"), DISK)?;
        scene.create(&objects::image(name, &published.url)).await?;
        let granted = Self { scene: scene.clone(), path: published.path, expected };
        granted.give(claims).await?;
        Ok(granted)
    }

    fn grants(&self) -> (Api<DynamicObject>, ApiResource) {
        let kind =
            ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1beta1", "ReferenceGrant"));
        (Api::namespaced_with(self.scene.bed.client.clone(), &self.scene.namespace, &kind), kind)
    }

    async fn give(&self, claims: &str) -> Result<()> {
        let (api, kind) = self.grants();
        let from = json!({"group": "", "kind": "PersistentVolumeClaim", "namespace": claims});
        let to = json!({"group": GROUP, "kind": "VMDiskImage"});
        let grant = DynamicObject::new("grant", &kind).data(json!({"spec": {"from": [from], "to": [to]}}));
        api.create(&PostParams::default(), &grant).await.context("cannot create the grant")?;
        Ok(())
    }

    async fn take_back(&self) -> Result<()> {
        self.grants().0.delete("grant", &DeleteParams::default()).await?;
        Ok(())
    }

    async fn stall(&self) -> Result<()> {
        Server::files()?.set(&self.path, &Fault::stalling()).await
    }

    async fn held(&self) -> Result<()> {
        Server::files()?.until_held(&self.path, SOON).await
    }

    async fn heal(&self) -> Result<()> {
        Server::files()?.heal(&self.path).await
    }

    /// Waits until nothing is left here of what was made to fill a claim, and no record holds a permit.
    async fn deserted(&self) -> Result<()> {
        until::probed(&format!("nothing is filled in {}", self.scene.namespace), SOON, async || {
            let left = primes_and_workers(&self.scene, CLAIM_UID_LABEL).await?;
            ensure!(left.is_empty(), "there are {left:?}");
            let syncs = self.scene.api::<VMDiskSync>().list(&ListParams::default()).await?;
            let phases: Vec<_> = syncs.iter().filter_map(|sync| sync.status.as_ref()?.phase).collect();
            ensure!(!phases.contains(&SyncPhase::Syncing), "the records here say {phases:?}");
            Ok(Some(()))
        })
        .await
    }
}

async fn claim_at(claims: &Scene, name: &str, namespace: &str) -> Result<PersistentVolumeClaim> {
    let mut claim = objects::claim(name, "image", "64Mi", Mode::Filesystem)?;
    claim.metadata.annotations = Some([(IMAGE_NAMESPACE_ANNOTATION.to_owned(), namespace.to_owned())].into());
    claims.create(&claim).await
}

/// A claim that names one namespace and then the other ends with the disk of the one that it named last, whichever
/// was being filled meanwhile, and nothing is left in the other.
#[tokio::test]
async fn a_claim_that_names_another_namespace_while_it_is_filled() {
    beside("turning", async |scene, tenant| {
        let here = Granted::make(scene, &tenant.namespace, "image").await?;
        let other = scene.another_namespace("other").await?;
        let outcome = flips(scene, &here, &other, &tenant.namespace).await;
        vmdisk_e2e::testing::scene::delete_namespace(&scene.bed, &other).await?;
        outcome
    })
    .await;
}

async fn flips(scene: &Scene, here: &Granted, other: &str, claims: &str) -> Result<()> {
    let there = Granted::make(&Scene { namespace: other.to_owned(), ..scene.clone() }, claims, "image").await?;
    let claims = Scene { namespace: claims.to_owned(), ..scene.clone() };
    here.stall().await?;
    there.stall().await?;
    claim_at(&claims, "claim", &scene.namespace).await?;
    here.held().await?;
    let api = claims.api::<PersistentVolumeClaim>();
    let name = async |namespace: &str| {
        let patch = json!({"metadata": {"annotations": {IMAGE_NAMESPACE_ANNOTATION: namespace}}});
        api.patch("claim", &PatchParams::default(), &Patch::Merge(patch)).await
    };
    // Back and forth, as fast as it goes; and at last to the other.
    for namespace in [other, &scene.namespace, other, &scene.namespace, other] {
        name(namespace).await?;
    }
    there.held().await.context("the namespace that is named last is not asked")?;
    here.heal().await?;
    there.heal().await?;
    reader::holds(&claims, "claim", Mode::Filesystem, &there.expected, SOON).await?;
    here.deserted().await?;
    there.deserted().await?;
    for granted in [here, &there] {
        let syncs = granted.scene.api::<VMDiskSync>().list(&ListParams::default()).await?;
        let attempts: i32 = syncs.iter().filter_map(|sync| Some(sync.status.as_ref()?.attempt)).sum();
        let count = Server::files()?.count(&granted.path).await?;
        let paid = u64::try_from(attempts)? * (DISK as u64 + PROBES);
        ensure!(count.bytes <= paid, "{attempts} attempts fetched {} bytes: {:?}", count.bytes, count.log);
    }
    Ok(())
}

/// What was granted while it began is not handed over when the grant is gone; and is filled once it is given again.
#[tokio::test]
async fn a_grant_that_is_taken_back_while_the_worker_runs() {
    beside("turning", async |scene, tenant| {
        let granted = Granted::make(scene, &tenant.namespace, "image").await?;
        let claims = Scene { namespace: tenant.namespace.clone(), ..scene.clone() };
        granted.stall().await?;
        let claim = claim_at(&claims, "claim", &scene.namespace).await?;
        granted.held().await?;
        granted.take_back().await?;
        events::warned(&claims, &claim, "ReferenceNotGranted", &[&scene.namespace], SOON).await?;
        granted.deserted().await?;
        granted.heal().await?;
        let now = claims.api::<PersistentVolumeClaim>().get("claim").await?;
        ensure!(!objects::is_bound(&now), "the claim was filled without a grant");
        granted.give(&claims.namespace).await?;
        reader::holds(&claims, "claim", Mode::Filesystem, &granted.expected, SOON).await?;
        granted.deserted().await?;
        // What has been handed over stays.
        granted.take_back().await?;
        let second = claim_at(&claims, "second", &scene.namespace).await?;
        events::warned(&claims, &second, "ReferenceNotGranted", &[&scene.namespace], SOON).await?;
        reader::holds(&claims, "claim", Mode::Filesystem, &granted.expected, SOON).await.map(drop)
    })
    .await;
}

/// An image that is broken is fetched once, however often somebody makes a claim for it. design.md, section 8,
/// "Image-level failures".
#[tokio::test]
async fn a_claim_for_a_broken_image_made_again_and_again() {
    scenario("turning", async |scene| {
        let (published, _) = files::publish_random(scene, "broken.img", DISK)?;
        let mut image = objects::image("broken", &published.url);
        image.spec.checksum = Some(format!("sha256:{}", "0".repeat(64)));
        scene.create(&image).await?;
        for round in 1..=4 {
            let claim = scene.create(&objects::claim("claim", "broken", "64Mi", Mode::Filesystem)?).await?;
            let uid = claim.uid().context("a stored claim has a UID")?;
            // Told by an event of this very claim, whoever found it out.
            until::probed(&format!("claim {round} is told that its image is broken"), SOON, async || {
                let told = events::of(scene, &claim, "VerificationFailed").await?;
                Ok((!told.is_empty()).then_some(()))
            })
            .await
            .with_context(|| format!("its UID is {uid}"))?;
            scene.delete::<PersistentVolumeClaim>("claim", SOON).await?;
        }
        let count = Server::files()?.count(&published.path).await?;
        let once = DISK as u64 + PROBES;
        ensure!(count.bytes <= once, "one broken image was fetched {} times", count.bytes.div_ceil(DISK as u64));
        Ok(())
    })
    .await;
}
