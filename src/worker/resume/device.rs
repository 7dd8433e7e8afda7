//! A record on a block device.
//!
//! ```text
//! SHA-256 of the rest (32 bytes) │ JSON │ zeros to the end of the block
//! ```
//!
//! The digest tells a record from what else may lie there, and a whole one from one that a power failure tore.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use rustix::fs::OFlags;

use crate::aligned::AlignedBuffer;

/// The block.
#[derive(Debug, Clone)]
pub(super) struct RecordBlock {
    device: PathBuf,
    offset: u64,
    length: usize,
}

impl RecordBlock {
    pub(super) fn new(device: PathBuf, offset: u64, length: usize) -> Self {
        Self { device, offset, length }
    }

    pub(super) fn device(&self) -> &Path {
        &self.device
    }

    /// The length of the longest record.
    pub(super) fn room(&self) -> usize {
        self.length - SHA256_OUTPUT_LEN
    }

    /// The record; `None` when what is there is none.
    pub(super) fn read(&self) -> io::Result<Option<Vec<u8>>> {
        let mut block = AlignedBuffer::new(self.length);
        self.open()?.read_exact_at(block.bytes_mut(), self.offset)?;
        let (found, content) = block.bytes().split_at(SHA256_OUTPUT_LEN);
        if digest(&SHA256, content).as_ref() != found {
            return Ok(None);
        }
        let end = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Ok(Some(content[..end].to_vec()))
    }

    /// Replaces the record in place.
    pub(super) fn write(&self, content: &[u8]) -> io::Result<()> {
        let mut block = AlignedBuffer::new(self.length);
        let (found, room) = block.bytes_mut().split_at_mut(SHA256_OUTPUT_LEN);
        room.get_mut(..content.len()).ok_or(io::ErrorKind::FileTooLarge)?.copy_from_slice(content);
        found.copy_from_slice(digest(&SHA256, room).as_ref());
        self.replace(&block)
    }

    /// Leaves zeros.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.replace(&AlignedBuffer::new(self.length))
    }

    fn replace(&self, block: &AlignedBuffer) -> io::Result<()> {
        let device = self.open()?;
        device.write_all_at(block.bytes(), self.offset)?;
        device.sync_data()
    }

    /// Past the page cache, as everything that is written to the device.
    fn open(&self) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).custom_flags(OFlags::DIRECT.bits().cast_signed()).open(&self.device)
    }
}
