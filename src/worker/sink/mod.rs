//! Where the disk goes: `disk.img` on a file system, or a block device.
//!
//! A target is used in this order: [`Target::prepare`] clears what an earlier attempt left and tells the room,
//! [`Target::writer`] opens it for one disk, [`Target::finish`] makes that disk whole, durable and visible. On a
//! file system nothing is visible before; a block device cannot hide what it holds, so there the exit code alone says
//! whether it holds a disk.

mod device;
mod eraser;
mod file;
mod medium;
mod pool;
mod queue;
mod runs;
mod units;
mod window;
mod writer;

use std::path::{Path, PathBuf};

use vmdisk_format::inspect_prefix;
use vmdisk_wire::{DISK_FILE, TargetKind};

use crate::failure::{Failure, Reason, Result};
use crate::progress::Counters;
use crate::resume::{Journal, Resume};
use crate::room::Room;

pub use device::DeviceTarget;
pub use file::FileTarget;
pub use writer::Writer;

/// The unit of all I/O.
pub const UNIT: u64 = 64 * 1024;

/// How much of a finished disk is looked at for another format's signature.
const PROBED: usize = 128 * 1024;

/// What the caller wants of a target.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Which kind it is.
    pub kind: TargetKind,
    /// The file of the disk, or the device.
    pub path: PathBuf,
    /// The request of the claim.
    pub requested: Option<u64>,
    /// Parts per thousand kept for the file system.
    pub overhead_per_mille: u32,
    /// User and group that are to own the file; absent: whoever runs this.
    pub owner: Option<u32>,
    /// The UID of the volume's claim; without it, nothing is recorded on a device.
    pub claim_uid: Option<String>,
}

impl Wish {
    /// What a job's target means.
    #[must_use]
    pub fn of_job(target: &vmdisk_wire::Target) -> Self {
        let path = match target.kind {
            TargetKind::Filesystem => Path::new(&target.path).join(DISK_FILE),
            TargetKind::Block => PathBuf::from(&target.path),
        };
        Self {
            kind: target.kind,
            path,
            requested: target.requested_bytes,
            overhead_per_mille: target.overhead_per_mille,
            owner: Some(vmdisk_wire::QEMU_ID),
            claim_uid: target.claim_uid.clone(),
        }
    }
}

/// A place for one disk.
pub enum Target {
    /// A file.
    File(FileTarget),
    /// A device.
    Device(DeviceTarget),
}

impl Target {
    /// Opens the target. What an earlier attempt left is removed before the room is measured, except an unfinished
    /// disk whose record says that it may go on.
    ///
    /// # Errors
    ///
    /// [`Reason::TargetIo`], [`Reason::DeviceNotWritable`].
    pub fn prepare(wish: &Wish) -> Result<Self> {
        match wish.kind {
            TargetKind::Filesystem => Ok(Self::File(FileTarget::prepare(wish)?)),
            TargetKind::Block => Ok(Self::Device(DeviceTarget::prepare(wish)?)),
        }
    }

    /// What it offers.
    #[must_use]
    pub fn room(&self) -> Room {
        match self {
            Self::File(file) => file.room(),
            Self::Device(device) => device.room(),
        }
    }

    /// The file or device that holds the disk before it is visible.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::File(file) => file.part(),
            Self::Device(device) => device.path(),
        }
    }

    /// The record of what is durable, where there is room for one.
    #[must_use]
    pub fn journal(&self) -> Option<&Journal> {
        match self {
            Self::File(file) => Some(file.journal()),
            Self::Device(device) => device.journal(),
        }
    }

    /// What an earlier attempt left, and of which source.
    #[must_use]
    pub fn resume(&self) -> Option<&Resume> {
        match self {
            Self::File(file) => file.resume(),
            Self::Device(device) => device.resume(),
        }
    }

    /// Opens the target for a disk; what lies below `keep_below` is right already.
    ///
    /// # Errors
    ///
    /// [`Reason::TargetIo`].
    pub fn writer(&self, keep_below: u64, counters: Counters) -> Result<Writer> {
        let medium = match self {
            Self::File(file) => file.open(keep_below)?,
            Self::Device(device) => device.open(keep_below)?,
        };
        Writer::new(medium, keep_below, counters)
            .map_err(|error| Failure::new(Reason::Internal, format!("failed to start writing: {error}")))
    }

    /// Makes the disk that was written whole, durable and visible.
    ///
    /// # Errors
    ///
    /// [`Reason::TargetIo`]; [`Reason::NestedImage`] when the disk begins like an image of another format, since the
    /// next reader would take it for that.
    pub fn finish(&self, written: Writer, virtual_size: u64) -> Result<()> {
        match self {
            Self::File(file) => file.finish(written, virtual_size),
            Self::Device(device) => device.finish(written),
        }
    }
}

/// Clears up after a failed attempt: what is unfinished stays only with `keep`, and only if a later attempt can go on
/// with it. Whether it can.
#[must_use]
pub fn leave(wish: &Wish, keep: bool) -> bool {
    match wish.kind {
        TargetKind::Filesystem => FileTarget::leave(wish, keep),
        TargetKind::Block => DeviceTarget::leave(wish, keep),
    }
}

/// Values that are bounded by a buffer's length.
fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Refuses a disk whose first bytes are another format's: KubeVirt and `qemu-img resize` probe what they open.
fn refuse_nested(beginning: &[u8]) -> Result<()> {
    use vmdisk_format::{Format, Reason as Cause, Verdict};
    let what = match inspect_prefix(beginning, None) {
        Ok(Verdict::Decided(found)) if found.format == Format::Raw => return Ok(()),
        Ok(Verdict::Decided(found)) => format!("a {} image", found.format),
        Ok(_) => "an image of another format".to_owned(),
        // No reader of images would take these for one.
        Err(refusal) if matches!(refusal.reason, Cause::Empty | Cause::NotADisk) => return Ok(()),
        // Formats that are refused as such are no less dangerous to the next reader.
        Err(refusal) if refusal.format == "image" => format!("an image of another format ({})", refusal.found),
        Err(refusal) => format!("a {} image", refusal.format),
    };
    Err(Failure::new(
        Reason::NestedImage,
        format!(
            "the disk inside the image begins like {what}, so whoever opens it next would take it for one; \
             unwrap it with qemu-img convert and upload the inner image"
        ),
    ))
}
