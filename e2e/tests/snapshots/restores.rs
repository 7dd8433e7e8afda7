//! Claims from snapshots.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::machine::Storage;
use vmdisk_e2e::testing::class::Class;
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::snapshots::{self, VolumeSnapshot, VolumeSnapshotContent};
use vmdisk_e2e::testing::{Scene, bed, scenario, shell, until};

use crate::source::{self, DEADLINE, SOURCE};

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn a_file_system_in_use_is_restored_into_a_larger_claim() {
    scenario("restore", async |scene| grows(scene, Mode::Filesystem, &bed::variable("STORAGE_CLASS_IMMEDIATE")?).await)
        .await;
}

#[tokio::test]
async fn a_block_device_in_use_is_restored_into_a_larger_claim() {
    scenario("restore", async |scene| grows(scene, Mode::Block, &bed::variable("STORAGE_CLASS_IMMEDIATE")?).await)
        .await;
}

#[tokio::test]
async fn a_claim_from_a_snapshot_waits_for_its_consumer() {
    scenario("restore", async |scene| grows(scene, Mode::Filesystem, &bed::variable("STORAGE_CLASS_WFFC")?).await)
        .await;
}

#[tokio::test]
async fn a_shared_file_system_is_restored() {
    scenario("restore", async |scene| grows(scene, Mode::Filesystem, &bed::variable("STORAGE_CLASS_SHARED")?).await)
        .await;
}

#[tokio::test]
async fn an_xfs_is_restored_into_a_larger_claim() {
    scenario("restore", async |scene| {
        let class = Class::immediate(scene, &[("csi.storage.k8s.io/fstype", "xfs")]).await?;
        let outcome = grows(scene, Mode::Filesystem, &class.name).await;
        class.delete().await?;
        outcome
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_that_is_deleted_leaves_nothing_and_its_copy_alone() {
    scenario("restore", async |scene| {
        let mode = Mode::Filesystem;
        let class = bed::variable("STORAGE_CLASS_IMMEDIATE")?;
        let written = source::in_use(scene, "64Mi", mode, &class).await?;
        let snapshot = snapshots::take(scene, &VolumeSnapshot::of_claim("snapshot", SOURCE)?, DEADLINE).await?;
        let content = snapshot.content(&scene.bed).await?.metadata.name.context("a content has a name")?;
        scene.create(&objects::restored_claim("restored", "snapshot", "64Mi", mode, &class)).await?;
        let bound = objects::is_bound;
        let claims = scene.api::<PersistentVolumeClaim>();
        let restored = until::holds(&claims, "restored", "is bound", DEADLINE, bound).await?;
        let instance = Instance::current()?;
        ensure!(Storage::read(&instance)?.snapshots_of_namespace(&scene.namespace).len() == 1, "there is one snapshot");

        scene.delete::<VolumeSnapshot>("snapshot", DEADLINE).await?;
        until::gone(&Api::<VolumeSnapshotContent>::all(scene.bed.client.clone()), &content, DEADLINE).await?;
        let storage = Storage::read(&instance)?;
        let left = storage.snapshots_of_namespace(&scene.namespace);
        ensure!(left.is_empty(), "the driver still has {left:?}");
        ensure!(source::read(scene, "restored", mode).await? == written, "the copy has other bytes");

        scene.delete::<PersistentVolumeClaim>("restored", DEADLINE).await?;
        let volume = restored.spec.and_then(|spec| spec.volume_name).context("a bound claim has a volume")?;
        until::gone(&Api::<PersistentVolume>::all(scene.bed.client.clone()), &volume, DEADLINE).await?;
        let storage = Storage::read(&instance)?;
        let left = storage.of_namespace(&scene.namespace);
        ensure!(left.len() == 1, "beside the source, the driver still has volumes: {left:?}");
        storage.assert_clean()
    })
    .await;
}

/// What a pod wrote before the snapshot is in the restored claim, and nothing of what it wrote after; and the claim has
/// the room that it asked for.
async fn grows(scene: &Scene, mode: Mode, class: &str) -> Result<()> {
    let written = source::in_use(scene, "320Mi", mode, class).await?;
    snapshots::take(scene, &VolumeSnapshot::of_claim("snapshot", SOURCE)?, DEADLINE).await?;
    let later = source::write(scene, mode).await?;

    scene.create(&objects::restored_claim("restored", "snapshot", "640Mi", mode, class)).await?;
    let (restored, room) = find(scene, "restored", mode).await?;
    ensure!(restored == written && restored.len() > 64, "written {written:?}, restored {restored:?}");
    ensure!(room > 512 * MIB && room <= 640 * MIB, "the claim asks for 640Mi and has {room} bytes");
    let now = source::read(scene, SOURCE, mode).await?;
    ensure!(now == later && now != written, "written later {later:?}, the source has {now:?}");
    Ok(())
}

/// The digest of what a claim holds, and how much its file system, or device, can take.
async fn find(scene: &Scene, claim: &str, mode: Mode) -> Result<(String, u64)> {
    let disk = shell::disk(claim, mode);
    let room = match mode {
        Mode::Filesystem => format!("echo $(($(stat -f -c '%b * %S' {})))", shell::directory(claim)),
        Mode::Block => format!("cat {disk} | wc -c"),
    };
    let script = format!("{room}; {}", source::digest(&disk));
    let printed = shell::run(scene, &[(claim, mode)], &script, DEADLINE).await?;
    let (room, digest) = printed.split_once('\n').with_context(|| format!("the script printed {printed:?}"))?;
    Ok((digest.to_owned(), room.parse().with_context(|| format!("the script printed {printed:?}"))?))
}
