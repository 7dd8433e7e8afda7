//! The grain directory and the grain tables, where the header tells their place.

use std::ops::Range;

use super::{ENTRY, NAME, SECTOR};
use crate::{
    Format, Refusal, VmdkHeader, VmdkSubformat,
    error::Reason,
    extents::{Content, Extent, Map, PART, Part, Tables, meets, overlap},
    io::to_usize,
};

/// What refusals call the place of a grain table.
const PLACE: &str = "grain directory entry";
/// The entry of a grain that was zeroed.
const ZEROED: u32 = 1;

/// The grain directory, and the tables that it points to.
#[derive(Debug)]
pub(crate) struct GrainTables {
    header: VmdkHeader,
    /// What neither a table nor a grain may lie in.
    structures: [(Range<u64>, &'static str); 3],
    /// How many entries of the directory have been read.
    entries: u64,
    /// The grain tables, in the order of the image once the directory has been read.
    places: Vec<Place>,
    /// How many of them have been read.
    read: usize,
}

/// A grain table's place. Ordered by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    sector: u32,
    /// The index of the table.
    table: u32,
}

impl Place {
    fn range(self) -> Range<u64> {
        let start = u64::from(self.sector) * SECTOR;
        start..start + VmdkHeader::TABLE_ENTRIES * ENTRY
    }
}

impl GrainTables {
    pub(crate) fn new(header: VmdkHeader) -> Self {
        let directory = header.directory..header.directory + header.tables() * ENTRY;
        let structures = [
            (0..SECTOR, "the header"),
            (header.descriptor.0..header.descriptor.1, "the descriptor"),
            (directory, "the grain directory"),
        ];
        Self { header, structures, entries: 0, places: Vec::new(), read: 0 }
    }

    fn read_directory(&mut self, part: &[u8]) -> Result<(), Refusal> {
        let (entries, _) = part.as_chunks();
        for entry in entries {
            let sector = u32::from_le_bytes(*entry);
            if sector != 0 {
                // There are 2 Mi tables at most.
                let table = u32::try_from(self.entries).unwrap_or(u32::MAX);
                self.places.push(Place { sector, table });
            }
            self.entries += 1;
        }
        if self.entries == self.header.tables() { self.check_places() } else { Ok(()) }
    }

    /// Each grain table has a place of its own.
    fn check_places(&mut self) -> Result<(), Refusal> {
        self.places.sort_unstable();
        let mut end = 0;
        for &place in &self.places {
            let range = place.range();
            let other = if range.start < end { Some("another grain table") } else { meets(&range, &self.structures) };
            if let Some(other) = other {
                return Err(overlap(Format::Vmdk, PLACE, range.start, other));
            }
            end = range.end;
        }
        Ok(())
    }

    fn read_table(&mut self, place: Place, table: &[u8], map: &mut Map) -> Result<(), Refusal> {
        let (entries, _) = table.as_chunks();
        let first = u64::from(place.table) * VmdkHeader::TABLE_ENTRIES;
        for (grain, entry) in (first..self.header.grains()).zip(entries) {
            if let Some(extent) = self.extent(grain, u32::from_le_bytes(*entry))? {
                map.push(extent);
            }
        }
        self.read += 1;
        Ok(())
    }

    /// Reads the entry of a grain.
    fn extent(&self, grain: u64, entry: u32) -> Result<Option<Extent>, Refusal> {
        if entry == 0 || (entry == ZEROED && self.header.zeroed_grains) {
            return Ok(None);
        }
        let image = u64::from(entry) * SECTOR;
        let disk = grain * self.header.grain_size;
        let length = self.header.capacity.saturating_sub(disk).min(self.header.grain_size);
        // How long a compressed grain is, its marker tells.
        let known = if self.content() == Content::Plain { length } else { SECTOR };
        match self.structure(&(image..image + known)) {
            None => Ok(Some(Extent { image, disk, length })),
            Some(other) => Err(Refusal::new(
                Reason::Overlap,
                NAME,
                Self::EXTENT,
                format_args!("{entry:#x} at index {grain}, in {other}"),
                "a place of its own",
            )),
        }
    }

    fn structure(&self, range: &Range<u64>) -> Option<&'static str> {
        let before = self.places.partition_point(|place| u64::from(place.sector) * SECTOR < range.end);
        let table = before.checked_sub(1).and_then(|last| self.places.get(last));
        match table {
            Some(&place) if place.range().end > range.start => Some("a grain table"),
            _ => meets(range, &self.structures),
        }
    }
}

impl Tables for GrainTables {
    const FORMAT: Format = Format::Vmdk;
    const EXTENT: &'static str = "grain table entry";

    fn virtual_size(&self) -> u64 {
        self.header.capacity
    }

    fn content(&self) -> Content {
        match self.header.subformat {
            VmdkSubformat::MonolithicSparse => Content::Plain,
            VmdkSubformat::StreamOptimized => Content::Marked(to_usize(self.header.grain_size)),
        }
    }

    fn next(&self) -> Option<Part> {
        let left = self.header.tables() - self.entries;
        if left > 0 {
            let start = self.header.directory + self.entries * ENTRY;
            return Some(Part { range: start..start + PART.min(left * ENTRY), field: "grain directory" });
        }
        self.places.get(self.read).map(|&place| Part { range: place.range(), field: PLACE })
    }

    fn read(&mut self, part: &[u8], map: &mut Map) -> Result<(), Refusal> {
        if self.entries < self.header.tables() {
            return self.read_directory(part);
        }
        match self.places.get(self.read) {
            Some(&place) => self.read_table(place, part, map),
            None => Ok(()),
        }
    }

    /// Header, descriptor, and the directory and the tables twice.
    fn data_start(&self) -> u64 {
        self.header.overhead
    }
}

#[cfg(test)]
#[path = "tables_tests.rs"]
mod tests;
