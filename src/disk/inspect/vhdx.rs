//! The vhdx inspector, by MS-VHDX (sections in brackets).

use super::{
    Details, Inspection,
    crc32c::crc32c,
    field::Fields,
    view::{Stop, View},
};
use crate::{
    Format, Refusal,
    error::{Reason, quote},
};

const NAME: &str = "vhdx";
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// The largest disk: 64 TiB [2.6.2.2].
const MAX_SIZE: u64 = 64 << 40;
const MAX_ENTRIES: usize = 2047;
const ENTRY: usize = 32;
const TABLE: usize = 64 << 10;

/// The identifiers that this reader knows, as they lie in the file (the first three parts little-endian).
mod guid {
    pub(super) type Guid = [u8; 16];

    const fn guid(text: u128) -> Guid {
        let mut bytes = text.to_be_bytes();
        bytes = [
            bytes[3], bytes[2], bytes[1], bytes[0], bytes[5], bytes[4], bytes[7], bytes[6], bytes[8], bytes[9],
            bytes[10], bytes[11], bytes[12], bytes[13], bytes[14], bytes[15],
        ];
        bytes
    }

    pub(super) const BAT: Guid = guid(0x2dc2_7766_f623_4200_9d64_115e_9bfd_4a08);
    pub(super) const METADATA: Guid = guid(0x8b7c_a206_4790_4b9a_b8fe_575f_050f_886e);
    pub(super) const FILE_PARAMETERS: Guid = guid(0xcaa1_6737_fa36_4d43_b3b6_33f0_aa44_e76b);
    pub(super) const VIRTUAL_DISK_SIZE: Guid = guid(0x2fa5_4224_cd1b_4876_b211_5dbe_d83b_f4b8);
    pub(super) const PAGE_83: Guid = guid(0xbeca_12ab_b2e6_4523_93ef_c309_e000_c746);
    pub(super) const LOGICAL_SECTOR_SIZE: Guid = guid(0x8141_bf1d_a96f_4709_ba47_f233_a8fa_ab5f);
    pub(super) const PHYSICAL_SECTOR_SIZE: Guid = guid(0xcda3_48c7_445d_4471_9cc9_e988_5251_c556);
    pub(super) const PARENT_LOCATOR: Guid = guid(0xa8d3_5f2d_b30b_454d_abf7_d3d8_4834_ab0c);
}

/// What headers and metadata say of the disk and of the places in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VhdxHeader {
    /// `VirtualDiskSize` in bytes.
    pub virtual_size: u64,
    /// `BlockSize` in bytes: a power of 2, 1 MiB at least.
    pub block_size: u32,
    /// `LogicalSectorSize`, the size of a sector as the guest sees it: 512 or 4096.
    pub logical_sector_size: u32,
    pub(crate) regions: Regions,
}

impl VhdxHeader {
    /// After so many blocks the BAT has an entry for their sector bitmaps [2.5].
    pub(crate) fn chunk_ratio(&self) -> u64 {
        (u64::from(self.logical_sector_size) << 23) / u64::from(self.block_size)
    }

    /// How many entries of the BAT say something of the disk.
    pub(crate) fn bat_entries(&self) -> u64 {
        let blocks = self.virtual_size.div_ceil(self.block_size.into());
        blocks + blocks.saturating_sub(1) / self.chunk_ratio()
    }
}

/// Where the structures lie that are no blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Regions {
    pub(crate) bat: Region,
    pub(crate) metadata: Region,
    pub(crate) log: Region,
}

pub(super) fn inspect(view: &View<'_>) -> Result<Inspection, Stop> {
    let log = check_header(view)?;
    let (bat, metadata) = read_regions(view)?;
    let items = Items::read(view, &metadata)?;
    items.inspection(view, Regions { bat, metadata, log })
}

/// The header that is valid and has the higher sequence number [2.2.2], with an empty log [2.3]: gives the log's place.
fn check_header(view: &View<'_>) -> Result<Region, Stop> {
    const LENGTH: usize = 4096;
    let mut current: Option<(u64, Vec<u8>)> = None;
    for offset in [64 * KIB, 128 * KIB] {
        let bytes = view.bytes(offset, LENGTH, NAME, "header")?;
        let fields = Fields { format: NAME, bytes: &bytes };
        let sequence = fields.le64(8);
        let newer = current.as_ref().is_none_or(|(other, _)| sequence > *other);
        if bytes.starts_with(b"head") && sum_holds(&bytes) && newer {
            current = Some((sequence, bytes.to_vec()));
        }
    }
    let Some((_, bytes)) = current else {
        return Err(
            Refusal::new(Reason::Corrupt, NAME, "Header.Checksum", "no valid header", "at least one of two").into()
        );
    };
    let fields = Fields { format: NAME, bytes: &bytes };
    let version = fields.le16(66);
    fields.require_or(Reason::UnsupportedFormat, version == 1, "Header.Version", version, 1)?;
    let log_version = fields.le16(64);
    fields.require_or(Reason::UnsupportedFormat, log_version == 0, "Header.LogVersion", log_version, 0)?;
    let log = u128::from_be_bytes(fields.array(48));
    fields.require_or(
        Reason::UncleanLog,
        log == 0,
        "Header.LogGuid",
        format_args!("{log:032x} (a log to replay)"),
        "zeros (an empty log)",
    )?;
    Ok(Region { offset: fields.le64(72), length: fields.le32(68).into() })
}

