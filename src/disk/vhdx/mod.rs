//! vhdx, by MS-VHDX (sections in brackets): headers, metadata and the BAT, each in a region of its own, and the blocks
//! in any order. In a fixed image all blocks are there. The log must be empty, which the inspector has seen to.

use std::ops::Range;

use crate::{
    Format, Refusal, VhdxHeader,
    error::Reason,
    extents::{Content, Extent, Map, PART, Part, Tables, check_inside, meets, overlap},
};

/// The size of an entry.
const ENTRY: u64 = 8;
/// Offsets are in units of 1 MiB: these bits.
const OFFSET: u64 = !0xf_ffff;
const STATE: u64 = 0b111;
/// The structures that are always there [2.1].
const HEADER_SECTION: u64 = 1 << 20;

/// The block allocation table [2.5].
#[derive(Debug)]
pub(crate) struct BlockAllocationTable {
    header: VhdxHeader,
    /// What no block may lie in.
    structures: [(Range<u64>, &'static str); 4],
    /// How many entries have been read, those of sector bitmaps included.
    entries: u64,
}

/// What an entry stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A block of the disk.
    Payload { block: u64 },
    /// The bitmaps of the blocks before it, which an image without a parent does not use.
    SectorBitmap,
}

impl BlockAllocationTable {
    pub(crate) fn new(header: VhdxHeader) -> Self {
        let regions = &header.regions;
        let structures = [
            (0..HEADER_SECTION, "the header section"),
            (regions.log.offset..regions.log.end(), "the log"),
            (regions.metadata.offset..regions.metadata.end(), "the metadata region"),
            (regions.bat.offset..regions.bat.end(), "the BAT region"),
        ];
        Self { header, structures, entries: 0 }
    }

    fn kind(&self, index: u64) -> Kind {
        let chunk = self.header.chunk_ratio() + 1;
        if index % chunk == chunk - 1 { Kind::SectorBitmap } else { Kind::Payload { block: index - index / chunk } }
    }

    /// Reads the entry at `index`.
    fn extent(&self, index: u64, entry: u64) -> Result<Option<Extent>, Refusal> {
        let refuse = |field, expected| {
            let found = format_args!("{entry:#018x} at index {index}").to_string();
            Err(Refusal::new(Reason::BadTable, Format::Vhdx.as_str(), field, found, expected))
        };
        if entry & !(OFFSET | STATE) != 0 {
            return refuse(Self::EXTENT, "reserved bits 0");
        }
        match (self.kind(index), entry & STATE) {
            (Kind::Payload { block }, 6) => self.present(block, entry & OFFSET),
            // Not present, undefined, zero, unmapped.
            (Kind::Payload { .. }, 0..=3) | (Kind::SectorBitmap, 0 | 6) => Ok(None),
            (Kind::Payload { .. }, 7) => refuse(Self::EXTENT, "no block that is partially present: there is no parent"),
            (Kind::Payload { .. }, _) => refuse(Self::EXTENT, "one of the payload block states"),
            (Kind::SectorBitmap, _) => refuse("sector bitmap BAT entry", "not present (0) or present (6)"),
        }
    }

    fn present(&self, block: u64, image: u64) -> Result<Option<Extent>, Refusal> {
        let size = u64::from(self.header.block_size);
        let disk = block * size;
        let length = self.header.virtual_size.saturating_sub(disk).min(size);
        // No file is as large; beyond it, sums would not hold.
        check_inside(Format::Vhdx, Self::EXTENT, image, 1 << 62)?;
        match meets(&(image..image + length), &self.structures) {
            Some(structure) => Err(overlap(Format::Vhdx, Self::EXTENT, image, structure)),
            None => Ok(Some(Extent { image, disk, length })),
        }
    }
}

impl Tables for BlockAllocationTable {
    const FORMAT: Format = Format::Vhdx;
    const EXTENT: &'static str = "BAT entry";

    fn virtual_size(&self) -> u64 {
        self.header.virtual_size
    }

    fn content(&self) -> Content {
        Content::Plain
    }

    fn next(&self) -> Option<Part> {
        let start = self.header.regions.bat.offset + self.entries * ENTRY;
        let length = PART.min((self.header.bat_entries() - self.entries) * ENTRY);
        (length > 0).then_some(Part { range: start..start + length, field: "BAT" })
    }

    fn read(&mut self, part: &[u8], map: &mut Map) -> Result<(), Refusal> {
        let (entries, _) = part.as_chunks();
        for entry in entries {
            if let Some(extent) = self.extent(self.entries, u64::from_le_bytes(*entry))? {
                map.push(extent);
            }
            self.entries += 1;
        }
        Ok(())
    }

    fn data_start(&self) -> u64 {
        HEADER_SECTION
    }

    fn check_end(&self, size: u64, _last: &[u8]) -> Result<(), Refusal> {
        let regions = &self.header.regions;
        check_inside(Format::Vhdx, "BAT region", regions.bat.end(), size)?;
        check_inside(Format::Vhdx, "metadata region", regions.metadata.end(), size)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
