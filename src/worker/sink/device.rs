//! A disk on a block device: raw from offset 0, zeros wherever the image has none, to the end of the device.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::buffer::AlignedBuffer;
use super::eraser::Eraser;
use super::medium::Medium;
use super::queue::Queue;
use super::writer::Writer;
use super::{PROBED, Wish, refuse_nested, to_usize};
use crate::failure::{Failure, Reason, Result};
use crate::room::{Room, human};

/// A block device.
#[derive(Debug)]
pub struct DeviceTarget {
    path: PathBuf,
    size: u64,
}

impl DeviceTarget {
    /// Opens the device and measures it.
    ///
    /// # Errors
    ///
    /// [`Reason::DeviceNotWritable`] when it cannot be opened, with the container runtime's setting that decides it.
    pub fn prepare(path: &Path) -> Result<Self> {
        let mut file = open(path)?;
        let is_device =
            file.metadata().map_err(|error| Failure::target("look at", path, &error))?.file_type().is_block_device();
        if !is_device {
            return Err(Failure::new(Reason::BadJob, format!("{} is no block device", path.display())));
        }
        // The end of a device is its size, whatever its sectors; this needs no ioctl.
        let size = file.seek(SeekFrom::End(0)).map_err(|error| Failure::target("measure", path, &error))?;
        Ok(Self { path: path.to_owned(), size })
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

    pub(super) fn open(&self) -> Result<Medium> {
        let file = open(&self.path)?;
        let Queue { granule, .. } = Queue::of(&file).map_err(|error| self.failure("measure the sectors of", &error))?;
        // Nobody knows what a device held before.
        Ok(Medium { file, direct: true, granule, eraser: Some(Eraser::new(granule)), length: self.size })
    }

    /// Zeros the units without data and flushes. Data first: a thin pool may fill the rest of a chunk that it allocates
    /// with what lay there before.
    pub(super) fn finish(&self, mut written: Writer) -> Result<()> {
        written.sync().map_err(|error| Failure::decoding(error, &self.path))?;
        let medium = written.medium();
        for range in written.unwritten() {
            medium.zero(range).map_err(|error| self.failure("zero", &error))?;
        }
        self.check()
    }

    /// Flushes the device and looks at how its disk begins.
    fn check(&self) -> Result<()> {
        let file = open(&self.path)?;
        file.sync_all().map_err(|error| self.failure("flush", &error))?;
        let mut buffer = AlignedBuffer::new(PROBED);
        let length = PROBED.min(usize::try_from(self.size).unwrap_or(PROBED));
        file.read_exact_at(&mut buffer.bytes_mut()[..length], 0).map_err(|error| self.failure("read", &error))?;
        refuse_nested(buffer.bytes())?;
        let Queue { sector, .. } = Queue::of(&file).map_err(|error| self.failure("measure the sectors of", &error))?;
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
        let device = Self::prepare(&wish.path)?;
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