/// CRC-32C of the structure with its checksum, at offset 4, taken as zero.
fn sum_holds(bytes: &[u8]) -> bool {
    let stored = Fields { format: NAME, bytes }.le32(4);
    crc32c(&[&bytes[..4], &[0; 4], &bytes[8..]]) == stored
}

/// A stretch of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl Region {
    pub(crate) fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// Checks the region table [2.2.3] and gives the BAT and the metadata region.
fn read_regions(view: &View<'_>) -> Result<(Region, Region), Stop> {
    let first = view.bytes(192 * KIB, TABLE, NAME, "region table")?;
    let valid = |bytes: &[u8]| bytes.starts_with(b"regi") && sum_holds(bytes);
    let table = if valid(&first) {
        first
    } else {
        let second = view.bytes(256 * KIB, TABLE, NAME, "region table")?;
        let fields = Fields { format: NAME, bytes: &second };
        fields.require_or(
            Reason::Corrupt,
            valid(&second),
            "RegionTableHeader.Checksum",
            "no valid region table",
            "at least one of two",
        )?;
        second
    };
    let fields = Fields { format: NAME, bytes: &table };
    let count = fields.le32(8) as usize;
    fields.require(
        count <= MAX_ENTRIES,
        "RegionTableHeader.EntryCount",
        count,
        format_args!("at most {MAX_ENTRIES}"),
    )?;
    let mut bat = None;
    let mut metadata = None;
    for index in 0..count {
        let at = 16 + index * ENTRY;
        let region = Region { offset: fields.le64(at + 16), length: u64::from(fields.le32(at + 24)) };
        let slot = match fields.array(at) {
            guid::BAT => &mut bat,
            guid::METADATA => &mut metadata,
            other => {
                let required = fields.le32(at + 28) & 1 == 1;
                fields.require_or(
                    Reason::UnsupportedFeature,
                    !required,
                    "RegionTableEntry.Guid",
                    format_args!("{:032x}, required", u128::from_be_bytes(other)),
                    "BAT and metadata regions alone",
                )?;
                continue;
            }
        };
        check_region(&fields, &region, view.size())?;
        fields.require(
            slot.replace(region).is_none(),
            "RegionTableEntry.Guid",
            "the same region twice",
            "each region once",
        )?;
    }
    let missing = |name| fields.refuse(Reason::BadHeader, "region table", "no such entry", name);
    let bat = bat.ok_or_else(|| missing("a BAT region"))?;
    let metadata = metadata.ok_or_else(|| missing("a metadata region"))?;
    fields.require_or(
        Reason::Overlap,
        bat.end() <= metadata.offset || metadata.end() <= bat.offset,
        "RegionTableEntry.FileOffset",
        format_args!("{:#x} and {:#x}", bat.offset, metadata.offset),
        "regions that do not overlap",
    )?;
    Ok((bat, metadata))
}

/// Regions have a place and a length in whole MiB, behind the header section [2.2.3.2].
fn check_region(fields: &Fields<'_>, region: &Region, size: Option<u64>) -> Result<(), Refusal> {
    fields.require(
        region.offset >= MIB && region.offset.is_multiple_of(MIB) && region.offset < 1 << 62,
        "RegionTableEntry.FileOffset",
        format_args!("{:#x}", region.offset),
        "a multiple of 1 MiB, at least 1 MiB",
    )?;
    fields.require(
        region.length > 0 && region.length.is_multiple_of(MIB),
        "RegionTableEntry.Length",
        format_args!("{:#x}", region.length),
        "a multiple of 1 MiB",
    )?;
    fields.require_or(
        Reason::Truncated,
        size.is_none_or(|size| region.end() <= size),
        "RegionTableEntry.FileOffset",
        format_args!("{:#x}", region.offset),
        "a region inside the image",
    )
}

/// The metadata items [2.6.2] that say what the disk is.
#[derive(Default)]
struct Items {
    file_parameters: Option<[u8; 8]>,
    virtual_disk_size: Option<u64>,
    logical_sector_size: Option<u32>,
}

