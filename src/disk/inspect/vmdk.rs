//! The vmdk inspector, by VMware's "Virtual Disk Format 1.1": one sparse extent with its descriptor embedded.

use super::{
    Details, Inspection, Scope,
    field::Fields,
    view::{Stop, View},
    vmdk_descriptor::Descriptor,
};
use crate::{Format, Refusal, error::Reason};

pub(super) const NAME: &str = "vmdk";
const SECTOR: u64 = 512;
const HEADER: usize = 512;
/// The longest descriptor, in sectors: 1 MiB.
const MAX_DESCRIPTOR: u64 = 2048;
/// The largest disk, in sectors: 64 TiB, a little more than VMFS takes.
const MAX_CAPACITY: u64 = (64 << 40) / SECTOR;
/// `gdOffset` of a header whose valid copy is the footer (`GD_AT_END`).
const GRAIN_DIRECTORY_AT_END: u64 = u64::MAX;

/// The most grain tables: the largest disk has as many with the usual grains of 64 KiB.
const MAX_TABLES: u64 = 2 << 20;

const FLAG_ZEROED_GRAINS: u32 = 1 << 2;
const FLAG_COMPRESSED: u32 = 1 << 16;
const FLAG_MARKERS: u32 = 1 << 17;

/// How the extent of a vmdk in one file is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmdkSubformat {
    /// `monolithicSparse`: grains and tables of them.
    MonolithicSparse,
    /// `streamOptimized`: compressed grains that carry their place, made to be streamed.
    StreamOptimized,
}

/// What the header says of the disk and of the places in the image. Offsets and sizes are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmdkHeader {
    /// How the extent is laid out.
    pub subformat: VmdkSubformat,
    /// Whether the grain directory lies behind the grains, where the header's copy at the end of the image, the footer,
    /// tells (`GD_AT_END`).
    pub footer: bool,
    /// `capacity`: the size of the disk.
    pub capacity: u64,
    /// `grainSize`: a power of 2 from 4 KiB to 32 MiB.
    pub grain_size: u64,
    /// Whether an entry of 1 in a grain table stands for zeros.
    pub(crate) zeroed_grains: bool,
    /// `overHead`: where the grains begin, as far as its writer knew.
    pub(crate) overhead: u64,
    /// Where the descriptor begins and ends.
    pub(crate) descriptor: (u64, u64),
    /// `gdOffset`: where the grain directory begins; of no use with a footer.
    pub(crate) directory: u64,
}

impl VmdkHeader {
    /// `numGTEsPerGT`.
    pub(crate) const TABLE_ENTRIES: u64 = 512;

    fn new(header: &Fields<'_>, subformat: VmdkSubformat) -> Self {
        // In sectors none of them is more than 2^48, by the checks.
        let bytes = |offset| header.le64(offset).saturating_mul(SECTOR);
        let footer = header.le64(56) == GRAIN_DIRECTORY_AT_END;
        Self {
            subformat,
            footer,
            capacity: bytes(12),
            grain_size: bytes(20),
            zeroed_grains: header.le32(8) & FLAG_ZEROED_GRAINS != 0,
            overhead: bytes(64),
            descriptor: (bytes(28), bytes(28).saturating_add(bytes(36))),
            directory: if footer { 0 } else { bytes(56) },
        }
    }

    /// The number of grains.
    pub(crate) fn grains(&self) -> u64 {
        self.capacity.div_ceil(self.grain_size)
    }

    /// The number of grain tables, which is the number of entries in the grain directory.
    pub(crate) fn tables(&self) -> u64 {
        self.grains().div_ceil(Self::TABLE_ENTRIES)
    }
}

