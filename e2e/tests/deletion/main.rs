//! Claims that end otherwise than their filling expects: deleted and made again, bound by somebody else, or with a name
//! as long as names can be.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use populator_crd::VMDiskSync;
use populator_crd::v1alpha1::SyncPhase;
use serde_json::json;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::machine::Hold;
use vmdisk_e2e::servers::Fault;
use vmdisk_e2e::testing::class::Class;
use vmdisk_e2e::testing::disk::Disk;
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::traces::Remembered;
use vmdisk_e2e::testing::{Scene, bed, scenario, until};

/// Other tests may hold all permits for a while.
const SOON: Duration = Duration::from_mins(2);
/// A limit for what hangs. How fast anything goes that is not wanted any more is up to the machine; a source that stalls
/// shows that nothing waits for it.
const GONE: Duration = Duration::from_mins(3);

#[tokio::test]
async fn made_again_while_the_volume_is_provisioned() {
    scenario("again", async |scene| {
        let hold = Hold::new(&Instance::current()?, &scene.namespace)?;
        let class = Class::held(scene).await?;
        Disk::publish(scene, "first", Fault::default()).await?;
        let first = create(scene, "first", &class.name).await?;
        until::probed("the driver holds the volume", SOON, async || Ok((hold.waiting() > 0).then_some(()))).await?;
        let (second, disk) = make_again(scene, &class.name).await?;
        drop(hold);
        let outcome = judge_again(scene, &first, &second, &disk).await;
        class.delete().await?;
        outcome
    })
    .await;
}

#[tokio::test]
async fn made_again_while_the_worker_fills() {
    scenario("again", async |scene| {
        let class = bed::variable("STORAGE_CLASS_IMMEDIATE")?;
        let stalled = Disk::publish(scene, "first", Fault::stalling()).await?;
        let first = create(scene, "first", &class).await?;
        stalled.server.until_held(&stalled.published.path, SOON).await?;
        let former = first.traces(&scene.bed).await?.volumes;
        ensure!(former.len() == 1, "the claim that is filled has the volumes {former:?}");
        let (second, disk) = make_again(scene, &class).await?;
        judge_again(scene, &first, &second, &disk).await?;
        let volumes = second.traces(&scene.bed).await?.volumes;
        ensure!(volumes != former, "the claim has the volume {former:?} of the earlier one");
        Ok(())
    })
    .await;
}

/// Deletes the claim and makes it again under its name at once, from another image.
async fn make_again(scene: &Scene, class: &str) -> Result<(Remembered, Disk)> {
    let disk = Disk::publish(scene, "second", Fault::default()).await?;
    scene.delete::<PersistentVolumeClaim>("claim", GONE).await?;
    Ok((create(scene, "second", class).await?, disk.of_claim("claim")))
}

/// The second claim has its own disk, and of the first nothing is left.
async fn judge_again(scene: &Scene, first: &Remembered, second: &Remembered, disk: &Disk) -> Result<()> {
    first.until_gone(&scene.bed, GONE).await.context("the earlier claim")?;
    disk.judge(scene).await?;
    second.until_settled(&scene.bed, GONE).await?;
    first.until_gone(&scene.bed, Duration::ZERO).await.context("the earlier claim, once more")
}

async fn create(scene: &Scene, image: &str, class: &str) -> Result<Remembered> {
    Remembered::new(&scene.create(&objects::claim_of("claim", image, "64Mi", Mode::Filesystem, class)?).await?)
}

#[tokio::test]
async fn bound_elsewhere_while_the_worker_fills() {
    scenario("elsewhere", async |scene| {
        let outcome = bound_elsewhere(scene).await;
        // A volume that was made by hand outlives its claim, but not the test.
        Api::<PersistentVolume>::all(scene.bed.client.clone())
            .delete_collection(&DeleteParams::default(), &of_test(scene))
            .await?;
        outcome
    })
    .await;
}