impl Items {
    fn read(view: &View<'_>, region: &Region) -> Result<Self, Stop> {
        let table = view.bytes(region.offset, TABLE, NAME, "metadata table")?;
        let fields = Fields { format: NAME, bytes: &table };
        fields.require(
            table.starts_with(b"metadata"),
            "MetadataTableHeader.Signature",
            quote(&table[..8]),
            "\"metadata\"",
        )?;
        let count = usize::from(fields.le16(10));
        fields.require(
            count <= MAX_ENTRIES,
            "MetadataTableHeader.EntryCount",
            count,
            format_args!("at most {MAX_ENTRIES}"),
        )?;
        let mut items = Self::default();
        for index in 0..count {
            let at = 32 + index * ENTRY;
            let offset = u64::from(fields.le32(at + 16));
            let length = fields.le32(at + 20);
            let required = fields.le32(at + 24) & 0b100 != 0;
            let read = || {
                fields.require(
                    offset >= TABLE as u64 && offset + u64::from(length) <= region.length,
                    "MetadataTableEntry.Offset",
                    format_args!("{offset:#x}"),
                    "an item inside the region, behind the table",
                )?;
                view.bytes(region.offset + offset, length.min(8) as usize, NAME, "metadata item")
            };
            match fields.array(at) {
                guid::FILE_PARAMETERS => {
                    let item = sized(&fields, "File Parameters", &read()?)?;
                    once(&fields, &mut items.file_parameters, item)?;
                }
                guid::VIRTUAL_DISK_SIZE => {
                    let item = sized(&fields, "Virtual Disk Size", &read()?)?;
                    once(&fields, &mut items.virtual_disk_size, u64::from_le_bytes(item))?;
                }
                guid::LOGICAL_SECTOR_SIZE => {
                    let item = sized(&fields, "Logical Sector Size", &read()?)?;
                    once(&fields, &mut items.logical_sector_size, u32::from_le_bytes(item))?;
                }
                guid::PAGE_83 | guid::PHYSICAL_SECTOR_SIZE => {}
                guid::PARENT_LOCATOR => {
                    return Err(fields.refuse(Reason::BackingFile, "Parent Locator", "one", "none").into());
                }
                other => fields.require_or(
                    Reason::UnsupportedFeature,
                    !required,
                    "MetadataTableEntry.ItemId",
                    format_args!("{:032x}, required", u128::from_be_bytes(other)),
                    "known items alone",
                )?,
            }
        }
        Ok(items)
    }

    fn inspection(&self, view: &View<'_>, regions: Regions) -> Result<Inspection, Stop> {
        let fields = Fields { format: NAME, bytes: self.file_parameters.as_ref().map_or(&[], |item| item) };
        for (field, there) in [
            ("File Parameters", self.file_parameters.is_some()),
            ("Virtual Disk Size", self.virtual_disk_size.is_some()),
            ("Logical Sector Size", self.logical_sector_size.is_some()),
        ] {
            fields.require(there, field, "no such item", "one")?;
        }
        let block_size = fields.le32(0);
        fields.require(
            block_size.is_power_of_two() && (1 << 20..=256 << 20).contains(&block_size),
            "File Parameters.BlockSize",
            block_size,
            "a power of 2 from 1 MiB to 256 MiB",
        )?;
        let flags = fields.le32(4);
        fields.require_or(Reason::BackingFile, flags & 0b10 == 0, "File Parameters.HasParent", 1, 0)?;
        let logical_sector_size = self.logical_sector_size.unwrap_or_default();
        fields.require(
            matches!(logical_sector_size, 512 | 4096),
            "Logical Sector Size",
            logical_sector_size,
            "512 or 4096",
        )?;
        let virtual_size = self.virtual_disk_size.unwrap_or_default();
        fields.require_or(Reason::Empty, virtual_size > 0, "Virtual Disk Size", virtual_size, "more than 0")?;
        fields.require_or(
            Reason::TooLarge,
            virtual_size <= MAX_SIZE,
            "Virtual Disk Size",
            virtual_size,
            format_args!("at most {MAX_SIZE}"),
        )?;
        fields.require(
            virtual_size.is_multiple_of(u64::from(logical_sector_size)),
            "Virtual Disk Size",
            virtual_size,
            format_args!("a multiple of the logical sector size {logical_sector_size}"),
        )?;
        let header = VhdxHeader { virtual_size, block_size, logical_sector_size, regions };
        let bat = 8 * header.bat_entries();
        fields.require(
            bat <= regions.bat.length,
            "BAT region, Length",
            regions.bat.length,
            format_args!("at least {bat}, for a disk of {virtual_size} bytes"),
        )?;
        Ok(Inspection {
            format: Format::Vhdx,
            virtual_size: Some(virtual_size),
            details: Details::Vhdx(header),
            scope: view.scope(),
        })
    }
}

fn sized<const N: usize>(fields: &Fields<'_>, field: &'static str, item: &[u8]) -> Result<[u8; N], Refusal> {
    item.try_into().map_err(|_| {
        fields.refuse(Reason::BadHeader, field, format_args!("{} bytes or more", item.len()), format_args!("{N} bytes"))
    })
}

fn once<T>(fields: &Fields<'_>, slot: &mut Option<T>, item: T) -> Result<(), Refusal> {
    fields.require(slot.replace(item).is_none(), "MetadataTableEntry.ItemId", "the same item twice", "each item once")
}
