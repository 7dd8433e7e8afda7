//! Disks to publish, and what must come of them: qemu-img makes the one and reads back the other.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use vmdisk_e2e::command::cmd;
use vmdisk_e2e::testing::reader::Expected;

/// The disk's size: whole sectors and no rounder, where the format can have it so.
const SIZE: u64 = (9 << 20) + 512 * 7;

/// A disk image as it is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// What a row of the table is called by.
    pub(crate) name: &'static str,
    /// qemu-img's name of the format, and its options.
    format: &'static str,
    options: &'static [&'static str],
    /// The program that wraps it, and the suffix that it adds.
    wrapping: Option<(&'static str, &'static str)>,
    /// A size other than [`SIZE`], for formats that cannot have it.
    size: u64,
}

const fn form(name: &'static str, format: &'static str, options: &'static [&'static str]) -> Form {
    Form { name, format, options, wrapping: None, size: SIZE }
}

const fn wrapped(name: &'static str, format: &'static str, program: &'static str, suffix: &'static str) -> Form {
    Form { wrapping: Some((program, suffix)), ..form(name, format, &[]) }
}

pub(crate) const RAW: Form = form("raw", "raw", &[]);
pub(crate) const QCOW2: Form = form("qcow2", "qcow2", &[]);
pub(crate) const RAW_GZ: Form = wrapped("raw-gz", "raw", "gzip", "gz");

/// Every form that there is.
pub(crate) const FORMS: &[Form] = &[
    RAW,
    QCOW2,
    form("qcow2-compressed", "qcow2", &["-c"]),
    form("qcow2-zstd", "qcow2", &["-c", "-o", "compression_type=zstd"]),
    form("qcow2-v2", "qcow2", &["-o", "compat=0.10,cluster_size=4096"]),
    form("vmdk", "vmdk", &[]),
    form("vmdk-stream", "vmdk", &["-o", "subformat=streamOptimized"]),
    form("vdi", "vdi", &[]),
    form("vhd", "vpc", &[]),
    form("vhd-fixed", "vpc", &["-o", "subformat=fixed,force_size=on"]),
    // A vhdx disk is measured in MiB (MS-VHDX 2.2.2).
    Form { size: 9 << 20, ..form("vhdx", "vhdx", &[]) },
    RAW_GZ,
    wrapped("raw-xz", "raw", "xz", "xz"),
    wrapped("raw-zst", "raw", "zstd", "zst"),
    wrapped("raw-bz2", "raw", "bzip2", "bz2"),
    wrapped("qcow2-gz", "qcow2", "gzip", "gz"),
    wrapped("qcow2-xz", "qcow2", "xz", "xz"),
];

/// An image file, and what it holds by qemu-img.
pub(crate) struct Image {
    pub(crate) file: PathBuf,
    pub(crate) expected: Expected,
}

/// Makes an image in `directory`. The content depends on `seed` alone, so a failure can be looked at again.
pub(crate) fn make(directory: &Path, form: Form, seed: u64) -> Result<Image> {
    let raw = directory.join(format!("{}-{seed}.source", form.name));
    write_disk(&raw, form.size, seed)?;
    let image = directory.join(format!("{}-{seed}.{}", form.name, form.format));
    cmd("qemu-img").args(["convert", "-f", "raw", "-O", form.format]).args(form.options).arg(&raw).arg(&image).run()?;

    let read_back = directory.join(format!("{}-{seed}.reference", form.name));
    cmd("qemu-img").args(["convert", "-f", form.format, "-O", "raw"]).arg(&image).arg(&read_back).run()?;
    let disk = fs::read(&read_back).with_context(|| format!("cannot read {}", read_back.display()))?;
    let source = fs::read(&raw).with_context(|| format!("cannot read {}", raw.display()))?;
    // Some formats round the size up; what they hold is the disk all the same.
    ensure!(disk.starts_with(&source), "qemu-img does not read back what it wrote as {}", form.name);
    let expected = Expected::of(&disk);

    let file = match form.wrapping {
        None => image,
        Some((program, suffix)) => {
            cmd(program).arg("-q").arg("-k").arg(&image).run()?;
            image.with_extension(format!("{}.{suffix}", form.format))
        }
    };
    Ok(Image { file, expected })
}

/// A disk with noise at both ends and here and there between, text that compresses, and holes.
fn write_disk(path: &Path, size: u64, seed: u64) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    file.set_len(size)?;
    let mut noise = Noise(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    for (offset, length) in [(0, 300_000), (3 << 20, 5_000), ((4 << 20) + 512, 1_000_000), (size - 70_000, 70_000)] {
        file.write_all_at(&noise.bytes(length), offset)?;
    }
    Ok(file.write_all_at(&b"the quick brown fox jumps over the lazy dog\n".repeat(10_000), 6 << 20)?)
}

/// xorshift64: no format's magic number, no compression, the same everywhere.
struct Noise(u64);

impl Noise {
    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            bytes.extend_from_slice(&self.0.to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}
