//! What vdi, vhd, vhdx and vmdk have in common: tables that map extents of the image to extents of the disk.
//!
//! ```text
//!   a format's own file             here
//!   Tables::next ── which part ──▶  stream.rs   collects it when it comes, or
//!                                   rest.rs     reads it
//!   Tables::read ── extents ─────▶  map.rs      keeps them by their place in the image
//!                                   sequence.rs those that are in order, in a byte each
//!                                   placer.rs   takes their bytes and delivers them
//!                                   orphans.rs  bytes that came before a table said what they are
//! ```
//!
//! Each byte of the image belongs to one extent at most; two that claim the same are refused, and so are tables that
//! claim data. Since a table has one entry for each block of the disk, each byte of the disk is delivered once.

mod map;
mod orphans;
mod placer;
mod rest;
mod sequence;
mod stream;

use std::{fmt, ops::Range};

pub(crate) use map::Map;
pub(crate) use stream::ExtentStream;

use crate::{Format, Refusal, error::Reason};

/// How much of a table is read at once: what a table says may fill memory, so it is said in parts.
pub(crate) const PART: u64 = 64 << 10;

/// Bytes one after the other in the image that hold bytes one after the other on the disk. Ordered by place in the
/// image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Extent {
    /// Where it begins in the image.
    pub(crate) image: u64,
    /// The offset on the disk, a multiple of the format's block size.
    pub(crate) disk: u64,
    /// How many bytes of the disk it holds: not 0, and not beyond the disk's end.
    pub(crate) length: u64,
}

/// What lies in an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The bytes of the disk as they are. Extents that follow each other may be taken as one.
    Plain,
    /// A bitmap of so many bytes, and the bytes of the disk behind it. Each bit stands for 512 of them, the most
    /// significant of a byte first; where it is 0 they read as zeros.
    Bitmapped(usize),
    /// A compressed grain of so many bytes behind its marker (Virtual Disk Format 5.0, "Stream-Optimized Compressed
    /// Sparse Extents").
    Marked(usize),
}

/// A part of a table that lies in the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Where it lies: [`PART`] bytes at most, 1 at least.
    pub(crate) range: Range<u64>,
    /// What refusals call the table.
    pub(crate) field: &'static str,
}

/// The tables of a format, read part by part.
pub(crate) trait Tables: fmt::Debug + Send {
    /// The format.
    const FORMAT: Format;
    /// What the specification calls an extent.
    const EXTENT: &'static str;

    /// The size of the disk in bytes.
    fn virtual_size(&self) -> u64;

    /// What the extents hold.
    fn content(&self) -> Content;

    /// The part that is to be read next; `None` when all have been. Parts come in the order of the image as far as the
    /// format has one, and never twice.
    fn next(&self) -> Option<Part>;

    /// Reads the part that [`Tables::next`] names, and adds the extents that it maps.
    fn read(&mut self, part: &[u8], map: &mut Map) -> Result<(), Refusal>;

    /// The offset in the image before which there is no data, only headers and tables.
    fn data_start(&self) -> u64 {
        0
    }

    /// Judges the end of a stream: its length and its `last` 512 bytes, or all of them if it is shorter.
    fn check_end(&self, _size: u64, _last: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }
}

/// Refuses an image that ends before `end`.
pub(crate) fn check_inside(format: Format, field: &'static str, end: u64, size: u64) -> Result<(), Refusal> {
    if end <= size {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::Truncated,
        format.as_str(),
        field,
        format_args!("an image of {size} bytes"),
        format_args!("at least {end} bytes"),
    ))
}

/// Refuses something that lies where something else does.
pub(crate) fn overlap(format: Format, field: &'static str, offset: u64, other: &str) -> Refusal {
    Refusal::new(
        Reason::Overlap,
        format.as_str(),
        field,
        format_args!("offset {offset:#x}, in {other}"),
        "a place of its own",
    )
}

/// The first of the named `structures` that `range` meets.
pub(crate) fn meets(range: &Range<u64>, structures: &[(Range<u64>, &'static str)]) -> Option<&'static str> {
    structures.iter().find(|(other, _)| range.start < other.end && other.start < range.end).map(|(_, name)| *name)
}
