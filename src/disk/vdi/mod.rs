//! vdi, by VirtualBox's `VDICore.h` (header version 1.1): a map with an entry for each block of the disk, and behind it
//! the blocks that are allocated, in any order. A static image is one of which all are.

use crate::{
    Format, Refusal, VdiHeader,
    error::Reason,
    extents::{Content, Extent, Map, PART, Part, Tables},
};

/// `VDI_IMAGE_BLOCK_FREE`: never allocated.
const FREE: u32 = u32::MAX;
/// `VDI_IMAGE_BLOCK_ZERO`: discarded, reads as zeros.
const ZERO: u32 = u32::MAX - 1;
/// The size of an entry.
const ENTRY: u64 = 4;

/// The block map.
#[derive(Debug)]
pub(crate) struct BlockMap {
    header: VdiHeader,
    /// How many of its entries have been read.
    entries: u64,
}

impl BlockMap {
    pub(crate) fn new(header: VdiHeader) -> Self {
        Self { header, entries: 0 }
    }

    /// Reads the entry of a block of the disk.
    fn extent(&self, block: u64, entry: u32) -> Result<Option<Extent>, Refusal> {
        if matches!(entry, FREE | ZERO) {
            return Ok(None);
        }
        let size = u64::from(self.header.block_size);
        // As many blocks as there are entries can be allocated.
        if entry >= self.header.blocks {
            return Err(Refusal::new(
                Reason::BadTable,
                Format::Vdi.as_str(),
                "block map entry",
                format_args!("{entry:#010x} at index {block}"),
                format_args!("less than cBlocks ({}), {ZERO:#010x} or {FREE:#010x}", self.header.blocks),
            ));
        }
        let disk = block * size;
        Ok(Some(Extent {
            image: u64::from(self.header.data_offset) + u64::from(entry) * size,
            disk,
            length: self.header.disk_size.saturating_sub(disk).min(size),
        }))
    }
}

impl Tables for BlockMap {
    const FORMAT: Format = Format::Vdi;
    const EXTENT: &'static str = "block map entry";

    fn virtual_size(&self) -> u64 {
        self.header.disk_size
    }

    fn content(&self) -> Content {
        Content::Plain
    }

    fn next(&self) -> Option<Part> {
        // What lies beyond the disk's end says nothing of it.
        let needed = self.header.disk_size.div_ceil(self.header.block_size.into());
        let start = u64::from(self.header.map_offset) + self.entries * ENTRY;
        let length = PART.min((needed - self.entries) * ENTRY);
        (length > 0).then_some(Part { range: start..start + length, field: "block map" })
    }

    fn read(&mut self, part: &[u8], map: &mut Map) -> Result<(), Refusal> {
        let (entries, _) = part.as_chunks();
        for entry in entries {
            if let Some(extent) = self.extent(self.entries, u32::from_le_bytes(*entry))? {
                map.push(extent);
            }
            self.entries += 1;
        }
        Ok(())
    }

    fn data_start(&self) -> u64 {
        self.header.data_offset.into()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
