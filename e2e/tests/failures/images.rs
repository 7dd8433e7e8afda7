//! Images that do not fit, are damaged, or were made to mislead.

use std::path::Path;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use kube::api::{Patch, PatchParams};
use populator_crd::VMDiskImage;
use populator_crd::v1alpha1::{DiskFormat, FailureClass};
use serde_json::json;
use vmdisk_e2e::command::cmd;
use vmdisk_e2e::testing::files::{self, Server};
use vmdisk_e2e::testing::{objects, scenario};

use crate::judge::{Told, fails, heals, raw, start_again, warned};

#[tokio::test]
async fn an_image_larger_than_the_claim_is_refused_before_its_download() {
    scenario("failures", async |scene| {
        // So large that what the sockets' buffers take in before the worker hangs up is nothing beside it.
        let disk = files::place(scene, "disk.img")?;
        std::fs::File::create(&disk.file)?.set_len(16 << 30)?;
        let told = Told {
            class: FailureClass::Final,
            reason: "DoesNotFit",
            event: "DoesNotFit",
            names: &["16Gi", "request at least"],
        };
        fails(scene, objects::image("claim", &disk.url), &told).await?;
        let count = Server::files()?.count(&disk.path).await?;
        ensure!(count.bytes < 256 << 20, "{} bytes were fetched of a disk that does not fit", count.bytes);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_unpacks_to_more_than_the_claim_is_refused_when_it_does() {
    scenario("failures", async |scene| {
        let dir = tempfile::tempdir()?;
        let disk = dir.path().join("disk.img");
        std::fs::write(&disk, raw(128 << 20))?;
        cmd("gzip").arg("-1").arg(&disk).run()?;
        let packed = files::publish_file(scene, "disk.img.gz", &dir.path().join("disk.img.gz"))?;
        let told = Told {
            class: FailureClass::Final,
            reason: "DoesNotFit",
            event: "DoesNotFit",
            names: &["the disk has at least", "the volume offers", "request at least"],
        };
        fails(scene, objects::image("claim", &packed.url), &told).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn what_an_inspector_refuses_is_final() {
    scenario("failures", async |scene| {
        let dir = tempfile::tempdir()?;
        let path = |name: &str| dir.path().join(name);
        qemu_img(dir.path(), &["create", "-q", "-f", "qcow2", "base.qcow2", "1M"])?;
        qemu_img(dir.path(), &["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base.qcow2", "top.qcow2"])?;
        // A disk that is an image itself: the next reader would probe it.
        qemu_img(dir.path(), &["convert", "-f", "raw", "-O", "qcow2", "base.qcow2", "nested.qcow2"])?;
        std::fs::write(path("raw.img"), raw(1 << 20))?;
        qemu_img(dir.path(), &["convert", "-f", "raw", "-O", "qcow2", "raw.img", "whole.qcow2"])?;
        let whole = std::fs::read(path("whole.qcow2"))?;
        let cases = [
            ("qcow2", damaged(b"QFI\xfb\0\0\0\x63"), None, "BadHeader", ["qcow2 version: found 99", "qemu-img check"]),
            (
                "vmdk",
                damaged(b"KDMV\x63\0\0\0"),
                None,
                "UnsupportedFormat",
                ["vmdk version: found 99", "qemu-img convert"],
            ),
            ("vhdx", damaged(b"vhdxfile"), None, "Corrupt", ["vhdx Header.Checksum", "upload it again"]),
            ("cut", whole[..whole.len() / 2].to_vec(), None, "Truncated", ["qcow2", "the upload was cut short"]),
            ("backing", std::fs::read(path("top.qcow2"))?, None, "BackingFile", ["base.qcow2", "flatten it"]),
            ("nested", std::fs::read(path("nested.qcow2"))?, None, "NestedImage", ["qcow2", "convert"]),
            ("misnamed", whole, Some(DiskFormat::Raw), "FormatMismatch", ["qcow2", "correct the declared format"]),
            (
                "page",
                b"<!DOCTYPE html><html>Please log in</html>".to_vec(),
                None,
                "NotADisk",
                ["image", "check that the URL"],
            ),
            ("empty", Vec::new(), None, "Empty", ["image", "upload an image"]),
        ];
        try_join_all(cases.iter().map(async |(name, bytes, format, reason, names)| {
            let disk = files::publish(scene, name, bytes)?;
            let mut image = objects::image(name, &disk.url);
            image.spec.format = format.unwrap_or_default();
            let told = Told { class: FailureClass::Final, reason, event: "ImageRefused", names };
            fails(scene, image, &told).await
        }))
        .await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_is_final_starts_again_when_image_or_person_ask_for_it() {
    scenario("failures", async |scene| {
        let told = Told { class: FailureClass::Final, reason: "BadHeader", event: "ImageRefused", names: &["qcow2"] };
        let disk = raw(1 << 20);
        let malformed = files::publish(scene, "malformed", &damaged(b"QFI\xfb\0\0\0\x63"))?;
        let good = files::publish(scene, "good", &disk)?;
        let moved = async {
            fails(scene, objects::image("moved", &malformed.url), &told).await?;
            let patch = Patch::Merge(json!({"spec": {"url": good.url}}));
            scene.api::<VMDiskImage>().patch("moved", &PatchParams::default(), &patch).await?;
            heals(scene, "moved", &disk).await
        };
        let mended = async {
            let place = files::publish(scene, "mended", &damaged(b"QFI\xfb\0\0\0\x63"))?;
            fails(scene, objects::image("mended", &place.url), &told).await?;
            warned(scene, "mended", told.event, &["delete the VMDiskSync to try again as it is"]).await?;
            files::publish(scene, "mended", &disk)?;
            start_again(scene, "mended").await?;
            heals(scene, "mended", &disk).await
        };
        tokio::try_join!(moved, mended)?;
        Ok(())
    })
    .await;
}

/// An image with this beginning, and nothing sensible behind it.
fn damaged(beginning: &[u8]) -> Vec<u8> {
    let mut bytes = raw(1 << 20);
    bytes[..beginning.len()].copy_from_slice(beginning);
    bytes
}

fn qemu_img(dir: &Path, arguments: &[&str]) -> Result<()> {
    cmd("qemu-img").dir(dir).args(arguments).run()
}
