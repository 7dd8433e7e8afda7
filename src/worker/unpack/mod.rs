//! From the bytes of a blob to the bytes of the disk image in it: decompress, find the file, decompress again.

mod budget;
mod bzip2;
mod compression;
mod diff_id;
mod gzip;
mod parallel;
mod select;
mod sightings;
mod sparse;
mod stream;
mod tar;
mod wrapping;
mod xz;
mod zstd;

use std::io;
use std::rc::Rc;

use crate::channel::{Batch, ChunkReader, NeighbourGone, Sender, is_neighbour_gone};
use crate::failure::{Failure, Reason};
use crate::shown::shown;

use budget::Budget;
use diff_id::Hashing;
use stream::{Stream, peek};
use wrapping::{Fetched, Wrapping};

pub use compression::Compression;
pub use diff_id::DiffId;
pub use select::{Container, Hidden, check_path};
pub use sightings::Sightings;

/// An image in an archive in a compressed layer is three deep; more is a bomb or a mistake.
const MAX_DEPTH: usize = 5;

/// How large the disk may be where nobody says.
const UNKNOWN_ROOM: u64 = 16 << 30;

/// GNU tar pads to 20 blocks.
const MAX_EMPTY_ARCHIVE: usize = 20 * tar::BLOCK;

/// Why a stage ended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StageError {
    /// Because of the image or the target: this stage is the author of the failure.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// Because another stage did.
    #[error(transparent)]
    Neighbour(#[from] NeighbourGone),
}

impl From<io::Error> for StageError {
    /// Errors of readers: what is neither a neighbour's end nor says itself what failed is the fault of the stream.
    fn from(error: io::Error) -> Self {
        if is_neighbour_gone(&error) {
            return Self::Neighbour(NeighbourGone);
        }
        error.downcast().map_or_else(|error| malformed("stream", &error.to_string()), Self::Failed)
    }
}

/// What goes to the decoder.
#[derive(Debug)]
pub enum Piece {
    /// The image begins.
    Begin(Beginning),
    /// The image's next bytes.
    Data(Batch),
}

/// What is known of an image when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Beginning {
    /// How long it is.
    pub length: Length,
    /// Whether it is the blob as it stands: then an offset in one is the same offset in the other.
    pub unwrapped: bool,
}

/// How long an image is, as far as that is known before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Length {
    /// So many bytes.
    Exactly(u64),
    /// At least so many: what the first of perhaps several frames says.
    AtLeast(u64),
    /// Only the end will tell.
    #[default]
    Unknown,
}

impl Length {
    /// The length, when it is known.
    #[must_use]
    pub fn exactly(self) -> Option<u64> {
        match self {
            Self::Exactly(length) => Some(length),
            Self::AtLeast(_) | Self::Unknown => None,
        }
    }
}

/// What to look for in a blob.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The path that the user names.
    pub path: Option<String>,
    /// What an archive in the blob is part of.
    pub container: Container,
    /// What upper layers hide.
    pub hidden: Hidden,
    /// What the blob's content must hash to.
    pub diff_id: Option<DiffId>,
    /// The size of the disk at most, where it is known: it bounds what may lie beside the disk.
    pub room: Option<u64>,
}

/// What a blob held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unpacked {
    /// The disk; it went to the decoder.
    Disk,
    /// No disk; this is hidden in the layers below, and this is there.
    Nothing(Hidden, Sightings),
}

/// Unpacks one blob of `length` and sends what it holds to `sender`; ends the channel when all was read.
///
/// # Errors
///
/// Malformed streams and archives, and what [`Rules`] refuse.
pub fn unpack(
    mut blob: ChunkReader,
    length: Length,
    rules: &Rules,
    sender: Sender<Piece>,
) -> Result<Unpacked, StageError> {
    let budget = Budget::new(rules.room.unwrap_or(UNKNOWN_ROOM));
    let mut unpacker = Unpacker { rules, sender, budget: Rc::clone(&budget), hashing: None };
    let found = unpacker.descend(Box::new(Fetched { blob: &mut blob, budget }), length, 0)?;
    // What a format leaves behind its end still counts for the digest.
    blob.drain()?;
    if let Some(hashing) = unpacker.hashing.take() {
        hashing.finish()?;
    }
    unpacker.sender.end()?;
    Ok(found)
}

struct Unpacker<'a> {
    rules: &'a Rules,
    sender: Sender<Piece>,
    budget: Rc<Budget>,
    /// The content's digest in the making, where one is promised.
    hashing: Option<Hashing>,
}

