//! The vhd inspector, by Microsoft's "Virtual Hard Disk Image Format Specification" 1.0.

use super::{
    Details, Inspection, Scope,
    field::Fields,
    view::{Stop, View},
};
use crate::{
    Format, Refusal,
    error::{Reason, quote},
};

const NAME: &str = "vhd";
const VERSION_1: u32 = 0x0001_0000;
/// The largest disk: 2040 GiB (QEMU's `VHD_MAX_SECTORS`).
const MAX_SIZE: u64 = 0xff00_0000 * 512;

/// The disk type of a vhd image that stands alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VhdType {
    /// The raw disk and a footer.
    Fixed,
    /// Blocks and a table of them.
    Dynamic(VhdHeader),
}

/// What a dynamic disk's footer and header say of the disk and of the places in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VhdHeader {
    /// `Block Size` in bytes: a power of 2.
    pub block_size: u32,
    /// `Max Table Entries` of the block allocation table.
    pub entries: u32,
    /// `Table Offset`: where the block allocation table lies, in bytes.
    pub table_offset: u64,
    /// The footer, which stands at the beginning and at the end.
    pub(crate) footer: Footer,
}

impl VhdHeader {
    /// The length of the structure in bytes.
    pub(crate) const LENGTH: usize = 1024;
}

/// The specification's "Hard Disk Footer Format".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    dynamic: bool,
    pub(crate) current_size: u64,
    /// `Data Offset`: where a dynamic disk's header lies, in bytes.
    pub(crate) header_offset: u64,
}

impl Footer {
    pub(crate) const LENGTH: usize = 512;
    pub(crate) const COOKIE: &[u8] = b"conectix";

    /// Reads a footer that is known to be one.
    fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let fields = Fields { format: NAME, bytes };
        fields.require(
            bytes.starts_with(Self::COOKIE),
            "Cookie",
            quote(bytes.get(..8).unwrap_or_default()),
            quote(Self::COOKIE),
        )?;
        check_sum(&fields, 64)?;
        let version = fields.be32(12);
        fields.require_or(
            Reason::UnsupportedFormat,
            version == VERSION_1,
            "File Format Version",
            format_args!("{version:#010x}"),
            format_args!("{VERSION_1:#010x}"),
        )?;
        let disk_type = fields.be32(60);
        let dynamic = match disk_type {
            2 => false,
            3 => true,
            other => {
                let reason = if other == 4 { Reason::BackingFile } else { Reason::UnsupportedFormat };
                return Err(fields.refuse(reason, "Disk Type", other, "2 (fixed) or 3 (dynamic)"));
            }
        };
        let current_size = fields.be64(48);
        fields.require_or(Reason::Empty, current_size > 0, "Current Size", current_size, "more than 0")?;
        fields.require(current_size.is_multiple_of(512), "Current Size", current_size, "a multiple of 512")?;
        fields.require_or(
            Reason::TooLarge,
            current_size <= MAX_SIZE,
            "Current Size",
            current_size,
            format_args!("at most {MAX_SIZE}"),
        )?;
        Ok(Self { dynamic, current_size, header_offset: fields.be64(16) })
    }

    /// The footer in the last 512 bytes of an image that looks raw; `None` when there is none.
    pub(crate) fn parse_trailing(last: &[u8], image_size: u64) -> Result<Option<Self>, Refusal> {
        if !last.starts_with(Self::COOKIE) {
            return Ok(None);
        }
        let footer = Self::parse(last)?;
        let fields = Fields { format: NAME, bytes: last };
        fields.require(
            !footer.dynamic,
            "Disk Type",
            "3 (dynamic)",
            "2 (fixed), since there is no copy of the footer at the beginning",
        )?;
        let room = image_size - Self::LENGTH as u64;
        fields.require_or(
            Reason::Truncated,
            footer.current_size == room,
            "Current Size",
            footer.current_size,
            format_args!("{room}, which is what lies before the footer"),
        )?;
        Ok(Some(footer))
    }

    pub(super) fn inspection(&self, kind: VhdType, scope: Scope) -> Inspection {
        Inspection { format: Format::Vhd, virtual_size: Some(self.current_size), details: Details::Vhd { kind }, scope }
    }

    /// The footer proper, the last bytes of the image, says the same as this copy of it.
    pub(crate) fn check_trailing(&self, last: &[u8]) -> Result<(), Refusal> {
        let fields = Fields { format: NAME, bytes: last };
        fields.require_or(
            Reason::Truncated,
            last.len() == Self::LENGTH && last.starts_with(Self::COOKIE),
            "footer",
            "none in the last 512 bytes",
            "a footer at the end of the image",
        )?;
        fields.require_or(
            Reason::Corrupt,
            Self::parse(last)? == *self,
            "footer",
            "another disk at the end than at the beginning",
            "two that say the same",
        )
    }
}

