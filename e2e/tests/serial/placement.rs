//! A node that was chosen for a claim, and will not do any more, does not hold the consumer.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::machine::{Hold, Storage};
use vmdisk_e2e::servers::Fault;
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::{Consumer, Scene, bed, scenario, until};

use crate::class::Class;
use crate::disk::Disk;
use crate::policy::Policy;

const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const SOON: Duration = Duration::from_mins(1);
/// The scheduler waits longer after each try.
const DEADLINE: Duration = Duration::from_mins(3);

/// A claim of each volume mode.
const FILE: Consumer<'_> = Consumer { claim: "file", mode: Mode::Filesystem, node: None };
const BLOCK: Consumer<'_> = Consumer { claim: "block", mode: Mode::Block, node: None };

#[tokio::test]
async fn a_consumer_leaves_a_node_that_has_no_room_when_its_claim_s_turn_comes() {
    scenario("placement", async |scene| {
        let class = Class::create(scene, "STORAGE_CLASS_WFFC", &[("capacityGroup", &scene.namespace)]).await?;
        let room = bed::path("CSI_STATE")?.join("capacity").join(&scene.namespace);
        let outcome = leaves_node_1(scene, &class.name, async |_| {
            std::fs::create_dir_all(&room)?;
            Ok(std::fs::write(room.join("node-1"), "0")?)
        })
        .await;
        class.delete().await?;
        std::fs::remove_dir_all(&room)?;
        outcome
    })
    .await;
}

#[tokio::test]
async fn a_consumer_leaves_a_node_that_is_drained_while_its_claim_is_queued() {
    scenario("placement", async |scene| {
        leaves_node_1(scene, &bed::variable("STORAGE_CLASS_WFFC")?, async |consumers| {
            cordon(scene, "node-1", true).await?;
            for consumer in consumers {
                // As whoever owns it does when it is evicted.
                consumer.delete(scene, SOON).await?;
                consumer.create(scene).await?;
            }
            Ok(())
        })
        .await
    })
    .await;
}

/// Claims are queued for volumes on node-1; `meanwhile` makes it unfit; they end on node-2.
async fn leaves_node_1(
    scene: &Scene,
    class: &str,
    meanwhile: impl AsyncFnOnce(&[Consumer<'_>]) -> Result<()>,
) -> Result<()> {
    let consumers = [FILE, BLOCK];
    let outcome = Policy::during(&scene.bed.client, &[("concurrency", "1")], async |_| {
        let first = Disk::publish(scene, "first", Fault { hold: true, ..Fault::default() }).await?;
        scene.create(&objects::claim("first", "first", "64Mi", Mode::Filesystem)?).await?;
        first.server.until_held(&first.published.path, SOON).await?;
        let disks = on_node_1(scene, class, &consumers).await?;
        cordon(scene, "node-2", false).await?;
        meanwhile(&consumers).await?;
        first.server.heal(&first.published.path).await?;
        end_on_node_2(scene, &disks).await
    })
    .await;
    uncordon(scene).await?;
    outcome
}

#[tokio::test]
async fn a_consumer_leaves_a_node_that_is_cordoned_while_its_volume_is_made() {
    scenario("placement", async |scene| {
        let hold = Hold::new(&Instance::current()?, &scene.namespace)?;
        let class = Class::create(scene, "STORAGE_CLASS_WFFC", &[("hold", &scene.namespace)]).await?;
        let outcome = leaves_a_cordoned_node(scene, &class.name, hold).await;
        uncordon(scene).await?;
        class.delete().await?;
        outcome
    })
    .await;
}

async fn leaves_a_cordoned_node(scene: &Scene, class: &str, hold: Hold) -> Result<()> {
    let disks = on_node_1(scene, class, &[FILE]).await?;
    until::probed("the driver holds the volume", SOON, async || Ok((hold.waiting() == 1).then_some(()))).await?;
    cordon(scene, "node-1", true).await?;
    cordon(scene, "node-2", false).await?;
    let claims = scene.api::<PersistentVolumeClaim>();
    until::holds(&claims, FILE.claim, "the other node was chosen for it", SOON, |claim| is_for(claim, "node-2"))
        .await?;
    drop(hold);
    end_on_node_2(scene, &disks).await?;
    // The driver was in the middle of it when its prime went.
    until::probed("the volume on the first node is gone", SOON, async || {
        let storage = Storage::read(&Instance::current()?)?;
        let volumes = storage.of_namespace(&scene.namespace);
        ensure!(volumes.len() == 1, "one claim has {volumes:?}");
        Ok(Some(()))
    })
    .await
}

/// Claims and consumers for which the scheduler has chosen node-1, because it could choose no other.
async fn on_node_1<'a>(scene: &Scene, class: &str, consumers: &[Consumer<'a>]) -> Result<Vec<(Disk, Consumer<'a>)>> {
    cordon(scene, "node-2", true).await?;
    let mut disks = Vec::new();
    for consumer in consumers {
        let name = consumer.claim;
        let disk = Disk::publish(scene, name, Fault::default()).await?;
        scene.create(&objects::claim_of(name, name, "64Mi", consumer.mode, class)?).await?;
        consumer.create(scene).await?;
        let claims = scene.api::<PersistentVolumeClaim>();
        until::holds(&claims, name, "the first node was chosen for it", SOON, |claim| is_for(claim, "node-1")).await?;
        disks.push((disk, *consumer));
    }
    Ok(disks)
}

async fn end_on_node_2(scene: &Scene, disks: &[(Disk, Consumer<'_>)]) -> Result<()> {
    for (disk, consumer) in disks {
        let node = consumer.runs(scene, DEADLINE).await?;
        ensure!(node == "node-2", "{consumer:?} runs on {node}, where its volume cannot be made any more");
        disk.judge_as(scene, consumer.mode).await?;
    }
    Ok(())
}

fn is_for(claim: &PersistentVolumeClaim, node: &str) -> bool {
    claim.annotations().get(SELECTED_NODE).is_some_and(|selected| selected == node)
}

async fn uncordon(scene: &Scene) -> Result<()> {
    cordon(scene, "node-1", false).await?;
    cordon(scene, "node-2", false).await
}

async fn cordon(scene: &Scene, node: &str, unschedulable: bool) -> Result<()> {
    let nodes = Api::<Node>::all(scene.bed.client.clone());
    let patch = json!({"spec": {"unschedulable": unschedulable}});
    nodes.patch(node, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}
