//! The vdi inspector, by VirtualBox's `VDICore.h` (header version 1.1).

use super::{
    Details, Inspection,
    field::Fields,
    view::{Stop, View},
};
use crate::{Format, error::Reason};

const NAME: &str = "vdi";
const HEADER: usize = 512;
const VERSION_1_1: u32 = 0x0001_0001;
/// The part of the header that counts its own length begins here.
const SIZED_PART: u32 = 0x48;
/// It must reach the end of `uuidParent`.
const LEAST_SIZED_PART: u32 = 0x1c8 - SIZED_PART;
pub(crate) const BLOCK_SIZE: u32 = 1 << 20;
/// QEMU's `VDI_BLOCKS_IN_IMAGE_MAX`: a block map of 4 GiB less a little.
const MAX_BLOCKS: u32 = 0x3fff_ffff;

/// What the header says of the disk and of the places in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VdiHeader {
    /// `cbDisk`: the size of the disk in bytes.
    pub disk_size: u64,
    /// `cbBlock`: the size of a block in bytes, always 1 MiB.
    pub block_size: u32,
    /// `cBlocks`: the number of entries of the block map.
    pub blocks: u32,
    /// `offBlocks`: where the block map lies, in bytes.
    pub map_offset: u32,
    /// `offData`: where the blocks begin, in bytes; behind the block map.
    pub data_offset: u32,
}

pub(super) fn inspect(view: &View<'_>) -> Result<Inspection, Stop> {
    let bytes = view.bytes(0, HEADER, NAME, "header")?;
    let fields = Fields { format: NAME, bytes: &bytes };
    check_kind(&fields)?;
    check_geometry(&fields)?;
    check_places(&fields, view.size())?;
    let header = VdiHeader {
        disk_size: fields.le64(0x170),
        block_size: BLOCK_SIZE,
        blocks: fields.le32(0x180),
        map_offset: fields.le32(0x154),
        data_offset: fields.le32(0x158),
    };
    Ok(Inspection {
        format: Format::Vdi,
        virtual_size: Some(header.disk_size),
        details: Details::Vdi(header),
        scope: view.scope(),
    })
}

/// An image that stands alone: dynamic (1) or static (2), neither undo (3) nor differencing (4).
fn check_kind(fields: &Fields<'_>) -> Result<(), Stop> {
    let version = fields.le32(0x44);
    fields.require_or(
        Reason::UnsupportedFormat,
        version == VERSION_1_1,
        "u32Version",
        format_args!("{version:#010x}"),
        format_args!("{VERSION_1_1:#010x}"),
    )?;
    let length = fields.le32(0x48);
    // QEMU writes 0x180, VirtualBox 0x190 (with one more geometry behind it).
    fields.require(
        (LEAST_SIZED_PART..=0x1000).contains(&length),
        "cbHeader",
        format_args!("{length:#x}"),
        format_args!("{LEAST_SIZED_PART:#x} to 0x1000"),
    )?;
    let kind = fields.le32(0x4c);
    let reason = match kind {
        3 | 4 => Reason::BackingFile,
        _ => Reason::UnsupportedFormat,
    };
    fields.require_or(reason, matches!(kind, 1 | 2), "u32Type", kind, "1 (dynamic) or 2 (static)")?;
    for (offset, field) in [(0x1a8, "uuidLinkage"), (0x1b8, "uuidParentModify")] {
        let uuid = u128::from_be_bytes(fields.array(offset));
        fields.require_or(Reason::BackingFile, uuid == 0, field, format_args!("{uuid:032x}"), "zeros (no parent)")?;
    }
    Ok(())
}

fn check_geometry(fields: &Fields<'_>) -> Result<(), Stop> {
    let sector_size = fields.le32(0x168);
    fields.require(sector_size == 512, "LegacyGeometry.cbSector", sector_size, 512)?;
    let block_size = fields.le32(0x178);
    fields.require_or(
        Reason::UnsupportedFeature,
        block_size == BLOCK_SIZE,
        "cbBlock",
        block_size,
        format_args!("{BLOCK_SIZE}"),
    )?;
    let extra = fields.le32(0x17c);
    fields.require_or(Reason::UnsupportedFeature, extra == 0, "cbBlockExtra", extra, 0)?;
    let blocks = fields.le32(0x180);
    fields.require_or(
        Reason::TooLarge,
        blocks <= MAX_BLOCKS,
        "cBlocks",
        blocks,
        format_args!("at most {MAX_BLOCKS}"),
    )?;
    let disk_size = fields.le64(0x170);
    let room = u64::from(blocks) * u64::from(block_size);
    fields.require_or(Reason::Empty, disk_size > 0, "cbDisk", disk_size, "more than 0")?;
    fields.require(
        disk_size <= room,
        "cbDisk",
        disk_size,
        format_args!("at most {room} ({blocks} blocks of {block_size} bytes)"),
    )?;
    let allocated = fields.le32(0x184);
    fields.require(allocated <= blocks, "cBlocksAllocated", allocated, format_args!("at most {blocks}"))?;
    Ok(())
}

/// Header, block map, blocks: in this order, without overlap, inside the image.
fn check_places(fields: &Fields<'_>, size: Option<u64>) -> Result<(), Stop> {
    let map = fields.le32(0x154);
    let data = fields.le32(0x158);
    for (offset, field) in [(map, "offBlocks"), (data, "offData")] {
        fields.require(
            offset.is_multiple_of(512) && offset >= 512,
            field,
            offset,
            "a multiple of 512 behind the header",
        )?;
    }
    let map_end = u64::from(map) + 4 * u64::from(fields.le32(0x180));
    fields.require_or(
        Reason::Overlap,
        map_end <= u64::from(data),
        "offData",
        data,
        format_args!("at least {map_end}, the end of the block map"),
    )?;
    let Some(size) = size else {
        return Ok(());
    };
    let end = u64::from(data) + (u64::from(fields.le32(0x184)) << BLOCK_SIZE.trailing_zeros());
    // The last block need not be written in full where the disk ends inside it.
    let least = end.saturating_sub(u64::from(BLOCK_SIZE) - 512).max(map_end);
    fields.require_or(
        Reason::Truncated,
        least <= size,
        "cBlocksAllocated",
        format_args!("blocks up to {end} in an image of {size} bytes"),
        "blocks inside the image",
    )?;
    Ok(())
}