/// An image that begins with a footer's copy: a dynamic disk.
pub(super) fn inspect(view: &View<'_>) -> Result<Inspection, Stop> {
    let copy = view.bytes(0, Footer::LENGTH, NAME, "footer copy")?;
    let footer = Footer::parse(&copy)?;
    let fields = Fields { format: NAME, bytes: &copy };
    fields.require(footer.dynamic, "Disk Type", "2 (fixed) at the beginning of the image", "3 (dynamic)")?;
    let header = check_dynamic(view, &footer)?;
    if let Some(size) = view.size() {
        check_trailing(view, size, &footer)?;
    }
    Ok(footer.inspection(VhdType::Dynamic(header), view.scope()))
}

/// "Dynamic Disk Header Format".
fn check_dynamic(view: &View<'_>, footer: &Footer) -> Result<VhdHeader, Stop> {
    const LENGTH: usize = VhdHeader::LENGTH;
    const LOCATORS: usize = 8;
    let bytes = view.bytes(footer.header_offset, LENGTH, NAME, "dynamic disk header")?;
    let fields = Fields { format: NAME, bytes: &bytes };
    fields.require(bytes.starts_with(b"cxsparse"), "dynamic disk header Cookie", quote(&bytes[..8]), "\"cxsparse\"")?;
    check_sum(&fields, 36)?;
    let version = fields.be32(24);
    fields.require_or(
        Reason::UnsupportedFormat,
        version == VERSION_1,
        "Header Version",
        format_args!("{version:#010x}"),
        format_args!("{VERSION_1:#010x}"),
    )?;
    for locator in 0..LOCATORS {
        let platform = fields.be32(576 + 24 * locator);
        fields.require_or(
            Reason::BackingFile,
            platform == 0,
            "Parent Locator Entry",
            format_args!("{platform:#010x}"),
            "zeros (no parent)",
        )?;
    }
    let block_size = fields.be32(32);
    fields.require(
        block_size.is_power_of_two() && (512..=256 << 20).contains(&block_size),
        "Block Size",
        block_size,
        "a power of 2 from 512 to 256 MiB",
    )?;
    let entries = fields.be32(28);
    let room = u64::from(entries) * u64::from(block_size);
    fields.require(
        footer.current_size <= room,
        "Max Table Entries",
        entries,
        format_args!("room for a disk of {} bytes", footer.current_size),
    )?;
    let table = fields.be64(16);
    let table_end = table.checked_add(4 * u64::from(entries));
    fields.require(
        table.is_multiple_of(512) && table >= 512,
        "Table Offset",
        table,
        "a multiple of 512 behind the footer's copy",
    )?;
    let header = footer.header_offset..footer.header_offset + LENGTH as u64;
    fields.require_or(
        Reason::Overlap,
        table >= header.end || table_end.is_some_and(|end| end <= header.start),
        "Table Offset",
        table,
        format_args!("a place outside of the header at {}", header.start),
    )?;
    fields.require_or(
        Reason::Truncated,
        view.size().is_none_or(|size| table_end.is_some_and(|end| end <= size)),
        "Table Offset",
        table,
        "a table inside the image",
    )?;
    Ok(VhdHeader { block_size, entries, table_offset: table, footer: *footer })
}

/// The footer proper lies at the end and says the same as its copy.
fn check_trailing(view: &View<'_>, size: u64, footer: &Footer) -> Result<(), Stop> {
    let offset = size.saturating_sub(Footer::LENGTH as u64);
    let last = match view.bytes(offset, Footer::LENGTH, NAME, "footer") {
        Ok(last) => last,
        // Not within a prefix; the whole image will be asked again.
        Err(Stop::NeedMore(_) | Stop::NeedReader) => return Ok(()),
        Err(stop) => return Err(stop),
    };
    Ok(footer.check_trailing(&last)?)
}

/// The one's complement of the sum of a structure's bytes, without the four of the checksum.
fn check_sum(fields: &Fields<'_>, offset: usize) -> Result<(), Refusal> {
    let stored = fields.be32(offset);
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    let all = sum(fields.bytes);
    let computed = !all.wrapping_sub(sum(&stored.to_be_bytes()));
    fields.require_or(
        Reason::Corrupt,
        stored == computed,
        "Checksum",
        format_args!("{stored:#010x}"),
        format_args!("{computed:#010x}"),
    )
}