pub(super) fn inspect(view: &View<'_>) -> Result<Inspection, Stop> {
    let bytes = view.bytes(0, HEADER, NAME, "SparseExtentHeader")?;
    let header = Fields { format: NAME, bytes: &bytes };
    check_header(&header)?;
    let capacity = header.le64(12);
    let descriptor = read_descriptor(view, &header, capacity)?;
    check_layout(&header, descriptor.subformat)?;
    let found = VmdkHeader::new(&header, descriptor.subformat);
    if found.footer {
        check_overhead(&header, &found)?;
        if view.scope() == Scope::Whole {
            check_trailing(view, &header)?;
        }
    } else {
        check_directory(&header, view.size())?;
    }
    Ok(Inspection {
        format: Format::Vmdk,
        virtual_size: Some(found.capacity),
        details: Details::Vmdk(found),
        scope: view.scope(),
    })
}

fn check_header(header: &Fields<'_>) -> Result<(), Stop> {
    let version = header.le32(4);
    header.require_or(Reason::UnsupportedFormat, (1..=3).contains(&version), "version", version, "1 to 3")?;
    // With capacity 0, QEMU takes the embedded descriptor for one of separate files and opens what it names.
    let capacity = header.le64(12);
    header.require_or(Reason::ExternalExtent, capacity > 0, "capacity", capacity, "more than 0")?;
    header.require_or(
        Reason::TooLarge,
        capacity <= MAX_CAPACITY,
        "capacity",
        capacity,
        format_args!("at most {MAX_CAPACITY} sectors"),
    )?;
    let grain = header.le64(20);
    header.require(
        grain.is_power_of_two() && (8..=1 << 16).contains(&grain),
        "grainSize",
        grain,
        "a power of 2 from 8 to 65536 sectors",
    )?;
    let tables = capacity.div_ceil(grain * VmdkHeader::TABLE_ENTRIES);
    header.require_or(
        Reason::TooLarge,
        tables <= MAX_TABLES,
        "grainSize",
        grain,
        format_args!("at most {MAX_TABLES} grain tables, not {tables}"),
    )?;
    let entries = header.le32(44);
    header.require(entries == 512, "numGTEsPerGT", entries, 512)?;
    let newlines = header.array::<4>(73);
    header.require_or(
        Reason::Corrupt,
        newlines == *b"\n \r\n",
        "singleEndLineChar … doubleEndLineChar2",
        format_args!("\"{}\"", newlines.escape_ascii()),
        "\"\\n \\r\\n\" (otherwise a text-mode transfer has changed the file)",
    )?;
    Ok(())
}

/// The header's flags fit what the descriptor calls the file.
fn check_layout(header: &Fields<'_>, subformat: VmdkSubformat) -> Result<(), Stop> {
    let flags = header.le32(8);
    let compression = header.le16(77);
    header.require_or(
        Reason::UnsupportedFeature,
        compression <= 1,
        "compressAlgorithm",
        compression,
        "0 (none) or 1 (deflate)",
    )?;
    let compressed = flags & FLAG_COMPRESSED != 0;
    let markers = flags & FLAG_MARKERS != 0;
    let stream = subformat == VmdkSubformat::StreamOptimized;
    header.require(
        compressed == stream && markers == stream && (compression == 1) == stream,
        "flags",
        format_args!("{flags:#x} with compressAlgorithm {compression}"),
        if stream {
            "compressed grains and markers, as createType streamOptimized says"
        } else {
            "neither compressed grains nor markers, as createType monolithicSparse says"
        },
    )?;
    Ok(())
}

