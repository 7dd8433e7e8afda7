//! A disk as a file: written as `disk.img.part`, renamed when it is whole.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use vmdisk_format::zero::GRANULE;

use super::medium::Medium;
use super::writer::Writer;
use super::{PROBED, UNIT, Wish, refuse_nested};
use crate::failure::{Failure, Result};
use crate::remove::remove;
use crate::resume::{Journal, Resume};
use crate::room::Room;

/// What QEMU needs, and nobody else.
const MODE: u32 = 0o660;

/// The file of a disk, and its forerunner.
#[derive(Debug)]
pub struct FileTarget {
    disk: PathBuf,
    part: PathBuf,
    directory: PathBuf,
    journal: Journal,
    room: Room,
    owner: Option<u32>,
    resume: Option<Resume>,
}

impl FileTarget {
    pub(super) fn prepare(wish: &Wish) -> Result<Self> {
        let disk = wish.path.clone();
        let directory = match disk.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let part = suffixed(&disk, ".part");
        let journal = journal(wish);
        let resume = journal
            .read()
            .filter(|resume| std::fs::metadata(&part).is_ok_and(|part| part.is_file() && part.len() >= resume.bytes));
        if wish.owner.is_some() {
            // In a volume, a disk that is there is an earlier attempt's whose end nobody saw, or a former claim's:
            // nothing proves which. By hand, it is the user's until the new one is whole.
            remove(&disk)?;
            crate::staging::clear(&directory)?;
        }
        if resume.is_none() {
            remove(&part)?;
            journal.remove()?;
        }
        let room = measure(&directory, &part, wish)?;
        Ok(Self { disk, part, directory, journal, room, owner: wish.owner, resume })
    }

    pub(super) fn room(&self) -> Room {
        self.room
    }

    pub(super) fn part(&self) -> &Path {
        &self.part
    }

    /// What an earlier attempt left, and of which source.
    #[must_use]
    pub fn resume(&self) -> Option<&Resume> {
        self.resume.as_ref()
    }

