//! The controller killed while a claim is at each of its stages: the claim ends Bound with the right bytes, and they are
//! not paid for twice.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::ListParams;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::machine::{Hold, Stopped};
use vmdisk_e2e::servers::Fault;
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::{Scene, scenario, until};

use crate::class::Class;
use crate::disk::Disk;
use crate::operator::kill_leader;

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
        let disk = Disk::publish(scene, "claim", held()).await?;
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
        let disk = Disk::publish(scene, "claim", held()).await?;
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
async fn killed_twenty_times_while_claims_are_filled() {
    scenario("restart", async |scene| {
        let slow = Fault { bytes_per_second: Some(1 << 20), ..Fault::default() };
        let mut disks = Vec::new();
        for kill in 0..20 {
            // A new claim every other time, so that each kill finds some queued, some filling and some nearly done.
            if kill % 2 == 0 {
                let name = format!("claim-{kill}");
                disks.push(Disk::publish(scene, &name, slow.clone()).await?);
                scene.create(&objects::claim(&name, &name, "64Mi", Mode::Filesystem)?).await?;
            }
            kill_leader(&scene.bed.client).await.with_context(|| format!("kill {kill}"))?;
        }
        for disk in &disks {
            disk.judge(scene).await.with_context(|| disk.name.clone())?;
        }
        Ok(())
    })
    .await;
}

/// A server that stalls behind the first bytes.
fn held() -> Fault {
    Fault { hold_at: Some(1 << 20), ..Fault::default() }
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