async fn bound_elsewhere(scene: &Scene) -> Result<()> {
    let disk = Disk::publish(scene, "image", Fault::stalling()).await?;
    let claim = create(scene, "image", &bed::variable("STORAGE_CLASS_IMMEDIATE")?).await?;
    disk.server.until_held(&disk.published.path, SOON).await?;
    let foreign = format!("{}-by-hand", scene.namespace);
    let claims = scene.api::<PersistentVolumeClaim>();
    let patch = Patch::Merge(json!({"spec": {"volumeName": foreign}}));
    claims.patch("claim", &PatchParams::default(), &patch).await.context("cannot name a volume in the claim")?;
    let volumes = Api::<PersistentVolume>::all(scene.bed.client.clone());
    volumes.create(&PostParams::default(), &volume_by_hand(scene, &foreign)?).await?;
    until::holds(&claims, "claim", "is bound", GONE, objects::is_bound).await?;

    // The source stalls still, and nothing waits for it. What was bound by hand is the claim's one volume.
    until::probed("only the volume that was bound by hand is left", GONE, async || {
        let traces = claim.traces(&scene.bed).await?;
        let alone = traces.prime.is_none() && traces.worker.is_none() && traces.disks.is_empty();
        ensure!(alone && traces.volumes == [foreign.as_str()], "there are {traces:?}");
        Ok(Some(()))
    })
    .await?;
    let syncs = scene.api::<VMDiskSync>().list(&ListParams::default()).await?;
    let phases: Vec<_> = syncs.iter().map(|sync| sync.status.as_ref().and_then(|status| status.phase)).collect();
    ensure!(phases == [Some(SyncPhase::Cancelled)], "the syncs of the claim are {phases:?}");
    let warning = event(scene, &claim, "BoundElsewhere").await?;
    ensure!(warning.type_.as_deref() == Some("Warning"), "it is no warning: {warning:?}");
    let message = warning.message.unwrap_or_default();
    ensure!(message.contains(&foreign), "the warning does not name the volume: {message}");
    Ok(())
}

fn of_test(scene: &Scene) -> ListParams {
    ListParams::default().labels(&format!("made-by-hand-in={}", scene.namespace))
}

/// A volume that somebody made by hand, and that fits the claim.
fn volume_by_hand(scene: &Scene, name: &str) -> Result<PersistentVolume> {
    let volume = json!({
        "metadata": {"name": name, "labels": {"made-by-hand-in": scene.namespace}},
        "spec": {
            "capacity": {"storage": "64Mi"},
            "accessModes": ["ReadWriteOnce"],
            "volumeMode": "Filesystem",
            "storageClassName": bed::variable("STORAGE_CLASS_IMMEDIATE")?,
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": "/nonexistent"},
            // No other test's claim may take it.
            "claimRef": {"namespace": scene.namespace, "name": "claim"},
        },
    });
    serde_json::from_value(volume).context("a volume")
}

#[tokio::test]
async fn a_name_as_long_as_can_be() {
    scenario("long", async |scene| {
        let name = format!("{}.{}", "long".repeat(50), "name".repeat(13));
        ensure!(name.len() == 253, "the name has {} characters", name.len());
        let claim = scene.create(&objects::claim(&name, "image", "64Mi", Mode::Filesystem)?).await?;
        let claim = Remembered::new(&claim)?;
        let said = event(scene, &claim, "PopulatorDataSourceNotFound").await?;
        ensure!(said.type_.as_deref() == Some("Warning"), "it is no warning: {said:?}");
        let disk = Disk::publish(scene, "image", Fault::default()).await?.of_claim(&name);
        disk.judge(scene).await?;
        claim.until_settled(&scene.bed, GONE).await?;
        let said = event(scene, &claim, "PopulatorFinished").await?;
        ensure!(said.type_.as_deref() == Some("Normal"), "it is no good news: {said:?}");
        scene.delete::<PersistentVolumeClaim>(&name, GONE).await?;
        claim.until_gone(&scene.bed, GONE).await
    })
    .await;
}

/// Waits for an event on the claim.
async fn event(scene: &Scene, claim: &Remembered, reason: &str) -> Result<Event> {
    let which = ListParams::default().fields(&format!("involvedObject.uid={},reason={reason}", claim.uid));
    until::probed(&format!("there is an event {reason}"), GONE, async || {
        Ok(scene.api::<Event>().list(&which).await?.items.pop())
    })
    .await
}
