//! The ground that all other tests stand on: what one pod writes to a volume of the cluster, another pod reads.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::machine::Storage;
use vmdisk_e2e::testing::objects::{self, Mode, is_bound};
use vmdisk_e2e::testing::{Scene, bed, scenario, shell, until};

const DEADLINE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_file_system_that_binds_at_once() {
    scenario("volume", async |scene| keeps(scene, "STORAGE_CLASS_IMMEDIATE", Mode::Filesystem).await).await;
}

#[tokio::test]
async fn a_file_system_that_waits_for_its_consumer() {
    scenario("volume", async |scene| keeps(scene, "STORAGE_CLASS_WFFC", Mode::Filesystem).await).await;
}

#[tokio::test]
async fn a_block_device_that_binds_at_once() {
    scenario("volume", async |scene| keeps(scene, "STORAGE_CLASS_IMMEDIATE", Mode::Block).await).await;
}

#[tokio::test]
async fn a_block_device_that_waits_for_its_consumer() {
    scenario("volume", async |scene| keeps(scene, "STORAGE_CLASS_WFFC", Mode::Block).await).await;
}

#[tokio::test]
async fn a_volume_that_is_deleted_leaves_nothing_on_the_machine() {
    scenario("volume", async |scene| {
        keeps(scene, "STORAGE_CLASS_IMMEDIATE", Mode::Filesystem).await?;
        let claim = scene.api::<PersistentVolumeClaim>().get("data").await?;
        let volume = claim.spec.and_then(|spec| spec.volume_name).context("the claim is bound")?;
        scene.delete::<PersistentVolumeClaim>("data", DEADLINE).await?;
        until::gone(&Api::<PersistentVolume>::all(scene.bed.client.clone()), &volume, DEADLINE).await?;
        let storage = Storage::read(&Instance::current()?)?;
        ensure!(storage.of_namespace(&scene.namespace).is_empty(), "the driver still has volumes: {storage:?}");
        storage.assert_clean()
    })
    .await;
}

/// Writes random bytes to a new volume, and reads them from another pod.
async fn keeps(scene: &Scene, class: &str, mode: Mode) -> Result<()> {
    scene.create(&objects::empty_claim("data", "64Mi", mode, &bed::variable(class)?)).await?;
    let disk = shell::disk("data", mode);
    // The writer names the digest of what it wrote, so that the reader's must be of the same bytes.
    let script = format!(
        "head -c 8M /dev/urandom >/tmp/bytes; dd if=/tmp/bytes of={disk} bs=1M conv=fsync,notrunc 2>/dev/null; \
         sha256sum </tmp/bytes"
    );
    let written = shell::run(scene, &[("data", mode)], &script, DEADLINE).await?;
    until::holds(&scene.api::<PersistentVolumeClaim>(), "data", "is bound", DEADLINE, is_bound).await?;
    let read = shell::run(scene, &[("data", mode)], &format!("head -c 8M {disk} | sha256sum"), DEADLINE).await?;
    ensure!(written.len() > 64 && read == written, "written {written:?}, read {read:?}");
    Ok(())
}
