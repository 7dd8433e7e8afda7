//! A record in a file of its own.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::failure::Result;
use crate::remove::remove;

/// The file, and the one that replaces it.
#[derive(Debug, Clone)]
pub(super) struct RecordFile {
    path: PathBuf,
}

impl RecordFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn read(&self) -> io::Result<Option<Vec<u8>>> {
        std::fs::read(&self.path).map(Some)
    }

    /// Replaces the file whole.
    pub(super) fn write(&self, content: &[u8]) -> io::Result<()> {
        let fresh = self.fresh();
        let mut file = std::fs::File::create(&fresh)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&fresh, &self.path)
    }

    pub(super) fn remove(&self) -> Result<()> {
        remove(&self.fresh())?;
        remove(&self.path)
    }

    fn fresh(&self) -> PathBuf {
        let mut fresh = self.path.clone().into_os_string();
        fresh.push(".new");
        PathBuf::from(fresh)
    }
}
