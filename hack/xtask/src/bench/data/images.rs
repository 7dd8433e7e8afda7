//! The images that are fetched, made once and kept in the cache: 2 GiB of disk, half of it real files, half of it holes.
//!
//! The files are the machine's own, in the order of their names; so the images differ from machine to machine, and
//! stay the same on one.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use vmdisk_e2e::cache;
use vmdisk_e2e::command::{Cmd, cmd};
use vmdisk_e2e::say::step;
use vmdisk_e2e::vm::container_disk::{self, Packing};

use super::rows::{Compression, Disk, Format, Image, STANDARD_SIZE};

/// Changes when the images do.
const VERSION: &str = "1";

/// Where the files come from.
const TREES: [&str; 3] = ["/usr/bin", "/usr/lib", "/usr/share"];

/// How much of them is taken. The file system's own tables come on top.
const DATA: u64 = 1 << 30;

/// A larger file would make a disk of one kind of data.
const MAX_FILE: u64 = 64 << 20;

const RAW: &str = "disk.raw";

/// A file that a source has.
pub(super) struct Made {
    /// Where it lies.
    pub(super) path: PathBuf,
    /// Its checksum, in hexadecimal digits.
    pub(super) sha256: String,
    /// Its length in bytes.
    pub(super) size: u64,
}

/// A containerDisk.
pub(super) struct Layer {
    /// The directory of the OCI image layout.
    pub(super) layout: PathBuf,
    /// The manifest's path below the layout's `blobs`.
    pub(super) manifest: PathBuf,
    /// The layer with the disk.
    pub(super) blob: Made,
}

/// The standard disk, raw and with its holes: what every output is compared with. (The huge disk begins with it.)
pub(super) fn reference() -> Result<PathBuf> {
    let dir = cache::once("bench", &format!("standard-{VERSION}"), |dir| {
        step("making a disk of real files (once)", || raw(dir))
    })?;
    Ok(dir.join(RAW))
}

/// The bytes of the disks that are no holes.
pub(super) fn data_bytes() -> Result<u64> {
    let reference = reference()?;
    let metadata = fs::metadata(&reference).with_context(|| format!("cannot read {}", reference.display()))?;
    Ok(metadata.blocks() * 512)
}

/// The image as one file.
pub(super) fn file(image: Image) -> Result<Made> {
    let plain = image.compression.is_none() && image.disk == Disk::Standard && image.format == Format::Raw;
    let name = image.compression.map_or_else(
        || format!("disk.{}", image.format.name()),
        |compression| format!("disk.{}.{}", image.format.name(), compression.suffix()),
    );
    let dir = cache::once("bench", &key("file", image), |dir| {
        step(&format!("making the image {}", slug(image)), || {
            let path = dir.join(&name);
            if plain {
                fs::hard_link(reference()?, &path).context("cannot link the raw disk")?;
            } else {
                convert(image, dir, &path)?;
            }
            fs::write(dir.join("sha256"), sha256(&path)?).context("cannot keep the checksum")
        })
    })?;
    let sha256 = fs::read_to_string(dir.join("sha256")).context("cannot read the checksum of an image")?;
    made(dir.join(name), sha256)
}

/// The image as the one layer of a containerDisk.
pub(super) fn layer(image: Image) -> Result<Layer> {
    let packing = match image.compression {
        Some(Compression::Zstd) => Packing::ZSTD,
        _ => Packing::GZIP,
    };
    let layout = cache::once("bench", &key("layer", image), |dir| {
        step(&format!("making the containerDisk {}", slug(image)), || {
            let disk = dir.join(format!("disk.{}", image.format.name()));
            fs::hard_link(file(image.plain())?.path, &disk).context("cannot link an image")?;
            container_disk::pack_with(&disk, dir, &packing)?;
            fs::remove_file(&disk).context("cannot remove a packed disk")
        })
    })?;
    let index = document(&layout.join("index.json"))?;
    let manifest = blob(&index, "/manifests/0/digest")?;
    let blobs = layout.join("blobs");
    let content = blob(&document(&blobs.join(&manifest))?, "/layers/0/digest")?;
    let sha256 = content.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Layer { manifest, blob: made(blobs.join(content), sha256)?, layout })
}

fn key(kind: &str, image: Image) -> String {
    format!("{kind}-{}-{VERSION}", slug(image))
}

fn slug(image: Image) -> String {
    let format = match image.format {
        Format::Raw => "raw",
        Format::Qcow2 => "qcow2",
        Format::Qcow2Compressed => "qcow2-c",
        Format::Vmdk => "vmdk",
    };
    let size = if image.disk == Disk::Huge { "-100g" } else { "" };
    let suffix = image.compression.map_or(String::new(), |compression| format!("-{}", compression.suffix()));
    format!("{format}{size}{suffix}")
}

fn made(path: PathBuf, sha256: String) -> Result<Made> {
    let size = fs::metadata(&path).with_context(|| format!("cannot read {}", path.display()))?.len();
    Ok(Made { path, sha256, size })
}

