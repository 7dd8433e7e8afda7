//! The controller killed while a claim is at each of its stages: the claim ends Bound with the right bytes, and they are
//! not paid for twice.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::ListParams;
use populator_crd::VMDiskSync;
use sha2::{Digest as _, Sha256};
use vmdisk_e2e::cache::hex;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::machine::{Hold, Stopped};
use vmdisk_e2e::servers::Fault;
use vmdisk_e2e::testing::files::{self, Published, Server};
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::{Scene, reader, scenario, until};

use crate::class::HeldClass;
use crate::operator::kill_leader;

const SIZE: usize = 8 << 20;
/// What a worker may read beside the disk: its first bytes, to see what it is.
const PROBES: u64 = 1 << 20;
const DEADLINE: Duration = Duration::from_mins(2);

#[tokio::test]
async fn killed_while_the_volume_is_provisioned() {
    scenario("restart", async |scene| {
        let hold = Hold::new(&Instance::current()?, &scene.namespace)?;
        let class = HeldClass::create(scene).await?;
        let disk = Disk::publish(scene, None).await?;
        scene.create(&objects::claim_of("claim", "image", "64Mi", Mode::Filesystem, &class.name)?).await?;
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
        let disk = Disk::publish(scene, Some(1 << 20)).await?;
        scene.create(&objects::claim("claim", "image", "64Mi", Mode::Filesystem)?).await?;
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
        let disk = Disk::publish(scene, Some(1 << 20)).await?;
        scene.create(&objects::claim("claim", "image", "64Mi", Mode::Filesystem)?).await?;
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

/// A disk on the HTTP server, with an image that names it.
struct Disk {
    published: Published,
    sha256: String,
    server: Server,
}

impl Disk {
    async fn publish(scene: &Scene, hold_at: Option<u64>) -> Result<Self> {
        let mut bytes = vec![0; SIZE];
        rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes).ok().context("random bytes")?;
        let published = files::publish(scene, "disk.img", &bytes)?;
        let server = Server::files()?;
        if hold_at.is_some() {
            server.set(&published.path, &Fault { hold_at, ..Fault::default() }).await?;
        }
        scene.create(&objects::image("image", &published.url)).await?;
        Ok(Self { sha256: hex(&Sha256::digest(&bytes)), published, server })
    }

    async fn count(&self) -> Result<vmdisk_e2e::servers::Count> {
        self.server.count(&self.published.path).await
    }

    /// The claim ends Bound with the right bytes, which were fetched as often as its sync says, and no more.
    async fn judge(&self, scene: &Scene) -> Result<()> {
        let claims = scene.api::<PersistentVolumeClaim>();
        until::holds(&claims, "claim", "is bound", DEADLINE, objects::is_bound).await?;
        let contents = reader::read(scene, "claim", Mode::Filesystem, SIZE as u64, DEADLINE).await?;
        ensure!(contents.sha256 == self.sha256, "the claim holds other bytes: {contents:?}");
        ensure!(contents.dirt == 0, "there are bytes behind the disk: {contents:?}");
        let syncs = scene.api::<VMDiskSync>().list(&ListParams::default()).await?;
        ensure!(syncs.items.len() == 1, "one claim has {} syncs", syncs.items.len());
        let attempts = syncs.items[0].status.as_ref().map_or(0, |status| status.attempt);
        let paid = u64::try_from(attempts)? * (SIZE as u64 + PROBES);
        let count = self.count().await?;
        ensure!(count.bytes <= paid, "{attempts} attempts fetched {} bytes: {:?}", count.bytes, count.log);
        Ok(())
    }
}
