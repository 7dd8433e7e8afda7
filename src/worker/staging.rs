//! Scratch space: whole images for the formats that cannot be decoded as they come.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use vmdisk_format::ReadAt;
use volume_quantity::human;

use crate::failure::{Failure, Reason, Result};

/// What the names of staged images begin with.
const PREFIX: &str = ".vmdisk-staged-";

/// Removes what a killed worker left in `directory`.
///
/// # Errors
///
/// [`Reason::TargetIo`].
pub fn clear(directory: &Path) -> Result<()> {
    let failed = |error| Failure::target("list", directory, &error);
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            crate::remove::remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Where may be staged, and how much.
#[derive(Debug, Clone)]
pub struct Scratch {
    /// The directory.
    pub directory: PathBuf,
    /// The limit in bytes; absent: what the file system has.
    pub limit: Option<u64>,
}

impl Scratch {
    /// Refuses what will not fit.
    ///
    /// # Errors
    ///
    /// [`Reason::ScratchTooSmall`] with both sizes.
    pub fn check(&self, size: u64) -> Result<()> {
        match self.limit {
            Some(limit) if size > limit => Err(Failure::new(
                Reason::ScratchTooSmall,
                format!(
                    "the image must be staged as a whole and has {}, the scratch space is limited to {}; \
                     convert it with qemu-img convert -O qcow2 and upload the result",
                    human(size),
                    human(limit)
                ),
            )),
            _ => Ok(()),
        }
    }

    /// An empty file for the bytes of an image from `offset` on.
    ///
    /// # Errors
    ///
    /// [`Reason::TargetIo`].
    pub fn create(&self, offset: u64) -> Result<Staged> {
        let path = self.directory.join(format!("{PREFIX}{}", std::process::id()));
        let open = || {
            crate::remove::remove(&path)?;
            File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)
                .map_err(|error| Failure::target("stage the image at", &path, &error))
        };
        let file = open()?;
        Ok(Staged { file, path, start: offset, end: offset, scratch: self.clone() })
    }
}

/// A staged image, or the rest of one. Removed when dropped.
pub struct Staged {
    file: File,
    path: PathBuf,
    start: u64,
    end: u64,
    scratch: Scratch,
}

impl Staged {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds the next bytes.
    ///
    /// # Errors
    ///
    /// [`Reason::ScratchTooSmall`], [`Reason::TargetIo`].
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.scratch.check(self.end - self.start + bytes.len() as u64)?;
        self.file
            .write_all_at(bytes, self.end - self.start)
            .map_err(|error| Failure::target("stage the image at", &self.path, &error))?;
        self.end += bytes.len() as u64;
        Ok(())
    }
}

impl ReadAt for Staged {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let within =
            offset.checked_sub(self.start).ok_or_else(|| io::Error::other("this part of the image was not staged"))?;
        self.file.read_exact_at(buffer, within)
    }

    fn size(&self) -> u64 {
        self.end
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // The emptyDir goes with the pod; by hand, a left-over is overwritten by the next run.
        let _ = std::fs::remove_file(&self.path);
    }
}
