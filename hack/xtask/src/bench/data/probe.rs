//! What the worker proves, found out by lying to it: a stage counts for the floor only if the worker does it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use vmdisk_e2e::vm::container_disk;
use vmdisk_wire::{ExitClass, Report};

use super::images;
use super::rows::Disk;
use super::runner::{Bench, Runner};

/// A configuration's digest of a layer that no layer has.
const LIE: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// Whether the worker compares the unpacked layer with the image's configuration (`rootfs.diff_ids` of the OCI image
/// specification), which is a second hash over many more bytes than the first.
pub(super) fn checks_diff_ids(bench: &Bench, worker: &Path) -> Result<bool> {
    let scratch = tempfile::tempdir().context("cannot make a scratch directory")?;
    let disk = scratch.path().join("disk.img");
    fs::write(&disk, vec![7; 1 << 20]).context("cannot write a small disk")?;
    let layout = scratch.path().join("layout");
    container_disk::pack(&disk, &layout)?;
    let manifest = lie(&layout)?;
    let (url, _) = bench.source.repository("probe", &layout.join("blobs"), &manifest)?;

    let runner = Runner::new(bench, Disk::Standard)?;
    let mut command = runner.command(worker);
    command.args(["fetch", "--json", "--url", &url, "--output"]).arg(runner.scratch("disk.img"));
    let output = command.output().context("cannot start the worker")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    match Report::parse(&printed).map(|report| report.class) {
        Some(ExitClass::Done) => Ok(false),
        Some(ExitClass::VerificationFailed) => Ok(true),
        _ => bail!("the worker was asked for a small containerDisk and said: {printed} {:?}", output.stderr),
    }
}

/// Puts the lie into a layout's configuration, and gives the path of the manifest that leads to it, below `blobs`.
fn lie(layout: &Path) -> Result<PathBuf> {
    let blobs = layout.join("blobs");
    let index = images::document(&layout.join("index.json"))?;
    let mut manifest = images::document(&blobs.join(images::blob(&index, "/manifests/0/digest")?))?;
    let mut config = images::document(&blobs.join(images::blob(&manifest, "/config/digest")?))?;
    replace(&mut config, "/rootfs/diff_ids/0", json!(LIE))?;
    let (path, size) = store(&blobs, &config)?;
    replace(&mut manifest, "/config/digest", json!(path.display().to_string().replace('/', ":")))?;
    replace(&mut manifest, "/config/size", json!(size))?;
    store(&blobs, &manifest).map(|(path, _)| path)
}

fn replace(document: &mut Value, pointer: &str, value: Value) -> Result<()> {
    *document.pointer_mut(pointer).with_context(|| format!("the OCI document has no {pointer}"))? = value;
    Ok(())
}

/// Adds a document to the blobs. Gives its path below them, and its size.
fn store(blobs: &Path, document: &Value) -> Result<(PathBuf, usize)> {
    let (partial, text) = (blobs.join("partial"), document.to_string());
    fs::write(&partial, &text).context("cannot write a blob")?;
    let path = Path::new("sha256").join(images::sha256(&partial)?);
    fs::rename(&partial, blobs.join(&path)).context("cannot name a blob")?;
    Ok((path, text.len()))
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
