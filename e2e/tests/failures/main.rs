//! What goes wrong with a source, and what the user is told: the right class, a reason in one word, and a message that
//! says what to do.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams};
use populator_crd::v1alpha1::{FailureClass, LastFailure, SyncPhase};
use populator_crd::{VMDiskImage, VMDiskSync};
use vmdisk_e2e::command::cmd;
use vmdisk_e2e::servers::{Auth, Fault};
use vmdisk_e2e::testing::files::{self, Server};
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::{Scene, scenario, until};

const SOON: Duration = Duration::from_mins(2);

/// Content that looks like no disk format.
fn raw(bytes: usize) -> Vec<u8> {
    vec![7; bytes]
}

#[tokio::test]
async fn a_missing_source_is_asked_for_again_and_heals_when_the_sync_is_deleted() {
    scenario("failures", async |scene| {
        let place = files::place(scene, "disk.img")?;
        let failure = failure_of(scene, objects::image("image", &place.url)).await?;
        told(&failure, FailureClass::SourceMissing, &["404"])?;
        files::publish(scene, "disk.img", &raw(1 << 20))?;
        // Deleting the record is how a person says "now".
        let sync = sync(scene).await?.context("there is a sync")?.name_any();
        scene.api::<VMDiskSync>().delete(&sync, &DeleteParams::default()).await?;
        until::holds(&scene.api::<PersistentVolumeClaim>(), "claim", "is bound", SOON, objects::is_bound).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn refused_credentials_are_denied() {
    scenario("failures", async |scene| {
        let disk = files::publish(scene, "disk.img", &raw(1 << 20))?;
        let auth = Auth::Basic { username: "user".to_owned(), password: "right".to_owned() };
        Server::files()?.set(&disk.path, &Fault { auth: Some(auth), ..Fault::default() }).await?;
        scene.create(&objects::secret("credentials", &[("username", "user"), ("password", "wrong")])).await?;
        let mut image = objects::image("image", &disk.url);
        image.spec.secret_ref = Some("credentials".to_owned());
        let failure = failure_of(scene, image).await?;
        told(&failure, FailureClass::Denied, &["401"])?;
        ensure!(!failure.message.contains("wrong"), "the message holds the password: {}", failure.message);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_missing_secret_is_denied() {
    scenario("failures", async |scene| {
        let disk = files::publish(scene, "disk.img", &raw(1 << 20))?;
        let mut image = objects::image("image", &disk.url);
        image.spec.secret_ref = Some("no-such-secret".to_owned());
        let failure = failure_of(scene, image).await?;
        told(&failure, FailureClass::Denied, &["Secret", "create it"])
    })
    .await;
}

#[tokio::test]
async fn another_digest_than_expected_is_final() {
    scenario("failures", async |scene| {
        let disk = files::publish(scene, "disk.img", &raw(1 << 20))?;
        let expected = format!("sha256:{}", "0".repeat(64));
        let mut image = objects::image("image", &disk.url);
        image.spec.checksum = Some(expected.clone());
        let failure = failure_of(scene, image).await?;
        told(&failure, FailureClass::Final, &[&expected])
    })
    .await;
}

#[tokio::test]
async fn an_image_larger_than_the_claim_is_refused_before_its_download() {
    scenario("failures", async |scene| {
        // So large that what the sockets' buffers take in before the worker hangs up is nothing beside it.
        let disk = files::place(scene, "disk.img")?;
        std::fs::File::create(&disk.file)?.set_len(16 << 30)?;
        let failure = failure_of(scene, objects::image("image", &disk.url)).await?;
        told(&failure, FailureClass::Final, &["16Gi"])?;
        let count = Server::files()?.count(&disk.path).await?;
        ensure!(count.bytes < 256 << 20, "{} bytes were fetched of a disk that does not fit", count.bytes);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_malformed_qcow2_is_final() {
    scenario("failures", async |scene| {
        let mut bytes = raw(1 << 20);
        bytes[..8].copy_from_slice(b"QFI\xfb\0\0\0\x63");
        let disk = files::publish(scene, "disk.qcow2", &bytes)?;
        let failure = failure_of(scene, objects::image("image", &disk.url)).await?;
        told(&failure, FailureClass::Final, &["qcow2"])
    })
    .await;
}

#[tokio::test]
async fn a_qcow2_with_a_backing_file_is_final() {
    scenario("failures", async |scene| {
        let dir = tempfile::tempdir()?;
        let path = |name: &str| dir.path().join(name);
        cmd("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(path("base.qcow2")).arg("1M").run()?;
        let backing = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base.qcow2"];
        cmd("qemu-img").dir(dir.path()).args(backing).arg(path("top.qcow2")).run()?;
        let disk = files::publish_file(scene, "disk.qcow2", &path("top.qcow2"))?;
        let failure = failure_of(scene, objects::image("image", &disk.url)).await?;
        told(&failure, FailureClass::Final, &["backing"])
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_busy_is_asked_again() {
    scenario("failures", async |scene| {
        let disk = files::publish(scene, "disk.img", &raw(1 << 20))?;
        Server::files()?.set(&disk.path, &Fault { status: Some(503), ..Fault::default() }).await?;
        let failure = failure_of(scene, objects::image("image", &disk.url)).await?;
        told(&failure, FailureClass::Transient, &["503"])?;
        let phase = sync(scene).await?.and_then(|sync| sync.status).and_then(|status| status.phase);
        ensure!(phase == Some(SyncPhase::BackingOff), "the sync is {phase:?}");
        Ok(())
    })
    .await;
}

/// Creates an image and a claim of 64 MiB for it, and gives the failure that follows.
async fn failure_of(scene: &Scene, image: VMDiskImage) -> Result<LastFailure> {
    scene.create(&image).await?;
    scene.create(&objects::claim("claim", "image", "64Mi", Mode::Filesystem)?).await?;
    let failure = until::probed("the attempt fails", SOON, async || {
        Ok(sync(scene).await?.and_then(|sync| sync.status).and_then(|status| status.last_failure))
    })
    .await?;
    let claim = scene.api::<PersistentVolumeClaim>().get("claim").await?;
    ensure!(!objects::is_bound(&claim), "the claim was bound although its attempt failed");
    Ok(failure)
}

async fn sync(scene: &Scene) -> Result<Option<VMDiskSync>> {
    Ok(scene.api::<VMDiskSync>().list(&ListParams::default()).await?.items.pop())
}

/// Fails unless the failure is of this class, and its message names all of these.
fn told(failure: &LastFailure, class: FailureClass, names: &[&str]) -> Result<()> {
    ensure!(failure.class == class, "expected {class:?}: {failure:?}");
    for name in names {
        ensure!(failure.message.contains(name), "the message does not name {name}: {failure:?}");
    }
    Ok(())
}