    /// The record of what is durable.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    pub(super) fn open(&self, keep_below: u64) -> Result<Medium> {
        if keep_below == 0 {
            self.journal.remove()?;
            remove(&self.part)?;
        }
        let (file, direct) = self.open_part(keep_below == 0)?;
        // Beyond the part that is durable lies what nobody vouches for.
        file.set_len(keep_below).map_err(|error| self.failure("truncate", &error))?;
        // A file grows by writing; its units are never cut by its end.
        Ok(Medium { file, direct, granule: GRANULE, eraser: None, length: u64::MAX, last: None, chunk: UNIT })
    }

    /// With `O_DIRECT` where the file system takes it: what is written once and read by others is not worth the page
    /// cache, and dirty pages count against the container's memory.
    fn open_part(&self, create: bool) -> Result<(File, bool)> {
        let open = |flags: OFlags| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(create)
                .mode(if self.owner.is_some() { MODE } else { 0o644 })
                .custom_flags(flags.bits().cast_signed())
                .open(&self.part)
        };
        // tmpfs and some network file systems refuse it, some after having made the file.
        match open(OFlags::DIRECT | OFlags::NOFOLLOW) {
            Ok(file) => Ok((file, true)),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
                if create {
                    remove(&self.part)?;
                }
                let file = open(OFlags::NOFOLLOW).map_err(|error| self.failure("create", &error))?;
                Ok((file, false))
            }
            Err(error) => Err(self.failure("create", &error)),
        }
    }

    pub(super) fn finish(&self, mut written: Writer, virtual_size: u64) -> Result<()> {
        written.sync().map_err(|error| Failure::decoding(error, &self.part))?;
        let file =
            OpenOptions::new().read(true).write(true).open(&self.part).map_err(|error| self.failure("open", &error))?;
        refuse_nested(&beginning(&file).map_err(|error| self.failure("read", &error))?)?;
        file.set_len(self.room.disk_size(virtual_size)).map_err(|error| self.failure("grow", &error))?;
        self.own(&file)?;
        file.sync_all().map_err(|error| self.failure("flush", &error))?;
        self.journal.remove()?;
        self.publish()
    }

    /// The one step that makes the disk visible.
    fn publish(&self) -> Result<()> {
        let flush = |directory: &Path| File::open(directory)?.sync_all();
        flush(&self.directory).map_err(|error| self.failure("flush the directory of", &error))?;
        std::fs::rename(&self.part, &self.disk).map_err(|error| self.failure("rename", &error))?;
        flush(&self.directory).map_err(|error| self.failure("flush the directory of", &error))
    }

    /// Gives the file to QEMU. Where chown is not permitted (restricted pods, NFS with root squash) the worker runs as
    /// QEMU's user anyway.
    fn own(&self, file: &File) -> Result<()> {
        let Some(id) = self.owner else { return Ok(()) };
        if let Err(error) = std::os::unix::fs::fchown(file, Some(id), Some(id)) {
            tracing::debug!(%error, id, "the disk's owner stays as it is");
        }
        file.set_permissions(Permissions::from_mode(MODE)).map_err(|error| self.failure("set the mode of", &error))
    }

    /// Grows and checks a disk that came with the volume, as after a restore from a snapshot.
    ///
    /// # Errors
    ///
    /// [`Reason::DiskMissing`](crate::failure::Reason::DiskMissing) when there is none, and I/O failures.
    pub fn adopt(wish: &Wish) -> Result<u64> {
        let disk = &wish.path;
        let missing = |what: &str| {
            Failure::new(
                crate::failure::Reason::DiskMissing,
                format!(
                    "the volume was to hold a disk at {}, but {what}; delete the snapshot it was cut from",
                    disk.display()
                ),
            )
        };
        let failure = |action: &str, error: &io::Error| Failure::target(action, disk, error);
        let kind = std::fs::symlink_metadata(disk).map_err(|_| missing("there is no such file"))?;
        if !kind.is_file() || kind.len() == 0 {
            return Err(missing("what is there is no file with content"));
        }
        remove(&suffixed(disk, ".part"))?;
        journal(wish).remove()?;
        let directory = disk.parent().unwrap_or(Path::new("/"));
        let file = OpenOptions::new().read(true).write(true).open(disk).map_err(|error| failure("open", &error))?;
        refuse_nested(&beginning(&file).map_err(|error| failure("read", &error))?)?;
        let room = measure(directory, disk, wish)?;
        // The disk fitted where it came from; here it is only ever grown.
        let size = room.disk_size(kind.len()).max(kind.len());
        file.set_len(size).map_err(|error| failure("grow", &error))?;
        file.sync_all().map_err(|error| failure("flush", &error))?;
        Ok(size)
    }

    /// What becomes of an unfinished disk: with `keep`, it stays when its record says that it may go on. Whether it
    /// stays.
    pub(super) fn leave(wish: &Wish, keep: bool) -> bool {
        let part = suffixed(&wish.path, ".part");
        let journal = journal(wish);
        if keep && journal.read().is_some() && part.exists() {
            return true;
        }
        // What cannot be removed now is removed by the next attempt, which tells why it cannot.
        let _ = journal.remove();
        let _ = remove(&part);
        false
    }

    fn failure(&self, action: &str, error: &io::Error) -> Failure {
        Failure::target(action, &self.part, error)
    }
}

fn journal(wish: &Wish) -> Journal {
    Journal::in_file(suffixed(&wish.path, ".part.json"), wish.claim_uid.clone())
}

/// The room on the file system of `directory`, as if `occupied` were not there yet.
fn measure(directory: &Path, occupied: &Path, wish: &Wish) -> Result<Room> {
    let stat = rustix::fs::statvfs(directory).map_err(|error| Failure::target("measure", directory, &error.into()))?;
    let used = std::fs::metadata(occupied).map_or(0, |file| std::os::unix::fs::MetadataExt::blocks(&file) * 512);
    let available = stat.f_bavail * stat.f_frsize + used;
    Ok(Room::on_filesystem(available, wish.requested, wish.overhead_per_mille))
}

fn beginning(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; PROBED];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    // The file is sparse: what lies beyond its present end reads as zeros once it is grown.
    Ok(bytes)
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
