//! A disk on a block device: raw from offset 0, zeros wherever the image has none, to the end of the device.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use volume_quantity::human;

use super::eraser::Eraser;
use super::medium::Medium;
use super::queue::Queue;
use super::window::WINDOW;
use super::writer::Writer;
use super::{PROBED, UNIT, Wish, refuse_nested, to_usize};
use crate::aligned::AlignedBuffer;
use crate::failure::{Failure, Reason, Result};
use crate::resume::{Journal, Resume};
use crate::room::Room;

/// The least length of a record.
const LEAST_RECORD: u64 = 4096;

/// The largest piece that a thin pool allocates (Linux Documentation/admin-guide/device-mapper/thin-provisioning.rst).
const LARGEST_CHUNK: u64 = 1 << 30;

/// A block device.
#[derive(Debug)]
pub struct DeviceTarget {
    path: PathBuf,
    size: u64,
    queue: Queue,
    record: Option<Record>,
}

/// The record of what is durable. It takes the place of the device's last unit as long as the disk is not whole.
#[derive(Debug)]
struct Record {
    offset: u64,
    journal: Journal,
    resume: Option<Resume>,
}

impl Record {
    /// In the last unit that has room for it, if the job says whose it is and the device is more than that unit.
    fn of(wish: &Wish, size: u64, queue: Queue) -> Option<Self> {
        let claim_uid = wish.claim_uid.clone()?;
        let block = queue.sector.max(LEAST_RECORD);
        let offset = size.checked_sub(block)? / UNIT * UNIT;
        let journal = Journal::on_device(wish.path.clone(), offset, to_usize(block), claim_uid);
        let resume = journal.read().filter(|resume| resume.bytes <= offset && resume.bytes.is_multiple_of(UNIT));
        (offset > 0).then_some(Self { offset, journal, resume })
    }
}

impl DeviceTarget {
    /// Opens the device and measures it.
    ///
    /// # Errors
    ///
    /// [`Reason::DeviceNotWritable`] when it cannot be opened, with the container runtime's setting that decides it.
    pub fn prepare(wish: &Wish) -> Result<Self> {
        let path = &wish.path;
        let mut file = open(path)?;
        let is_device =
            file.metadata().map_err(|error| Failure::target("look at", path, &error))?.file_type().is_block_device();
        if !is_device {
            return Err(Failure::new(Reason::BadJob, format!("{} is no block device", path.display())));
        }
        // The end of a device is its size, whatever its sectors; this needs no ioctl.
        let size = file.seek(SeekFrom::End(0)).map_err(|error| Failure::target("measure", path, &error))?;
        let queue = Queue::of(&file).map_err(|error| Failure::target("measure the sectors of", path, &error))?;
        Ok(Self { path: path.clone(), size, queue, record: Record::of(wish, size, queue) })
    }

    pub(super) fn room(&self) -> Room {
        Room::on_device(self.size)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The size of the device in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn journal(&self) -> Option<&Journal> {
        self.record.as_ref().map(|record| &record.journal)
    }

    pub(super) fn resume(&self) -> Option<&Resume> {
        self.record.as_ref()?.resume.as_ref()
    }

    pub(super) fn open(&self, keep_below: u64) -> Result<Medium> {
        let file = open(&self.path)?;
        if let Some(record) = self.record.as_ref().filter(|_| keep_below == 0) {
            record.journal.remove()?;
        }
        let Queue { granule, allocated, .. } = self.queue;
        Ok(Medium {
            file,
            direct: true,
            granule,
            // Nobody knows what a device held before.
            eraser: Some(Eraser::new(granule)),
            length: self.size,
            last: self.record.as_ref().map(|record| record.offset),
            // Some pools do not tell in what pieces they allocate; these are then rarely larger than a window.
            chunk: allocated.unwrap_or_default().clamp(1, LARGEST_CHUNK).next_multiple_of(WINDOW as u64),
        })
    }

    /// Zeros what has no data, and flushes.
    pub(super) fn finish(&self, mut written: Writer) -> Result<()> {
        written.complete().map_err(|error| Failure::decoding(error, &self.path))?;
        self.check()
    }

    /// What becomes of an unfinished disk: with `keep`, its record stays. Whether there is one that stays.
    pub(super) fn leave(wish: &Wish, keep: bool) -> bool {
        // What cannot be opened now is told by the next attempt.
        let Some(record) = Self::prepare(wish).ok().and_then(|device| device.record) else { return false };
        if !keep {
            let _ = record.journal.remove();
        }
        keep && record.resume.is_some()
    }

    /// Flushes the device and looks at how its disk begins.
    fn check(&self) -> Result<()> {
        let file = open(&self.path)?;
        file.sync_all().map_err(|error| self.failure("flush", &error))?;
        let mut buffer = AlignedBuffer::new(PROBED);
        let length = PROBED.min(usize::try_from(self.size).unwrap_or(PROBED));
        file.read_exact_at(&mut buffer.bytes_mut()[..length], 0).map_err(|error| self.failure("read", &error))?;
        refuse_nested(buffer.bytes())?;
        let sector = self.queue.sector;
        if let Some(counted) = foreign_table(buffer.bytes(), to_usize(sector)) {
            tracing::warn!(
                "the disk's partition table counts in sectors of {counted} bytes, the device has sectors of {sector}; \
                 show the guest a logical block size of {counted}, or it will find no partitions"
            );
        }
        Ok(())
    }

    /// Checks a device that came with a disk, as after a restore from a snapshot.
    ///
    /// # Errors
    ///
    /// [`Reason::TargetIo`] when it is smaller than the claim requests, and I/O failures.
    pub fn adopt(wish: &Wish) -> Result<u64> {
        let device = Self::prepare(wish)?;
        if let Some(requested) = wish.requested.filter(|requested| *requested > device.size) {
            return Err(Failure::new(
                Reason::TargetIo,
                format!(
                    "the device has {}, the claim requests {}; its provisioner did not grow it",
                    human(device.size),
                    human(requested)
                ),
            ));
        }
        device.check()?;
        Ok(device.size)
    }

    fn failure(&self, action: &str, error: &io::Error) -> Failure {
        Failure::target(action, &self.path, error)
    }
}

/// The sectors that a disk's GPT counts in, if these are not the device's: its header is what the second one holds (UEFI
/// specification, 5.3.2).
fn foreign_table(beginning: &[u8], sector: usize) -> Option<usize> {
    let begins_at = |sector: &usize| beginning.get(*sector..).is_some_and(|header| header.starts_with(b"EFI PART"));
    [512, 4096].into_iter().find(begins_at).filter(|counted| *counted != sector)
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(OFlags::DIRECT.bits().cast_signed()).open(path).map_err(
        |error| {
            let advice = if error.kind() == io::ErrorKind::PermissionDenied {
                "; set device_ownership_from_security_context = true in the node's container runtime \
                 (containerd 2: under io.containerd.cri.v1.runtime), so that block volumes belong to the pod's user"
            } else {
                ""
            };
            Failure::new(
                Reason::DeviceNotWritable,
                format!("failed to open the device {}: {error}{advice}", path.display()),
            )
        },
    )
}
