//! Two controllers: one leads, the other takes over.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kube::api::ListParams;
use populator_crd::VMDiskSync;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::machine::Stopped;
use vmdisk_e2e::servers::Fault;
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::{Scene, scenario};

use crate::disk::Disk;
use crate::operator;

const SOON: Duration = Duration::from_mins(1);
/// Design: what leads next must not wait for more than a lease and its retries.
const HAND_OVER: Duration = Duration::from_secs(20);

#[tokio::test]
async fn killing_the_leader_hands_over_and_work_goes_on() {
    scenario("replicas", async |scene| {
        let client = &scene.bed.client;
        operator::complete(client).await?;
        let running = Disk::publish(scene, "running", Fault::stalling()).await?;
        create_claim(scene, &running).await?;
        running.server.until_held(&running.published.path, SOON).await?;
        let waiting = Disk::publish(scene, "waiting", Fault::default()).await?;

        let former = operator::leader(client).await?;
        let node = operator::pods(client).get(&former).await?.spec.and_then(|spec| spec.node_name);
        let node = node.context("the leader has a node")?;
        // Its kubelet would start it again at once, and it would find its own lease.
        let kubelet = Stopped::new(&Instance::current()?, &format!("{node}-kubelet"))?;
        operator::kill(client, &former).await?;
        let killed = Instant::now();
        create_claim(scene, &waiting).await?;
        let next = operator::next_leader(client, &former, HAND_OVER * 2).await?;
        let took = killed.elapsed();
        drop(kubelet);
        ensure!(took < HAND_OVER, "{next} led {took:?} after {former} was killed, expected less than {HAND_OVER:?}");

        // Nobody touches the worker that was at work; what came while nobody led is filled as well.
        waiting.judge(scene).await?;
        running.server.release(&running.published.path).await?;
        running.judge(scene).await?;
        let syncs = scene.api::<VMDiskSync>().list(&ListParams::default()).await?;
        let once = |sync: &VMDiskSync| sync.status.as_ref().is_some_and(|status| status.attempt == 1);
        ensure!(syncs.iter().all(once), "the hand-over cost an attempt: {syncs:?}");
        operator::complete(client).await
    })
    .await;
}

async fn create_claim(scene: &Scene, disk: &Disk) -> Result<()> {
    scene.create(&objects::claim(&disk.name, &disk.name, "64Mi", Mode::Filesystem)?).await.map(drop)
}
