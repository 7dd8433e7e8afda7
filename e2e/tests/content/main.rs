//! What users get: every source, every form of image and both volume modes, read back by a pod that knows nothing of us.
//!
//! Not each with each: what a source brings is decoded without knowing whence, and written without knowing of what form.
//! So every form comes once over HTTP, every source brings a disk image and one that is wrapped, and all of that in both
//! modes. A row that fails names itself, and does not hide the others.

mod claims;
mod credentials;
mod disk;
mod sources;

use anyhow::Result;
use populator_crd::VMDiskImage;
use vmdisk_e2e::testing::files;
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::{Scene, scenario};

use claims::{Row, fill};
use disk::{FORMS, QCOW2, RAW_GZ};

#[tokio::test]
async fn every_form_fills_file_systems() {
    scenario("content", async |scene| every_form(scene, &[Mode::Filesystem]).await).await;
}

#[tokio::test]
async fn every_form_fills_devices() {
    scenario("content", async |scene| every_form(scene, &[Mode::Block]).await).await;
}

async fn every_form(scene: &Scene, modes: &'static [Mode]) -> Result<()> {
    let work = tempfile::tempdir()?;
    let mut rows = Vec::new();
    for (form, seed) in FORMS.iter().zip(1..) {
        let image = disk::make(work.path(), *form, seed)?;
        // The form is found by content: the name says nothing of it.
        let published = files::publish_file(scene, &format!("disk-{seed}"), &image.file)?;
        rows.push(Row { image: objects::image(form.name, &published.url), expected: image.expected, modes });
    }
    fill(scene, rows).await
}

#[tokio::test]
async fn every_source_fills_file_systems() {
    scenario("content", async |scene| every_source(scene, &[Mode::Filesystem]).await).await;
}

#[tokio::test]
async fn every_source_fills_devices() {
    scenario("content", async |scene| every_source(scene, &[Mode::Block]).await).await;
}

async fn every_source(scene: &Scene, modes: &'static [Mode]) -> Result<()> {
    let work = tempfile::tempdir()?;
    sources::prepare(scene).await?;
    let (spec, expected) = sources::blank();
    let mut rows = vec![Row { image: VMDiskImage::new("blank", spec), expected, modes }];
    for (form, seed) in [QCOW2, RAW_GZ].into_iter().zip(100..) {
        let image = disk::make(work.path(), form, seed)?;
        for (source, spec) in sources::publish(scene, &image, form.name, work.path()).await? {
            let name = format!("{source}-{}", form.name);
            rows.push(Row { image: VMDiskImage::new(&name, spec), expected: image.expected.clone(), modes });
        }
    }
    fill(scene, rows).await
}
