//! Claims that wait for their consumer: the disk is made where the consumer is, whatever became of the consumer meanwhile.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use populator_crd::names::BIND_IMMEDIATELY_ANNOTATION;
use vmdisk_e2e::servers::Fault;
use vmdisk_e2e::testing::disk::Disk;
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::{Consumer, Scene, scenario, until};

const DEADLINE: Duration = Duration::from_mins(2);

#[tokio::test]
async fn the_volume_lands_on_the_node_of_its_consumer() {
    scenario("consumers", async |scene| {
        let disk = Disk::publish(scene, "image", Fault::default()).await?;
        let cases = ["node-1", "node-2"].into_iter().flat_map(|node| Mode::ALL.map(|mode| (node, mode)));
        let lands = cases.map(async |(node, mode)| -> Result<()> {
            let claim = format!("{node}-{}", mode.as_str().to_lowercase());
            let consumer = Consumer { claim: &claim, mode, node: Some(node) };
            scene.create(&objects::waiting_claim(&claim, "image", "64Mi", mode)?).await?;
            consumer.create(scene).await?;
            consumer.runs(scene, DEADLINE).await.context(claim.clone())?;
            let volume = volume_of(scene, &claim).await?;
            ensure!(node_of(&volume) == Some(node), "{claim}: its volume is elsewhere: {volume:?}");
            disk.holds(scene, &claim, mode).await.map(drop)
        });
        try_join_all(lands).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_claim_that_shall_bind_at_once_waits_for_no_consumer() {
    scenario("consumers", async |scene| {
        let disk = Disk::publish(scene, "image", Fault::default()).await?;
        let binds = Mode::ALL.map(async |mode| -> Result<()> {
            let name = mode.as_str().to_lowercase();
            let mut claim = objects::waiting_claim(&name, "image", "64Mi", mode)?;
            let annotation = (BIND_IMMEDIATELY_ANNOTATION.to_owned(), "true".to_owned());
            claim.metadata.annotations.get_or_insert_default().extend([annotation]);
            scene.create(&claim).await?;
            let volume = volume_of(scene, &name).await?;
            // The first consumer comes when the disk is there, and goes where it is.
            let consumer = Consumer { claim: &name, mode, node: None };
            consumer.create(scene).await?;
            let node = consumer.runs(scene, DEADLINE).await?;
            ensure!(node_of(&volume) == Some(&node), "{name}: its consumer is on {node}, its volume is {volume:?}");
            disk.holds(scene, &name, mode).await.map(drop)
        });
        try_join_all(binds).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_consumer_that_goes_while_the_disk_is_written_finds_it_when_it_returns() {
    scenario("consumers", async |scene| {
        let names = Mode::ALL.map(|mode| (mode.as_str().to_lowercase(), mode));
        let consumers = names.each_ref().map(|(claim, mode)| Consumer { claim, mode: *mode, node: None });
        // An image each: one that nobody was filled from yet is tried by one claim at a time.
        let mut disks = Vec::new();
        for consumer in &consumers {
            disks.push(Disk::publish(scene, consumer.claim, Fault::stalling()).await?);
            scene.create(&objects::waiting_claim(consumer.claim, consumer.claim, "64Mi", consumer.mode)?).await?;
            consumer.create(scene).await?;
        }
        for disk in &disks {
            disk.server.until_held(&disk.published.path, DEADLINE).await?;
        }
        for consumer in &consumers {
            consumer.delete(scene, DEADLINE).await?;
        }
        for disk in &disks {
            ensure!(disk.count().await?.held == 1, "a worker went with the consumer of its claim");
            disk.server.release(&disk.published.path).await?;
        }
        for (consumer, disk) in consumers.iter().zip(&disks) {
            let volume = volume_of(scene, consumer.claim).await?;
            consumer.create(scene).await?;
            let node = consumer.runs(scene, DEADLINE).await?;
            ensure!(node_of(&volume) == Some(&node), "{consumer:?} is on {node}, its volume is {volume:?}");
            disk.holds(scene, consumer.claim, consumer.mode).await?;
        }
        Ok(())
    })
    .await;
}

/// The volume of a claim, once it is bound.
async fn volume_of(scene: &Scene, claim: &str) -> Result<PersistentVolume> {
    let claims = scene.api::<PersistentVolumeClaim>();
    let claim = until::holds(&claims, claim, "is bound", DEADLINE, objects::is_bound).await?;
    let name = claim.spec.and_then(|spec| spec.volume_name).context("a bound claim names its volume")?;
    Ok(Api::<PersistentVolume>::all(scene.bed.client.clone()).get(&name).await?)
}

/// The one node that can use a volume.
fn node_of(volume: &PersistentVolume) -> Option<&str> {
    let required = volume.spec.as_ref()?.node_affinity.as_ref()?.required.as_ref()?;
    let [term] = required.node_selector_terms.as_slice() else { return None };
    let [expression] = term.match_expressions.as_deref()? else { return None };
    let [node] = expression.values.as_deref()? else { return None };
    Some(node)
}
