//! Fills claims from a table of images, and judges each by what a pod reads from it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use populator_crd::v1alpha1::LastFailure;
use populator_crd::{VMDiskImage, VMDiskSync, names};
use vmdisk_e2e::testing::objects::{self, Mode, is_bound};
use vmdisk_e2e::testing::reader::{self, Expected};
use vmdisk_e2e::testing::{Scene, until};

/// A table of claims goes through a gate of four, beside other tests.
const DEADLINE: Duration = Duration::from_mins(6);
/// How many pods read at a time.
const READERS: usize = 4;

/// Larger than every disk, so that each is grown.
const CLAIM: u64 = 64 << 20;

/// One image, and what must come of it.
pub(crate) struct Row {
    pub(crate) image: VMDiskImage,
    pub(crate) expected: Expected,
    pub(crate) modes: &'static [Mode],
}

/// Creates all images and claims at once, and judges every one of them: a row that fails does not hide the next.
pub(crate) async fn fill(scene: &Scene, rows: Vec<Row>) -> Result<()> {
    let mut claims = Vec::new();
    for row in &rows {
        let image = row.image.metadata.name.as_deref().context("an image has a name")?;
        scene.create(&row.image).await?;
        for mode in row.modes {
            let claim = format!("{image}-{}", mode.as_str().to_lowercase());
            scene.create(&objects::claim(&claim, image, &CLAIM.to_string(), *mode)?).await?;
            claims.push((claim, *mode, &row.expected));
        }
    }
    let failures: Vec<String> = stream::iter(claims)
        .map(|(claim, mode, expected)| async move {
            let judged = judge(scene, &claim, mode, expected).await;
            judged.err().map(|error| format!("{claim}: {error:#}"))
        })
        .buffer_unordered(READERS)
        .filter_map(std::future::ready)
        .collect()
        .await;
    ensure!(failures.is_empty(), "{} claims are wrong:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

async fn judge(scene: &Scene, claim: &str, mode: Mode, expected: &Expected) -> Result<()> {
    let found = reader::holds(scene, claim, mode, expected, DEADLINE).await?;
    match mode {
        Mode::Filesystem => {
            ensure!(found.files == ["disk.img"], "there is more than the disk: {:?}", found.files);
            ensure!(found.owner == "107:107:660", "the disk's owner and mode are {}", found.owner);
            ensure!(found.bytes.is_multiple_of(1 << 20), "{} bytes are not whole MiB", found.bytes);
            // 6 % are left to the file system, whose own books have changed a little since the disk was sized.
            let grown = found.room * 100 / 106;
            ensure!(found.bytes.abs_diff(grown) <= 2 << 20, "{} bytes where there is room for {grown}", found.bytes);
        }
        Mode::Block => ensure!(found.bytes == CLAIM, "the device has {} bytes", found.bytes),
    }
    Ok(())
}

/// Waits until the first attempt for an image that must not be taken has failed, and gives its message.
pub(crate) async fn refusal(scene: &Scene, image: &VMDiskImage) -> Result<LastFailure> {
    let name = image.metadata.name.as_deref().context("an image has a name")?;
    scene.create(image).await?;
    let claim = scene.create(&objects::claim(name, name, &CLAIM.to_string(), Mode::Filesystem)?).await?;
    let sync = names::sync(name, claim.metadata.uid.as_deref().context("a created claim has a UID")?);
    let failed = |sync: &VMDiskSync| sync.status.as_ref().is_some_and(|status| status.last_failure.is_some());
    let sync = until::holds(&scene.api(), &sync, "has failed", DEADLINE, failed).await?;
    ensure!(!is_bound(&scene.api::<PersistentVolumeClaim>().get(name).await?), "{name} is bound all the same");
    sync.status.and_then(|status| status.last_failure).context("a failed sync says how")
}