impl Unpacker<'_> {
    fn descend(&mut self, reader: Box<dyn Stream + '_>, length: Length, depth: usize) -> Result<Unpacked, StageError> {
        let (prefix, reader) = peek(reader, tar::BLOCK)?;
        if let Some(compression) = Compression::detect(&prefix) {
            let content = self.content(compression, &prefix, reader, depth)?;
            let content = if depth == 0 { self.hashed(content)? } else { content };
            return self.descend(content, content_length(compression, &prefix), depth + 1);
        }
        if let Some(diff_id) = self.rules.diff_id.as_ref().filter(|_| depth == 0) {
            diff_id.check_plain()?;
        }
        if tar::is_header(&prefix) {
            return self.archive(reader, depth);
        }
        // The archive of a layer that adds nothing is a few blocks of zeros.
        let (beginning, reader) = peek(reader, MAX_EMPTY_ARCHIVE + 1)?;
        let zeros = beginning.iter().all(|byte| *byte == 0);
        if self.rules.container == Container::Layer && zeros && beginning.len() <= MAX_EMPTY_ARCHIVE {
            return Ok(Unpacked::Nothing(self.rules.hidden.clone(), Sightings::default()));
        }
        self.image(reader, Beginning { length, unwrapped: depth == 0 })
    }

    /// The content of a compressed blob, which is hashed as it passes if its digest is promised.
    fn hashed<'s>(&mut self, content: Box<dyn Stream + 's>) -> Result<Box<dyn Stream + 's>, StageError> {
        let Some(diff_id) = self.rules.diff_id.clone() else {
            return Ok(content);
        };
        let (content, hashing) = diff_id.hash(content)?;
        self.hashing = Some(hashing);
        Ok(content)
    }

    /// What is in a compressed stream around which there are `depth` others.
    fn content<'s>(
        &self,
        compression: Compression,
        prefix: &[u8],
        compressed: Box<dyn Stream + 's>,
        depth: usize,
    ) -> Result<Box<dyn Stream + 's>, StageError> {
        if depth >= MAX_DEPTH {
            return Err(refused(
                Reason::UnsupportedImage,
                format!("the image is wrapped more than {MAX_DEPTH} times; unpack it and upload it again"),
            ));
        }
        compression.check(prefix).map_err(|what| malformed(&format!("{} stream", compression.name()), what))?;
        Ok(Box::new(Wrapping::new(compression, compressed, &self.budget)?))
    }

    fn archive(&mut self, reader: Box<dyn Stream + '_>, depth: usize) -> Result<Unpacked, StageError> {
        let rules = self.rules;
        let mut selector = select::Selector::new(rules.path.as_deref(), rules.container, &rules.hidden)?;
        let mut archive = tar::Archive::new(reader);
        let mut found = false;
        while let Some(entry) = archive.next()? {
            let path = shown(&entry.path);
            if selector.judge(&entry)? == select::Verdict::Take {
                found = true;
                self.budget.enter(path);
                self.file(Box::new(archive.content()), entry.size, depth)?;
            } else {
                self.budget.enter(format!("{path}, which is not the disk,"));
            }
        }
        self.budget.enter("what follows the last file of the archive".into());
        archive.drain()?;
        if found {
            return Ok(Unpacked::Disk);
        }
        let (hidden, seen) = selector.end();
        if rules.container == Container::Plain {
            return Err(refused(
                Reason::NoDisk,
                match &rules.path {
                    Some(path) => format!("the archive holds no file {path}; {}", seen.alternatives()),
                    None => "the archive holds no file; pack the disk image in it".into(),
                },
            ));
        }
        Ok(Unpacked::Nothing(hidden, seen))
    }

    /// The disk image out of an archive; compressed, perhaps, but not a second archive: which path would count?
    fn file(&mut self, reader: Box<dyn Stream + '_>, size: u64, depth: usize) -> Result<(), StageError> {
        let mut reader = reader;
        let mut length = Length::Exactly(size);
        for level in depth.. {
            let (prefix, whole) = peek(reader, tar::BLOCK)?;
            let Some(compression) = Compression::detect(&prefix) else {
                if tar::is_header(&prefix) {
                    return Err(refused(
                        Reason::UnsupportedImage,
                        "the file chosen is an archive in an archive; unpack it and upload it again".into(),
                    ));
                }
                self.image(whole, Beginning { length, unwrapped: false })?;
                break;
            };
            length = content_length(compression, &prefix);
            reader = self.content(compression, &prefix, whole, level)?;
        }
        Ok(())
    }

    fn image(&mut self, mut reader: Box<dyn Stream + '_>, beginning: Beginning) -> Result<Unpacked, StageError> {
        self.sender.send(Piece::Begin(beginning))?;
        loop {
            let batch = reader.batch(u64::MAX)?;
            if batch.is_empty() {
                return Ok(Unpacked::Disk);
            }
            let sent = stream::length(&batch);
            self.sender.send(Piece::Data(batch))?;
            self.budget.deliver(sent);
        }
    }
}

fn content_length(compression: Compression, prefix: &[u8]) -> Length {
    compression.content_size(prefix).map_or(Length::Unknown, Length::AtLeast)
}

/// A failure that lies in the image.
fn refused(reason: Reason, message: String) -> StageError {
    StageError::Failed(Failure::new(reason, message))
}

/// A stream that is not what it should be.
fn malformed(what: &str, detail: &str) -> StageError {
    StageError::Failed(damaged(what, detail))
}

fn damaged(what: &str, detail: &str) -> Failure {
    let message = format!("the {what} is damaged: {detail}; check the image and upload it again");
    Failure::new(Reason::MalformedArchive, message)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
