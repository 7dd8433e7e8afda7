//! What a later attempt needs to go on with a raw disk: how much of it is durable, and of which bytes.
//!
//! Only a raw image that comes as it is can go on in the middle: offset in the source and offset in the disk are the
//! same. The record lies beside the unfinished disk, or in the last unit of a device, and goes when the disk is whole.
//!
//! What a record vouches for is hashed again by the next attempt, so where the source's digest is known, a wrong one
//! costs time and never a wrong disk. Where none is known, all depends on whose record it is: storage may come with what
//! a former user left in it. So in a volume a record counts only if it bears the UID of the volume's claim, which nobody
//! knew before that claim was made.

mod device;
mod file;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};
use device::RecordBlock;
use file::RecordFile;

/// How much is written between two records at least.
pub const INTERVAL: u64 = 16 << 20;

/// How long a record is good for at least: each one waits for the disk, and a fast source brings [`INTERVAL`] many
/// times a second. What a kill costs at most is what comes in the longer of the two, beside what is in flight.
pub const PAUSE: Duration = Duration::from_secs(1);

/// What is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resume {
    /// Where the source is; tags mean something only there.
    pub url: String,
    /// What names the source's bytes: digest or strong ETag.
    pub identity: String,
    /// The source's size.
    pub size: u64,
    /// So many bytes from the start are on the medium.
    pub bytes: u64,
}

/// A [`Resume`] and whose it is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claim_uid: Option<String>,
    #[serde(flatten)]
    resume: Resume,
}

/// The place of the record of one volume.
#[derive(Debug, Clone)]
pub struct Journal {
    place: Place,
    claim_uid: Option<String>,
}

#[derive(Debug, Clone)]
enum Place {
    File(RecordFile),
    Device(RecordBlock),
}

impl Journal {
    /// The record in the file at `path`; by hand, in a directory that is the user's, there is no claim.
    #[must_use]
    pub fn in_file(path: PathBuf, claim_uid: Option<String>) -> Self {
        Self { place: Place::File(RecordFile::new(path)), claim_uid }
    }

    /// The record in the `length` bytes at `offset` of a device, both in whole sectors.
    #[must_use]
    pub fn on_device(device: PathBuf, offset: u64, length: usize, claim_uid: String) -> Self {
        Self { place: Place::Device(RecordBlock::new(device, offset, length)), claim_uid: Some(claim_uid) }
    }

    /// What it says; `None` when there is none, when it cannot be read or is another claim's, which all mean the same:
    /// start again.
    #[must_use]
    pub fn read(&self) -> Option<Resume> {
        let content = match &self.place {
            Place::File(file) => file.read(),
            Place::Device(block) => block.read(),
        };
        let record: Record = serde_json::from_slice(&content.ok()??).ok()?;
        (record.claim_uid == self.claim_uid).then_some(record.resume)
    }

    /// Whether there is room for a record of these bytes.
    #[must_use]
    pub fn takes(&self, resume: &Resume) -> bool {
        let longest = Resume { bytes: u64::MAX, ..resume.clone() };
        match &self.place {
            Place::File(_) => true,
            Place::Device(block) => self.serialized(&longest).is_ok_and(|content| content.len() <= block.room()),
        }
    }

    /// Replaces the record. Call only when what it vouches for is durable, and [`Journal::takes`] it.
    ///
    /// # Errors
    ///
    /// [`Reason::TargetIo`](crate::failure::Reason::TargetIo).
    pub fn write(&self, resume: &Resume) -> Result<()> {
        let write = || {
            let content = self.serialized(resume)?;
            match &self.place {
                Place::File(file) => file.write(&content),
                Place::Device(block) => block.write(&content),
            }
        };
        write().map_err(|error| Failure::target("write the record of progress in", self.path(), &error))
    }

    /// Removes the record, durably where that matters: before the bytes that it vouches for are replaced.
    ///
    /// # Errors
    ///
    /// [`Reason::TargetIo`](crate::failure::Reason::TargetIo).
    pub fn remove(&self) -> Result<()> {
        match &self.place {
            Place::File(file) => file.remove(),
            // What is no record of this claim is the device's content, and not ours to touch yet.
            Place::Device(_) if self.read().is_none() => Ok(()),
            Place::Device(block) => block
                .clear()
                .map_err(|error| Failure::target("remove the record of progress from", self.path(), &error)),
        }
    }

    fn serialized(&self, resume: &Resume) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&Record { claim_uid: self.claim_uid.clone(), resume: resume.clone() })
    }

    fn path(&self) -> &std::path::Path {
        match &self.place {
            Place::File(file) => file.path(),
            Place::Device(block) => block.device(),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
