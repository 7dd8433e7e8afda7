//! What a later attempt needs to go on with a raw disk: how much of it is durable, and of which bytes.
//!
//! Only a raw image that comes as it is can go on in the middle: offset in the source and offset in the disk are the
//! same. The record lies beside the unfinished disk and goes when that is renamed. What it vouches for is hashed again
//! by the next attempt, so a wrong record costs time, never a wrong disk that a digest or checksum could catch.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};

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

/// The file of the record.
#[derive(Debug, Clone)]
pub struct Journal {
    path: PathBuf,
}

impl Journal {
    /// The record at `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// What it says; `None` when there is none or it cannot be read, which means the same: start again.
    #[must_use]
    pub fn read(&self) -> Option<Resume> {
        serde_json::from_slice(&std::fs::read(&self.path).ok()?).ok()
    }

    /// Replaces the record. Call only when what it vouches for is durable.
    ///
    /// # Errors
    ///
    /// [`Reason::TargetIo`](crate::failure::Reason::TargetIo).
    pub fn write(&self, resume: &Resume) -> Result<()> {
        let mut fresh = self.path.clone().into_os_string();
        fresh.push(".new");
        let fresh = PathBuf::from(fresh);
        let replace = || {
            let mut file = std::fs::File::create(&fresh)?;
            file.write_all(&serde_json::to_vec(resume)?)?;
            file.sync_all()?;
            std::fs::rename(&fresh, &self.path)
        };
        replace().map_err(|error| Failure::target("write", &self.path, &error))
    }

    /// Removes the record.
    ///
    /// # Errors
    ///
    /// [`Reason::TargetIo`](crate::failure::Reason::TargetIo).
    pub fn remove(&self) -> Result<()> {
        let mut fresh = self.path.clone().into_os_string();
        fresh.push(".new");
        crate::remove::remove(std::path::Path::new(&fresh))?;
        crate::remove::remove(&self.path)
    }
}
