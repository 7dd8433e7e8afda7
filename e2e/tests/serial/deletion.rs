//! A claim deleted at each of its stages: soon nothing of it is left, on the cluster or on the machine.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::machine::{Hold, Stopped, Storage};
use vmdisk_e2e::servers::Fault;
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::{Scene, scenario, until};

use crate::class::Class;
use crate::disk::Disk;
use crate::policy::Policy;

const SOON: Duration = Duration::from_mins(1);
/// How long anything of a deleted claim may stay.
const GONE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn deleted_while_queued() {
    scenario("deletion", async |scene| {
        let policy = Policy::set(&scene.bed.client, &[("concurrency", "1")]).await?;
        let outcome = queued(scene).await;
        policy.reset().await?;
        outcome
    })
    .await;
}

async fn queued(scene: &Scene) -> Result<()> {
    let first = Disk::publish(scene, "first", stalled()).await?;
    scene.create(&objects::claim("first", "first", "64Mi", Mode::Filesystem)?).await?;
    first.server.until_held(&first.published.path, SOON).await?;
    let second = Disk::publish(scene, "claim", Fault::default()).await?;
    scene.create(&objects::claim("claim", "claim", "64Mi", Mode::Filesystem)?).await?;
    until::probed("the second claim is queued", SOON, async || {
        let syncs = scene.api::<populator_crd::VMDiskSync>().list(&ListParams::default()).await?;
        Ok(syncs.iter().any(|sync| sync.spec.claim.name == "claim").then_some(()))
    })
    .await?;
    delete(scene).await?;
    first.server.heal(&first.published.path).await?;
    // Others go on, and the deleted one was never fetched.
    first.judge(scene).await?;
    ensure!(second.count().await?.requests == 0, "a claim was filled after it was deleted in the queue");
    let claims = scene.api::<PersistentVolumeClaim>();
    claims.delete("first", &DeleteParams::default()).await?;
    nothing_left(scene).await
}

#[tokio::test]
async fn deleted_while_the_volume_is_provisioned() {
    scenario("deletion", async |scene| {
        let hold = Hold::new(&Instance::current()?, &scene.namespace)?;
        let class = Class::held(scene).await?;
        let disk = Disk::publish(scene, "claim", Fault::default()).await?;
        scene.create(&objects::claim_of("claim", "claim", "64Mi", Mode::Filesystem, &class.name)?).await?;
        until::probed("the driver holds the volume", SOON, async || Ok((hold.waiting() > 0).then_some(()))).await?;
        delete(scene).await?;
        drop(hold);
        let outcome = nothing_left(scene).await;
        class.delete().await?;
        outcome?;
        ensure!(disk.count().await?.bytes == 0, "bytes were paid for a claim that was deleted before them");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn deleted_while_the_worker_fills() {
    scenario("deletion", async |scene| {
        let disk = Disk::publish(scene, "claim", stalled()).await?;
        scene.create(&objects::claim("claim", "claim", "64Mi", Mode::Filesystem)?).await?;
        disk.server.until_held(&disk.published.path, SOON).await?;
        delete(scene).await?;
        // The server still stalls: nothing may wait for it.
        nothing_left(scene).await
    })
    .await;
}

#[tokio::test]
async fn deleted_while_the_volume_is_bound_again() {
    scenario("deletion", async |scene| {
        let disk = Disk::publish(scene, "claim", stalled()).await?;
        scene.create(&objects::claim("claim", "claim", "64Mi", Mode::Filesystem)?).await?;
        disk.server.until_held(&disk.published.path, SOON).await?;
        let manager = Stopped::new(&Instance::current()?, "kube-controller-manager")?;
        disk.server.release(&disk.published.path).await?;
        until::probed("the volume names the claim", SOON, async || {
            let named = volumes(scene).await?.iter().any(|claim| claim == "claim");
            Ok(named.then_some(()))
        })
        .await?;
        scene.api::<PersistentVolumeClaim>().delete("claim", &DeleteParams::default()).await?;
        drop(manager);
        nothing_left(scene).await
    })
    .await;
}

fn stalled() -> Fault {
    Fault { hold_at: Some(1 << 20), ..Fault::default() }
}

async fn delete(scene: &Scene) -> Result<()> {
    scene.delete::<PersistentVolumeClaim>("claim", GONE).await
}

/// Waits until no claim, pod, volume, loop device or mount of the test's namespace is left.
async fn nothing_left(scene: &Scene) -> Result<()> {
    until::probed("nothing of the claim is left", GONE, async || {
        let all = ListParams::default();
        let claims = scene.api::<PersistentVolumeClaim>().list(&all).await?.items.len();
        let pods = scene.api::<Pod>().list(&all).await?.items.len();
        let volumes = volumes(scene).await?;
        let storage = Storage::read(&Instance::current()?)?;
        let disks = storage.of_namespace(&scene.namespace).len();
        ensure!(
            claims == 0 && pods == 0 && volumes.is_empty() && disks == 0,
            "there are {claims} claims, {pods} pods, volumes of {volumes:?}, {disks} disks of the driver"
        );
        storage.assert_clean()?;
        Ok(Some(()))
    })
    .await
}

/// The claims that volumes of the test's namespace name.
async fn volumes(scene: &Scene) -> Result<Vec<String>> {
    let volumes = Api::<PersistentVolume>::all(scene.bed.client.clone()).list(&ListParams::default()).await?;
    let claims = volumes.into_iter().filter_map(|volume| volume.spec?.claim_ref);
    let ours = claims.filter(|claim| claim.namespace.as_ref() == Some(&scene.namespace));
    Ok(ours.filter_map(|claim| claim.name).collect())
}
