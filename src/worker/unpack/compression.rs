//! Compressed streams, known by their first bytes: names and media types lie.

use std::io::BufRead;

use super::bzip2::Blocks;
use super::gzip::GzipReader;
use super::stream::{Decoded, Stream};
use super::{xz, zstd};
use crate::failure::{Failure, Reason};

/// The compressions that are undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1952, any number of members.
    Gzip,
    /// The .xz format, any number of streams.
    Xz,
    /// RFC 8878, any number of frames, skippable ones too.
    Zstd,
    /// bzip2, any number of streams.
    Bzip2,
}

impl Compression {
    /// The compression of a stream with these first bytes.
    #[must_use]
    pub fn detect(prefix: &[u8]) -> Option<Self> {
        match prefix {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            // The second is a skippable frame: pzstd writes one first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            // BZh, the level, and the magic of the first block or of the end.
            [b'B', b'Z', b'h', b'1'..=b'9', rest @ ..]
                if rest.starts_with(&[0x31, 0x41, 0x59, 0x26, 0x53, 0x59])
                    || rest.starts_with(&[0x17, 0x72, 0x45, 0x38, 0x50, 0x90]) =>
            {
                Some(Self::Bzip2)
            }
            _ => None,
        }
    }

    /// The name that people know it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
        }
    }

    /// Checks what no decoder does: flags of gzip's header that are reserved announce fields that nobody knows (RFC 1952,
    /// section 2.3.1.2).
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub(super) fn check(self, prefix: &[u8]) -> Result<(), &'static str> {
        match (self, prefix.get(3)) {
            (Self::Gzip, Some(flags)) if flags & 0xe0 != 0 => Err("reserved flags are set in its header"),
            _ => Ok(()),
        }
    }

    /// The content of a compressed stream.
    ///
    /// # Errors
    ///
    /// [`Reason::Internal`] when the decoder cannot be set up.
    pub(super) fn reader<'a>(self, compressed: impl BufRead + 'a) -> Result<Box<dyn Stream + 'a>, Failure> {
        let set_up = |error: &dyn std::fmt::Display| {
            Failure::new(Reason::Internal, format!("failed to set up the {} decoder: {error}", self.name()))
        };
        Ok(match self {
            Self::Gzip => Box::new(Decoded::new(GzipReader::new(compressed))),
            Self::Bzip2 => Box::new(Decoded::of(Blocks::new(compressed))),
            Self::Xz => Box::new(Decoded::new(xz::Reader::new(compressed).map_err(|error| set_up(&error))?)),
            Self::Zstd => Box::new(Decoded::of(zstd::Frames::new(compressed))),
        })
    }

    /// The least size of the content, where the first bytes say it.
    #[must_use]
    pub fn content_size(self, prefix: &[u8]) -> Option<u64> {
        match self {
            Self::Zstd => ::zstd::zstd_safe::get_frame_content_size(prefix).ok().flatten(),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "compression_tests.rs"]
pub(super) mod tests;