/// A document of an OCI image layout.
pub(super) fn document(path: &Path) -> Result<Value> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", path.display()))
}

/// Where the blob lies below `blobs` whose digest a document has at this place.
pub(super) fn blob(document: &Value, pointer: &str) -> Result<PathBuf> {
    let digest = document.pointer(pointer).and_then(Value::as_str);
    let digest = digest.with_context(|| format!("the OCI document has no {pointer}: {document}"))?;
    Ok(PathBuf::from(digest.replace(':', "/")))
}

/// The disk: an ext4 made from files, with holes wherever there are only zeros.
fn raw(dir: &Path) -> Result<()> {
    let tree = dir.join("tree");
    fs::create_dir(&tree).context("cannot make a directory for the files of the disk")?;
    let mut left = DATA;
    for root in TREES {
        gather(Path::new(root), &tree, &mut left)?;
    }
    ensure!(left == 0, "below {} are {left} bytes too few; install more packages", TREES.join(", "));
    let disk = dir.join(RAW);
    cmd("truncate").args(["--size", &STANDARD_SIZE.to_string()]).arg(&disk).run()?;
    cmd("/sbin/mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-m", "0", "-U", "6a1f7c54-5d0e-4b3b-9a3e-0d9f2b6c1e88"])
        .args(["-E", "hash_seed=6a1f7c54-5d0e-4b3b-9a3e-0d9f2b6c1e88,root_owner=0:0"])
        .arg("-d")
        .arg(&tree)
        .arg(&disk)
        .run()?;
    fs::remove_dir_all(&tree).context("cannot remove the files of the disk")?;
    cmd("fallocate").arg("--dig-holes").arg(&disk).run()
}

/// Copies regular files below `from` into `to`, by the order of their names, until nothing is left to take.
fn gather(from: &Path, to: &Path, left: &mut u64) -> Result<()> {
    let cannot = || format!("cannot read {}", from.display());
    let mut entries = fs::read_dir(from).with_context(cannot)?.collect::<Result<Vec<_>, _>>().with_context(cannot)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if *left == 0 {
            break;
        }
        let (path, metadata) = (entry.path(), entry.metadata().with_context(cannot)?);
        if metadata.is_dir() {
            gather(&path, to, left)?;
        } else if metadata.is_file() && metadata.len() <= MAX_FILE {
            let place = to.join(path.strip_prefix("/").unwrap_or(&path));
            fs::create_dir_all(place.parent().context("a file lies in a directory")?)?;
            fs::copy(&path, &place).with_context(|| format!("cannot copy {}", path.display()))?;
            *left = left.saturating_sub(metadata.len());
        }
    }
    Ok(())
}

/// Makes the image at `to` from the reference. What is in between lies in `dir` and is removed.
fn convert(image: Image, dir: &Path, to: &Path) -> Result<()> {
    if let Some(compression) = image.compression {
        let plain = file(image.plain())?.path;
        return shell(compress(compression)).env("FROM", &plain).env("TO", to).run();
    }
    let from = match image.disk {
        Disk::Standard => reference()?,
        Disk::Huge => {
            let grown = dir.join("grown.raw");
            cmd("cp").arg("--sparse=always").arg(reference()?).arg(&grown).run()?;
            cmd("truncate").args(["--size", &image.disk.size().to_string()]).arg(&grown).run()?;
            grown
        }
    };
    let options: &[&str] = match image.format {
        Format::Raw | Format::Qcow2 => &[],
        Format::Qcow2Compressed => &["-c"],
        Format::Vmdk => &["-o", "subformat=streamOptimized"],
    };
    let format = ["-f", "raw", "-O", image.format.name()];
    cmd("qemu-img").arg("convert").args(format).args(options).arg(&from).arg(to).run()?;
    if image.disk == Disk::Huge {
        fs::remove_file(&from).context("cannot remove the grown disk")?;
    }
    Ok(())
}

/// As users compress: one gzip member, one zstd frame, several xz blocks.
fn compress(compression: Compression) -> &'static str {
    match compression {
        Compression::Gzip => r#"pigz -6 -n -c "$FROM" > "$TO""#,
        Compression::Zstd => r#"zstd -q -3 "$FROM" -o "$TO""#,
        // The blocks and the dictionary of its default level, found sooner.
        Compression::Xz => r#"xz -T0 --block-size=24MiB --lzma2=preset=2,dict=8MiB -c "$FROM" > "$TO""#,
    }
}

fn shell(script: &str) -> Cmd {
    cmd("sh").args(["-ec", script])
}

/// The checksum of a file, in hexadecimal digits.
pub(super) fn sha256(path: &Path) -> Result<String> {
    let printed = cmd("sha256sum").arg(path).output()?;
    let digits = printed.split(' ').next().unwrap_or_default();
    ensure!(digits.len() == 64, "sha256sum printed no checksum: {printed:?}");
    Ok(digits.to_owned())
}
