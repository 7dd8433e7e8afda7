//! Why an image is refused, and what else can go wrong while one is decoded.

use std::{fmt, io};

/// The cause of a [`Refusal`]: one CamelCase word that is stable for machines (events, reports, tests).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Reason {
    /// The image is an overlay: part of its disk lies in another file (backing file, parent, differencing disk).
    BackingFile,
    /// A value in the header lies outside what the specification or this reader allows.
    BadHeader,
    /// An entry of an allocation table is invalid.
    BadTable,
    /// Compressed data does not decompress to what it must.
    BadData,
    /// A checksum does not match, or the image's own flags call it corrupt.
    Corrupt,
    /// The guest's data lies in another file.
    DataFile,
    /// There is nothing in the image.
    Empty,
    /// The image is encrypted.
    Encrypted,
    /// The image's descriptor names extents in other files.
    ExternalExtent,
    /// The content is of another format than was declared.
    FormatMismatch,
    /// The content is no disk at all (a web page, a Git LFS pointer).
    NotADisk,
    /// Two structures of the image claim the same bytes.
    Overlap,
    /// The content is valid in more than one format, so that two readers may see two disks.
    Polyglot,
    /// A structure is larger than this reader (and QEMU) takes.
    TooLarge,
    /// The image ends before what it describes.
    Truncated,
    /// The image was not shut down cleanly: a journal waits to be replayed.
    UncleanLog,
    /// The image needs a feature that is not supported.
    UnsupportedFeature,
    /// The image is of a format, or of a variant of one, that is not supported.
    UnsupportedFormat,
}

impl Reason {
    /// The word itself.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BackingFile => "BackingFile",
            Self::BadHeader => "BadHeader",
            Self::BadTable => "BadTable",
            Self::BadData => "BadData",
            Self::Corrupt => "Corrupt",
            Self::DataFile => "DataFile",
            Self::Empty => "Empty",
            Self::Encrypted => "Encrypted",
            Self::ExternalExtent => "ExternalExtent",
            Self::FormatMismatch => "FormatMismatch",
            Self::NotADisk => "NotADisk",
            Self::Overlap => "Overlap",
            Self::Polyglot => "Polyglot",
            Self::TooLarge => "TooLarge",
            Self::Truncated => "Truncated",
            Self::UncleanLog => "UncleanLog",
            Self::UnsupportedFeature => "UnsupportedFeature",
            Self::UnsupportedFormat => "UnsupportedFormat",
        }
    }

    /// What the owner of the image can do about it.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::BackingFile | Self::DataFile | Self::ExternalExtent => {
                "the disk must lie in one file: flatten it with `qemu-img convert -O qcow2 OLD NEW` and upload NEW"
            }
            Self::BadHeader | Self::BadTable | Self::BadData | Self::Corrupt | Self::Overlap => {
                "the image is damaged or was made to mislead: check it with `qemu-img check` and upload it again"
            }
            Self::Empty => "upload an image that holds a disk",
            Self::Encrypted => {
                "decrypt it with `qemu-img convert` and upload the plain image, or encrypt inside the guest"
            }
            Self::FormatMismatch => "correct the declared format, or declare none to go by content",
            Self::NotADisk => "check that the URL names the image itself and that the server lets you download it",
            Self::Polyglot => "convert it with `qemu-img convert -f FORMAT`, naming the format that is meant",
            Self::TooLarge => "convert it with `qemu-img convert -O qcow2`, with the default cluster size",
            Self::Truncated => "the upload was cut short: compare its size with the original and upload it again",
            Self::UncleanLog => {
                "shut the virtual machine down cleanly, or replay the log with `qemu-img check -r all`, \
                 and upload it again"
            }
            Self::UnsupportedFeature | Self::UnsupportedFormat => {
                "convert it with `qemu-img convert -O qcow2` and upload the result"
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The verdict on an image that will not be decoded, now or later: which field, what it holds, what it should hold.
///
/// Text that comes out of the image is escaped and shortened, so that a message can go to a terminal, a
/// log or an event as it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{format} {field}: found {found}, expected {expected}; {}", reason.advice())]
pub struct Refusal {
    /// The cause, for machines.
    pub reason: Reason,
    /// The format whose rule is broken, or `image` where no single one is.
    pub format: &'static str,
    /// The field, by its name in the format's specification.
    pub field: &'static str,
    /// What the field holds.
    pub found: String,
    /// What it may hold.
    pub expected: String,
}

impl Refusal {
    pub(crate) fn new(
        reason: Reason,
        format: &'static str,
        field: &'static str,
        found: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> Self {
        Self { reason, format, field, found: found.to_string(), expected: expected.to_string() }
    }
}

/// The end of a decoding that did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The image is refused; another attempt would say the same.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The image could not be read.
    #[error("failed to read {length} bytes at offset {offset} of the image")]
    Read {
        /// The offset in the image.
        offset: u64,
        /// How much was to be read.
        length: usize,
        /// The reader's error.
        #[source]
        source: io::Error,
    },
    /// The sink did not take what was decoded.
    #[error("failed to write {length} bytes at offset {offset} of the disk")]
    Write {
        /// The offset in the disk.
        offset: u64,
        /// How much was to be written.
        length: usize,
        /// The sink's error.
        #[source]
        source: io::Error,
    },
    /// The layout can't be decoded in file order within the bounded window. Nothing is lost: the decoder has taken in
    /// exactly `consumed` bytes and holds what it could not place. Stage the rest of the stream, then call
    /// [`Decoder::finish_at`](crate::Decoder::finish_at).
    #[error(
        "the {format} image {why}, so that it can't be decoded in one pass (given up after {consumed} bytes); \
         the rest of it must be staged"
    )]
    NeedsRandomAccess {
        /// The format.
        format: &'static str,
        /// What about the layout.
        why: &'static str,
        /// How many bytes of the image the decoder has taken in: the staged rest starts at this offset.
        consumed: u64,
    },
    /// The stream brings other bytes than those that were read ahead of it: the source is not what it was, or answers as
    /// it likes.
    #[error("the {format} image changed while it was read: its table at offset {offset} is not the one read before")]
    Changed {
        /// The format.
        format: &'static str,
        /// The first offset in the image that may differ.
        offset: u64,
    },
    /// The layout refers back to bytes that have been decoded and dropped. Only the image as a whole helps: give it to
    /// [`decode_at`](crate::decode_at), which may write again what the sink has already got.
    #[error(
        "the {format} image refers to its offset {offset} a second time, after it was decoded; \
         the image must be staged as a whole"
    )]
    NeedsWholeImage {
        /// The format.
        format: &'static str,
        /// The offset in the image.
        offset: u64,
    },
}

impl Error {
    /// The refusal, when that is what it is.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

/// Text out of an image, made fit for a message: escaped, quoted, and cut after 64 bytes.
pub(crate) fn quote(bytes: &[u8]) -> String {
    const LIMIT: usize = 64;
    let ellipsis = if bytes.len() > LIMIT { "…" } else { "" };
    let shown = &bytes[..bytes.len().min(LIMIT)];
    format!("\"{}{ellipsis}\"", shown.escape_ascii())
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
