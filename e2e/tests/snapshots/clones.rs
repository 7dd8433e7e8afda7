//! Claims from claims.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::machine::Storage;
use vmdisk_e2e::testing::class::Class;
use vmdisk_e2e::testing::objects::{self, Mode, is_bound};
use vmdisk_e2e::testing::{Scene, bed, scenario, shell, until};

use crate::source::{self, DEADLINE, SOURCE};

#[tokio::test]
async fn a_file_system_in_use_is_cloned() {
    scenario("clone", async |scene| clones(scene, Mode::Filesystem).await).await;
}

#[tokio::test]
async fn a_block_device_in_use_is_cloned() {
    scenario("clone", async |scene| clones(scene, Mode::Block).await).await;
}

#[tokio::test]
async fn clones_of_one_xfs_are_used_by_one_pod() {
    scenario("clone", async |scene| {
        let class = Class::create(scene, "STORAGE_CLASS_WFFC", &[("csi.storage.k8s.io/fstype", "xfs")]).await?;
        let outcome = beside_each_other(scene, &class.name).await;
        class.delete().await?;
        outcome
    })
    .await;
}

#[tokio::test]
async fn the_class_of_clones_says_so() {
    scenario("clone", async |scene| {
        let classes = Api::<StorageClass>::all(scene.bed.client.clone());
        let class = classes.get(&bed::variable("CLONE_CLASS")?).await?;
        let strategy = class.metadata.annotations.unwrap_or_default().remove("cdi.kubevirt.io/clone-strategy");
        ensure!(strategy.as_deref() == Some("csi-clone"), "found {strategy:?}");
        Ok(())
    })
    .await;
}

/// A clone is another volume, with the bytes that the source had.
async fn clones(scene: &Scene, mode: Mode) -> Result<()> {
    let class = bed::variable("CLONE_CLASS")?;
    let written = source::in_use(scene, "64Mi", mode, &class).await?;
    scene.create(&objects::cloned_claim("clone", SOURCE, "64Mi", mode, &class)).await?;
    let claims = scene.api::<PersistentVolumeClaim>();
    until::holds(&claims, "clone", "is bound", DEADLINE, is_bound).await?;
    let later = source::write(scene, mode).await?;
    let (clone, now) = (source::read(scene, "clone", mode).await?, source::read(scene, SOURCE, mode).await?);
    ensure!(clone == written && clone.len() > 64, "written {written:?}, the clone has {clone:?}");
    ensure!(now == later && now != written, "written later {later:?}, the source has {now:?}");

    let storage = Storage::read(&Instance::current()?)?;
    let volumes = storage.of_namespace(&scene.namespace);
    let of = |claim: &str| volumes.iter().find(|volume| volume.claim == claim).context("the claim has a volume");
    ensure!(of("clone")?.source.volume == of(SOURCE)?.id, "found {:?} in {volumes:?}", of("clone")?.source);
    Ok(())
}

async fn beside_each_other(scene: &Scene, class: &str) -> Result<()> {
    let mode = Mode::Filesystem;
    let written = source::in_use(scene, "320Mi", mode, class).await?;
    let names = [SOURCE, "one", "two", "three"];
    for name in &names[1..] {
        scene.create(&objects::cloned_claim(name, SOURCE, "320Mi", mode, class)).await?;
    }
    let script = names.map(|name| format!("sha256sum <{}", shell::disk(name, mode))).join("; ");
    let read = shell::run(scene, &names.map(|name| (name, mode)), &script, DEADLINE).await?;
    ensure!(read == written.repeat(names.len()), "written {written:?}, read {read:?}");
    Ok(())
}
