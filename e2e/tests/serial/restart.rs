//! The controller killed while a claim is at each of its stages: the claim ends Bound with the right bytes, and they are
//! not paid for twice.

mod storm;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::ListParams;
use populator_crd::VMDiskSync;
use populator_crd::v1alpha1::SyncPhase;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::machine::{Hold, Stopped};
use vmdisk_e2e::servers::Fault;
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::{Scene, scenario, until};

use crate::class::Class;
use crate::disk::Disk;
use crate::operator::kill_leader;
use crate::policy::Policy;

const DEADLINE: Duration = Duration::from_mins(2);

#[tokio::test]
async fn killed_while_the_volume_is_provisioned() {
    scenario("restart", async |scene| {
        let hold = Hold::new(&Instance::current()?, &scene.namespace)?;
        let class = Class::held(scene).await?;
        let disk = Disk::publish(scene, "claim", Fault::default()).await?;
        scene.create(&objects::claim_of("claim", "claim", "64Mi", Mode::Filesystem, &class.name)?).await?;
        until::probed("the driver holds the volume", DEADLINE, async || Ok((hold.waiting() > 0).then_some(()))).await?;
        kill_leader(&scene.bed.client).await?;
        ensure!(hold.waiting() > 0, "the kill did not land while the volume was provisioned");
        drop(hold);
        let outcome = disk.judge(scene).await;
        class.delete().await?;
        outcome
    })
    .await;
}

#[tokio::test]
async fn killed_while_the_worker_fills() {
    scenario("restart", async |scene| {
        let disk = Disk::publish(scene, "claim", Fault::stalling()).await?;
        scene.create(&objects::claim("claim", "claim", "64Mi", Mode::Filesystem)?).await?;
        disk.server.until_held(&disk.published.path, DEADLINE).await?;
        kill_leader(&scene.bed.client).await?;
        ensure!(disk.count().await?.held > 0, "the kill did not land while the worker filled");
        disk.server.release(&disk.published.path).await?;
        disk.judge(scene).await
    })
    .await;
}

#[tokio::test]
async fn killed_while_the_volume_is_bound_again() {
    scenario("restart", async |scene| {
        let disk = Disk::publish(scene, "claim", Fault::stalling()).await?;
        scene.create(&objects::claim("claim", "claim", "64Mi", Mode::Filesystem)?).await?;
        disk.server.until_held(&disk.published.path, DEADLINE).await?;
        // Nobody binds now: the claim stays between the swap and the commit point.
        let manager = Stopped::new(&Instance::current()?, "kube-controller-manager")?;
        disk.server.release(&disk.published.path).await?;
        until::probed("the volume names the claim", DEADLINE, async || names_claim(scene).await).await?;
        kill_leader(&scene.bed.client).await?;
        let claim = scene.api::<PersistentVolumeClaim>().get("claim").await?;
        ensure!(!objects::is_bound(&claim), "the kill did not land before the claim was bound");
        drop(manager);
        disk.judge(scene).await
    })
    .await;
}

#[tokio::test]
async fn killed_while_claims_are_queued() {
    scenario("restart", async |scene| {
        Policy::during(&scene.bed.client, &[("concurrency", "1")], async |_| queued(scene).await).await
    })
    .await;
}

async fn queued(scene: &Scene) -> Result<()> {
    let first = Disk::publish(scene, "first", Fault::stalling()).await?;
    scene.create(&objects::claim("first", "first", "64Mi", Mode::Filesystem)?).await?;
    first.server.until_held(&first.published.path, DEADLINE).await?;
    let mut behind = Vec::new();
    for name in ["second", "third"] {
        behind.push(Disk::publish(scene, name, Fault::default()).await?);
        scene.create(&objects::claim(name, name, "64Mi", Mode::Filesystem)?).await?;
    }
    until::probed("two claims are queued", DEADLINE, async || Ok(are_queued(scene).await?.then_some(()))).await?;
    kill_leader(&scene.bed.client).await?;
    // Who leads next takes the permit for taken, although nobody has asked it for one.
    next_pass(scene).await?;
    ensure!(are_queued(scene).await?, "the kill did not land while two claims were queued");
    ensure!(first.count().await?.held > 0, "the first claim lost its worker");
    for disk in &behind {
        ensure!(disk.count().await?.requests == 0, "{} was fetched before its turn", disk.name);
    }
    first.server.release(&first.published.path).await?;
    for disk in behind.iter().chain([&first]) {
        disk.judge(scene).await.with_context(|| disk.name.clone())?;
    }
    Ok(())
}

/// Waits until whoever leads now has queued a new claim: it has looked at the older ones before.
async fn next_pass(scene: &Scene) -> Result<()> {
    Disk::publish(scene, "last", Fault::default()).await?;
    scene.create(&objects::claim("last", "last", "64Mi", Mode::Filesystem)?).await?;
    until::probed("a new claim is queued", DEADLINE, async || Ok(queue(scene).await?.contains("last").then_some(())))
        .await
}

async fn are_queued(scene: &Scene) -> Result<bool> {
    let queue = queue(scene).await?;
    Ok(queue.contains("second") && queue.contains("third"))
}

/// The claims whose syncs are queued.
async fn queue(scene: &Scene) -> Result<BTreeSet<String>> {
    let syncs = scene.api::<VMDiskSync>().list(&ListParams::default()).await?;
    let queued = syncs
        .into_iter()
        .filter(|sync| sync.status.as_ref().and_then(|status| status.phase) == Some(SyncPhase::Queued));
    Ok(queued.map(|sync| sync.spec.claim.name).collect())
}

/// Whether a volume in the cluster has the test's claim as its own.
async fn names_claim(scene: &Scene) -> Result<Option<()>> {
    let volumes = Api::<PersistentVolume>::all(scene.bed.client.clone()).list(&ListParams::default()).await?;
    let named = volumes.items.iter().any(|volume| {
        let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
        claim.is_some_and(|claim| {
            claim.namespace.as_ref() == Some(&scene.namespace) && claim.name.as_deref() == Some("claim")
        })
    });
    Ok(named.then_some(()))
}
