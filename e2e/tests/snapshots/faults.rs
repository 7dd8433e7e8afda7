//! The ways in which storage fails at snapshots, as Kubernetes shows them.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::ListParams;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::machine::Hold;
use vmdisk_e2e::testing::objects;
use vmdisk_e2e::testing::snapshots::VolumeSnapshot;
use vmdisk_e2e::testing::{Consumer, Scene, bed, events, until};

use crate::ground::{Asked, MODE, OWN, on_ground};
use crate::source::{DEADLINE, SOURCE};

const FAILED: &str = "ProvisioningFailed";

#[tokio::test]
async fn a_snapshot_is_not_ready_until_it_is_let() {
    let asked = Asked { of_snapshots: &[("holdReady", OWN)], ..Asked::default() };
    on_ground(asked, async |ground| {
        let scene = ground.scene;
        let hold = Hold::new(&Instance::current()?, &scene.namespace)?;
        scene.create(&ground.snapshot()).await?;
        let api = scene.api::<VolumeSnapshot>();
        let cut = until::holds(&api, "snapshot", "is cut", DEADLINE, VolumeSnapshot::is_cut).await?;
        ensure!(!cut.is_ready(), "it is ready at once: {:?}", cut.status);
        let claim = ground.restore("64Mi").await?;
        events::told(scene, &claim, FAILED, &["is not Ready"], DEADLINE).await?;
        drop(hold);
        ground.volume_of("restored").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_may_not_tell_its_size() {
    let asked = Asked { of_snapshots: &[("restoreSize", "none")], ..Asked::default() };
    on_ground(asked, async |ground| {
        let size = ground.take().await?.status.and_then(|status| status.restore_size);
        ensure!(size.is_none(), "found {size:?}");
        let claim = ground.restore("32Mi").await?;
        let words = ["OutOfRange", "the size of what is copied"];
        events::told(ground.scene, &claim, FAILED, &words, DEADLINE).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_may_tell_more_than_its_size() {
    let asked = Asked { of_snapshots: &[("restoreSizeUnit", "1Gi")], ..Asked::default() };
    on_ground(asked, async |ground| {
        let size = ground.take().await?.status.and_then(|status| status.restore_size);
        ensure!(size.as_ref().is_some_and(|size| size.0 == "1Gi"), "found {size:?}");
        let claim = ground.restore("64Mi").await?;
        let words = ["is less than the size 1073741824"];
        events::told(ground.scene, &claim, FAILED, &words, DEADLINE).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_volume_may_stay_until_its_snapshot_goes() {
    let asked = Asked { of_snapshots: &[("sourceDeletion", "refused")], ..Asked::default() };
    on_ground(asked, async |ground| {
        let scene = ground.scene;
        let volume = ground.volume_of(SOURCE).await?;
        ground.take().await?;
        scene.delete::<PersistentVolumeClaim>(SOURCE, DEADLINE).await?;
        let words = ["FailedPrecondition", "whose class refuses the deletion"];
        until::probed("its deletion is refused", DEADLINE, async || {
            let messages = failed_deletions(scene, &volume).await?;
            let refused = messages.iter().any(|message| words.iter().all(|word| message.contains(word)));
            ensure!(refused, "the volume was told {messages:?}");
            Ok(Some(()))
        })
        .await?;
        scene.delete::<VolumeSnapshot>("snapshot", DEADLINE).await?;
        until::gone(&Api::<PersistentVolume>::all(scene.bed.client.clone()), &volume, DEADLINE).await
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_may_go_with_its_volume() {
    let asked = Asked { of_snapshots: &[("sourceDeletion", "lost")], ..Asked::default() };
    on_ground(asked, async |ground| {
        let scene = ground.scene;
        let volume = ground.volume_of(SOURCE).await?;
        ground.take().await?;
        scene.delete::<PersistentVolumeClaim>(SOURCE, DEADLINE).await?;
        until::gone(&Api::<PersistentVolume>::all(scene.bed.client.clone()), &volume, DEADLINE).await?;
        let snapshot = scene.api::<VolumeSnapshot>().get("snapshot").await?;
        ensure!(snapshot.is_ready(), "Kubernetes does not know that it is gone: {:?}", snapshot.status);
        let claim = ground.restore("64Mi").await?;
        events::told(scene, &claim, FAILED, &["NotFound", "no such snapshot"], DEADLINE).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_restore_may_fail_at_first() {
    let asked = Asked { of_claims: &[("failRestore", "2"), ("failCode", "Internal")], ..Asked::default() };
    on_ground(asked, async |ground| {
        ground.take().await?;
        let claim = ground.restore("64Mi").await?;
        let words = ["Internal", "asks Restore to fail 2 times"];
        events::told(ground.scene, &claim, FAILED, &words, DEADLINE).await?;
        ground.volume_of("restored").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_clone_may_be_held() {
    on_ground(Asked { of_claims: &[("holdClone", OWN)], ..Asked::default() }, async |ground| {
        let scene = ground.scene;
        let hold = Hold::new(&Instance::current()?, &scene.namespace)?;
        scene.create(&objects::cloned_claim("clone", SOURCE, "64Mi", MODE, &ground.class.name)).await?;
        until::probed("the clone waits", DEADLINE, async || Ok((hold.waiting() == 1).then_some(()))).await?;
        drop(hold);
        ground.volume_of("clone").await.map(drop)
    })
    .await;
}

/// The scheduler knows nothing of where a snapshot lies, and learns it by trying.
#[tokio::test]
async fn a_snapshot_may_be_local_to_a_node() {
    let asked = Asked { of_snapshots: &[("nodeLocal", "true")], ..Asked::default() };
    on_ground(asked, async |ground| {
        let scene = ground.scene;
        let here = node_of(scene, &ground.volume_of(SOURCE).await?).await?;
        ground.take().await?;
        let waits = bed::variable("STORAGE_CLASS_WFFC")?;
        let claim = scene.create(&objects::restored_claim("restored", "snapshot", "64Mi", MODE, &waits)).await?;
        let there = if here == "node-1" { "node-2" } else { "node-1" };
        let consumer = Consumer { claim: "restored", mode: MODE, node: Some(there) };
        consumer.create(scene).await?;
        events::told(scene, &claim, FAILED, &["ResourceExhausted", &format!("local to [{here}]")], DEADLINE).await?;
        consumer.delete(scene, DEADLINE).await?;
        let consumer = Consumer { node: Some(&here), ..consumer };
        consumer.create(scene).await?;
        consumer.runs(scene, DEADLINE).await.map(drop)
    })
    .await;
}

/// What a volume was told of why it is not deleted.
async fn failed_deletions(scene: &Scene, volume: &str) -> Result<Vec<String>> {
    let which = ListParams::default().fields(&format!("involvedObject.name={volume},reason=VolumeFailedDelete"));
    let events = Api::<Event>::all(scene.bed.client.clone()).list(&which).await?;
    Ok(events.items.into_iter().filter_map(|event| event.message).collect())
}

/// The node that a volume is on.
async fn node_of(scene: &Scene, volume: &str) -> Result<String> {
    let volume = Api::<PersistentVolume>::all(scene.bed.client.clone()).get(volume).await?;
    let affinity = volume.spec.and_then(|spec| spec.node_affinity).and_then(|affinity| affinity.required);
    let term = affinity.and_then(|affinity| affinity.node_selector_terms.into_iter().next());
    let expression = term.and_then(|term| term.match_expressions).and_then(|all| all.into_iter().next());
    expression.and_then(|one| one.values).and_then(|values| values.into_iter().next()).context("it is on one node")
}
