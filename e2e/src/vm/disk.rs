//! A small disk that boots: BIOS → GRUB → Linux → a line on the serial console that only this disk can print.
//!
//! ```text
//! sector 0          1 …            2048 …
//! MBR, boot.img     core.img       one ext4 partition: /boot, /sbin/init, /etc/nonce, /var/payload
//! ```
//!
//! Nothing is mounted and no loop device is used: `mke2fs -d` fills the file system, and a master boot record is 512
//! bytes. The nonce differs from disk to disk, so that a line on a console proves which disk was booted.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::digest;
use super::parts::Parts;
use crate::command::cmd;

const SECTOR: u64 = 512;

/// One sector, as bytes in memory.
type Sector = [u8; 512];

const MIB: u64 = 1 << 20;

/// Where the partition begins: the first MiB is for the boot loader, as every partitioning tool does it.
const PARTITION: u64 = MIB;

/// The room for kernel, initramfs, busybox and the file system's own needs, beside the payload.
const SYSTEM: u64 = 63 * MIB;

/// The code in a master boot record ends where its disk signature begins.
const BOOT_CODE: usize = 440;

/// Where the first of the four partition entries lies.
const PARTITION_TABLE: usize = 446;

/// The type of a Linux file system's partition.
const LINUX: u8 = 0x83;

/// What a disk holds, as its guest will tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// What makes this disk this one.
    pub nonce: String,
    /// The checksum of the file `/var/payload`, in hexadecimal digits.
    pub payload_sha256: String,
    /// The length of the disk that the guest would see if nothing made it larger.
    pub virtual_size: u64,
}

/// Builds a bootable qcow2 disk at `path`, with a file of `payload` random bytes for the guest to read.
///
/// # Errors
/// When Debian's packages cannot be had, or a tool fails.
pub fn build(path: &Path, nonce: &str, payload: u64) -> Result<Disk> {
    ensure!(
        !nonce.is_empty() && nonce.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
        "the nonce is {nonce:?}; expected letters, digits and '-' (it is one word of a line)"
    );
    let parts = Parts::ensure()?;
    let parent = path.parent().context("a disk lies in a directory")?;
    let scratch = tempfile::tempdir_in(parent).context("cannot make a scratch directory")?;

    let root = scratch.path().join("root");
    cmd("cp").arg("-a").arg(parts.root()).arg(&root).run()?;
    fs::write(root.join("etc/nonce"), format!("{nonce}\n")).context("cannot write the nonce")?;
    let payload_sha256 = random_file(&root.join("var/payload"), payload)?;

    let raw = scratch.path().join("disk.raw");
    let virtual_size = PARTITION + SYSTEM + payload.next_multiple_of(MIB);
    File::create(&raw)
        .and_then(|file| file.set_len(virtual_size))
        .with_context(|| format!("cannot create {}", raw.display()))?;
    file_system(&raw, &root, virtual_size - PARTITION)?;
    boot_loader(&raw, &parts, virtual_size)?;

    cmd("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).args([&*raw, path]).run()?;
    Ok(Disk { nonce: nonce.to_owned(), payload_sha256, virtual_size })
}

/// Writes random bytes, which no compression hides and no cache knows, and gives their checksum.
fn random_file(path: &Path, length: u64) -> Result<String> {
    let random = File::open("/dev/urandom").context("cannot open /dev/urandom")?;
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    digest::copy(random.take(length), file).with_context(|| format!("cannot write {}", path.display()))
}

fn file_system(raw: &Path, root: &Path, length: u64) -> Result<()> {
    cmd("mkfs.ext4")
        .args(["-q", "-F", "-L", "demo", "-d"])
        .arg(root)
        .args(["-E", &format!("offset={PARTITION},root_owner=0:0")])
        .arg(raw)
        .arg(format!("{}k", length / 1024))
        .run()
}

fn boot_loader(raw: &Path, parts: &Parts, virtual_size: u64) -> Result<()> {
    let boot = fs::read(parts.boot_image()).context("cannot read GRUB's boot.img")?;
    let core = fs::read(parts.core_image()).context("cannot read GRUB's core.img")?;
    ensure!(
        core.len() as u64 <= PARTITION - SECTOR,
        "GRUB's core.img has {} bytes; at most {} fit before the partition",
        core.len(),
        PARTITION - SECTOR
    );
    let record = master_boot_record(&boot, virtual_size)?;
    let mut file = File::options().write(true).open(raw).with_context(|| format!("cannot open {}", raw.display()))?;
    // boot.img loads sector 1, and core.img its own rest from sector 2: the places that both name when nobody changes
    // them.
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.write_all(&record))
        .and_then(|()| file.write_all(&core))
        .with_context(|| format!("cannot write {}", raw.display()))
}

/// The first sector: GRUB's first stage, and a table with one bootable partition up to the end of the disk.
fn master_boot_record(boot: &[u8], virtual_size: u64) -> Result<Sector> {
    let code = boot
        .get(..BOOT_CODE)
        .with_context(|| format!("GRUB's boot.img has {} bytes; expected {SECTOR}", boot.len()))?;
    let first = u32::try_from(PARTITION / SECTOR).context("the partition begins in the first MiB")?;
    let count = u32::try_from((virtual_size - PARTITION) / SECTOR)
        .with_context(|| format!("a disk of {virtual_size} bytes does not fit a master boot record"))?;

    let mut record: Sector = [0; 512];
    record[..BOOT_CODE].copy_from_slice(code);
    let entry = &mut record[PARTITION_TABLE..PARTITION_TABLE + 16];
    entry[0] = 0x80;
    // Cylinder, head and sector cannot say where today's partitions are; these values say so.
    entry[1..4].copy_from_slice(&[0xfe, 0xff, 0xff]);
    entry[4] = LINUX;
    entry[5..8].copy_from_slice(&[0xfe, 0xff, 0xff]);
    entry[8..12].copy_from_slice(&first.to_le_bytes());
    entry[12..16].copy_from_slice(&count.to_le_bytes());
    record[510..].copy_from_slice(&[0x55, 0xaa]);
    Ok(record)
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
