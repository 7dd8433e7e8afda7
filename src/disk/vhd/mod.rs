//! Dynamic vhd, by Microsoft's "Virtual Hard Disk Image Format Specification" 1.0: a copy of the footer, a header, the
//! block allocation table, the blocks in any order, and the footer. A fixed vhd is a raw disk with a footer (`raw.rs`).

use std::ops::Range;

use crate::{
    Format, Refusal, VhdHeader,
    error::Reason,
    extents::{Content, Extent, Map, PART, Part, Tables, check_inside, meets, overlap},
    inspect::vhd::Footer,
};

/// The entry of a block that is not allocated.
const UNUSED: u32 = u32::MAX;
const SECTOR: u64 = 512;
/// The size of an entry.
const ENTRY: u64 = 4;

/// The block allocation table ("Block Allocation Table and Data Blocks").
#[derive(Debug)]
pub(crate) struct BlockAllocationTable {
    header: VhdHeader,
    /// What no block may lie in.
    structures: [(Range<u64>, &'static str); 3],
    /// How many entries have been read.
    entries: u64,
    /// Where the last of the blocks ends in the image, as far as the disk reaches into it.
    end: u64,
}

impl BlockAllocationTable {
    pub(crate) fn new(header: VhdHeader) -> Self {
        let at = |offset: u64, length: u64| offset..offset.saturating_add(length);
        let structures = [
            (at(0, Footer::LENGTH as u64), "the footer's copy"),
            (at(header.footer.header_offset, VhdHeader::LENGTH as u64), "the dynamic disk header"),
            (at(header.table_offset, u64::from(header.entries) * ENTRY), "the block allocation table"),
        ];
        Self { header, structures, entries: 0, end: 0 }
    }

    /// The size of a block's bitmap, which is padded to whole sectors.
    fn bitmap(&self) -> u64 {
        (u64::from(self.header.block_size) / SECTOR).div_ceil(8).next_multiple_of(SECTOR)
    }

    /// Reads the entry of a block of the disk.
    fn extent(&self, block: u64, entry: u32) -> Result<Option<Extent>, Refusal> {
        if entry == UNUSED {
            return Ok(None);
        }
        let size = u64::from(self.header.block_size);
        let image = u64::from(entry) * SECTOR;
        let disk = block * size;
        let length = self.virtual_size().saturating_sub(disk).min(size);
        match meets(&(image..image + self.bitmap() + length), &self.structures) {
            Some(structure) => Err(overlap(Format::Vhd, Self::EXTENT, image, structure)),
            None => Ok(Some(Extent { image, disk, length })),
        }
    }
}

impl Tables for BlockAllocationTable {
    const FORMAT: Format = Format::Vhd;
    const EXTENT: &'static str = "BAT entry";

    fn virtual_size(&self) -> u64 {
        self.header.footer.current_size
    }

    fn content(&self) -> Content {
        // At most 64 KiB: a block has 256 MiB at most.
        Content::Bitmapped(crate::io::to_usize(self.bitmap()))
    }

    fn next(&self) -> Option<Part> {
        // What lies beyond the disk's end says nothing of it.
        let needed = self.virtual_size().div_ceil(self.header.block_size.into());
        let start = self.header.table_offset + self.entries * ENTRY;
        let length = PART.min((needed - self.entries) * ENTRY);
        (length > 0).then_some(Part { range: start..start + length, field: "BAT" })
    }

    fn read(&mut self, part: &[u8], map: &mut Map) -> Result<(), Refusal> {
        let (entries, _) = part.as_chunks();
        for entry in entries {
            if let Some(extent) = self.extent(self.entries, u32::from_be_bytes(*entry))? {
                self.end = self.end.max(extent.image + self.bitmap() + extent.length);
                map.push(extent);
            }
            self.entries += 1;
        }
        Ok(())
    }

    fn check_end(&self, size: u64, last: &[u8]) -> Result<(), Refusal> {
        self.header.footer.check_trailing(last)?;
        check_inside(Format::Vhd, Self::EXTENT, self.end, size)?;
        let footer = size - Footer::LENGTH as u64;
        if self.end <= footer {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::Overlap,
            Format::Vhd.as_str(),
            Self::EXTENT,
            format_args!("a block that ends at {:#x}", self.end),
            format_args!("one before the footer at {footer:#x}"),
        ))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