fn read_descriptor(view: &View<'_>, header: &Fields<'_>, capacity: u64) -> Result<Descriptor, Stop> {
    let offset = header.le64(28);
    let length = header.le64(36);
    header.require_or(
        Reason::UnsupportedFormat,
        offset > 0 && length > 0,
        "descriptorOffset",
        format_args!("{offset} (size {length})"),
        "an embedded descriptor",
    )?;
    header.require_or(
        Reason::TooLarge,
        length <= MAX_DESCRIPTOR,
        "descriptorSize",
        length,
        format_args!("at most {MAX_DESCRIPTOR} sectors"),
    )?;
    header.require(offset < 1 << 48, "descriptorOffset", offset, "a sector inside the image")?;
    // At most 1 MiB, by the check above.
    let length = usize::try_from(length * SECTOR).unwrap_or(usize::MAX);
    let text = view.bytes(offset * SECTOR, length, NAME, "descriptor")?;
    let descriptor = Descriptor::parse(&text)?;
    header.require(
        descriptor.sectors == capacity,
        "extent size",
        descriptor.sectors,
        format_args!("{capacity} sectors, the capacity"),
    )?;
    Ok(descriptor)
}

/// With its directory at the end, an image is a stream: grains and tables behind each other from `overHead` on.
fn check_overhead(header: &Fields<'_>, found: &VmdkHeader) -> Result<(), Refusal> {
    header.require(
        found.subformat == VmdkSubformat::StreamOptimized,
        "gdOffset",
        "GD_AT_END",
        "a sector inside the image: only streamOptimized has a footer",
    )?;
    let overhead = header.le64(64);
    header.require(
        overhead < 1 << 48 && found.overhead >= found.descriptor.1,
        "overHead",
        overhead,
        format_args!("at least {} sectors, the end of the descriptor", found.descriptor.1 / SECTOR),
    )
}

/// Footer marker, footer, end-of-stream marker: the last three sectors of a stream whose directory lies at its end.
fn check_trailing(view: &View<'_>, header: &Fields<'_>) -> Result<(), Stop> {
    const FOOTER_MARKER: u32 = 3;
    const LENGTH: usize = 3 * 512;
    let size = view.size().unwrap_or_default();
    let offset = size.saturating_sub(LENGTH as u64);
    let bytes = view.bytes(offset, LENGTH, NAME, "footer")?;
    let part = |from: usize| Fields { format: NAME, bytes: &bytes[from..from + 512] };
    let (marker, footer, end) = (part(0), part(512), part(1024));
    marker.require_or(
        Reason::Truncated,
        marker.le32(8) == 0 && marker.le32(12) == FOOTER_MARKER && end.le64(0) == 0 && end.le64(8) == 0,
        "footer marker",
        "none before the last two sectors",
        "a footer at the end of the image",
    )?;
    check_footer(header, &footer)?;
    check_directory(&footer, view.size())
}

/// The footer says the same as the header, and gives the place of the grain directory, in sectors.
pub(crate) fn check_footer(header: &Fields<'_>, footer: &Fields<'_>) -> Result<u64, Refusal> {
    // VirtualBox has both directories at the end, so `rgdOffset` (at 48) may differ like `gdOffset`.
    let differing = footer.bytes[..48] != header.bytes[..48] || footer.bytes[73..79] != header.bytes[73..79];
    footer.require_or(
        Reason::Corrupt,
        !differing,
        "footer",
        "other values than in the header",
        "the header's values, rgdOffset and gdOffset apart",
    )?;
    let directory = footer.le64(56);
    footer.require(
        directory != GRAIN_DIRECTORY_AT_END,
        "gdOffset of the footer",
        "GD_AT_END",
        "a sector inside the image",
    )?;
    Ok(directory)
}

/// The grain directory lies inside the image.
fn check_directory(header: &Fields<'_>, size: Option<u64>) -> Result<(), Stop> {
    let (capacity, grain) = (header.le64(12), header.le64(20));
    let tables = capacity.div_ceil(grain * VmdkHeader::TABLE_ENTRIES);
    let offset = header.le64(56);
    let end = offset.checked_mul(SECTOR).and_then(|start| start.checked_add(tables * 4));
    header.require_or(
        Reason::Truncated,
        offset > 0 && end.is_some_and(|end| size.is_none_or(|size| end <= size)),
        "gdOffset",
        offset,
        "a grain directory inside the image",
    )?;
    Ok(())
}
