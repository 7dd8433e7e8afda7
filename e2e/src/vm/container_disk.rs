//! A containerDisk: an OCI image whose one layer holds the disk below `/disk`, owned by QEMU's user.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::digest;
use super::pod::QEMU_UID;
use crate::command::cmd;

/// An image in a directory of the OCI image layout.
pub struct ContainerDisk {
    layout: PathBuf,
    /// The manifest's digest, `sha256:…`.
    pub digest: String,
    /// The digest of the layer that holds the disk.
    pub layer: String,
}

/// How a layer is compressed.
pub struct Packing {
    /// A program and its arguments: it replaces the file that is named last.
    command: &'static [&'static str],
    /// What it adds to the file's name.
    suffix: &'static str,
    /// What is added to the media type of a tar.
    media_type: &'static str,
}

impl Packing {
    /// For tests: a disk image is compressed in vain or at once. Without name and time, the same disk is the same layer.
    pub const QUICK: Self = Self { command: &["gzip", "-1", "-n"], suffix: "gz", media_type: "gzip" };
    /// As container tools pack: at gzip's default level, in parallel, as one member.
    pub const GZIP: Self = Self { command: &["pigz", "-6", "-n"], suffix: "gz", media_type: "gzip" };
    /// One frame, at zstd's default level.
    pub const ZSTD: Self = Self { command: &["zstd", "-q", "-3", "--rm"], suffix: "zst", media_type: "zstd" };
}

/// Packs the disk at `disk` into a new OCI image layout at `layout`, as quickly as can be.
///
/// # Errors
/// When a tool or the file system fails.
pub fn pack(disk: &Path, layout: &Path) -> Result<ContainerDisk> {
    pack_with(disk, layout, &Packing::QUICK)
}

/// As [`pack`], compressed as `packing` has it.
///
/// # Errors
/// When a tool or the file system fails.
pub fn pack_with(disk: &Path, layout: &Path, packing: &Packing) -> Result<ContainerDisk> {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).with_context(|| format!("cannot create {}", blobs.display()))?;

    let tar = layout.join("layer.tar");
    archive(disk, &tar)?;
    let diff_id = sha256(&tar)?;
    let (program, arguments) = packing.command.split_first().context("a packing has a program")?;
    cmd(program).args(arguments).arg(&tar).run()?;
    let layer = adopt(&blobs, &layout.join(format!("layer.tar.{}", packing.suffix)))?;

    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{diff_id}")]},
    });
    let config = document(&blobs, &config)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": [layer.descriptor(&format!("application/vnd.oci.image.layer.v1.tar+{}", packing.media_type))],
    });
    let manifest = document(&blobs, &manifest)?;
    let index = json!({
        "schemaVersion": 2,
        "manifests": [manifest.descriptor("application/vnd.oci.image.manifest.v1+json")],
    });
    write(&layout.join("index.json"), &index)?;
    write(&layout.join("oci-layout"), &json!({"imageLayoutVersion": "1.0.0"}))?;
    let digest = |blob: &Blob| format!("sha256:{}", blob.sha256);
    Ok(ContainerDisk { layout: layout.to_owned(), digest: digest(&manifest), layer: digest(&layer) })
}

impl ContainerDisk {
    /// Pushes the image to `reference` (`host:port/repository:tag`), whose registry has a certificate from `ca`.
    ///
    /// # Errors
    /// When the registry refuses it.
    pub fn push(&self, reference: &str, ca: &Path) -> Result<()> {
        let certificates = tempfile::tempdir().context("cannot make a scratch directory")?;
        fs::copy(ca, certificates.path().join("ca.crt")).with_context(|| format!("cannot copy {}", ca.display()))?;
        cmd("skopeo")
            // What this process has just made needs no signature.
            .args(["--insecure-policy", "copy", "--quiet", "--preserve-digests", "--dest-cert-dir"])
            .arg(certificates.path())
            .arg(format!("oci:{}", self.layout.display()))
            .arg(format!("docker://{reference}"))
            .run()
    }
}

/// A tar with the disk as KubeVirt's documentation has it: readable by QEMU's user, in `/disk`.
fn archive(disk: &Path, tar: &Path) -> Result<()> {
    let name = disk.file_name().context("a disk has a file name")?;
    let parent = disk.parent().context("a disk lies in a directory")?;
    cmd("tar")
        .args(["--create", "--format=pax", "--mtime=@0", "--pax-option=delete=atime,delete=ctime"])
        .args(["--numeric-owner", "--mode=0440", "--transform=s,^,disk/,"])
        .args([format!("--owner=:{QEMU_UID}"), format!("--group=:{QEMU_UID}")])
        .arg("--file")
        .arg(tar)
        .arg("--directory")
        .arg(parent)
        .arg(name)
        .run()
}

/// A blob of the layout.
struct Blob {
    sha256: String,
    size: u64,
}

impl Blob {
    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": format!("sha256:{}", self.sha256), "size": self.size})
    }
}

/// Moves a finished file to the blobs, under the name of its digest.
fn adopt(blobs: &Path, file: &Path) -> Result<Blob> {
    let sha256 = sha256(file)?;
    let size = fs::metadata(file).with_context(|| format!("cannot read the size of {}", file.display()))?.len();
    fs::rename(file, blobs.join(&sha256)).with_context(|| format!("cannot move {} to the blobs", file.display()))?;
    Ok(Blob { sha256, size })
}

fn document(blobs: &Path, value: &Value) -> Result<Blob> {
    let file = blobs.join("document.partial");
    write(&file, value)?;
    adopt(blobs, &file)
}

fn write(path: &Path, value: &Value) -> Result<()> {
    fs::write(path, value.to_string()).with_context(|| format!("cannot write {}", path.display()))
}

fn sha256(path: &Path) -> Result<String> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    digest::copy(file, io::sink()).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
#[path = "container_disk_tests.rs"]
mod tests;
