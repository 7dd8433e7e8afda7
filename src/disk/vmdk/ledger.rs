//! What came in a stream, for comparison with the tables behind it.
//!
//! A grain's marker places it at once, but it is the tables that every other reader goes by. So each grain table is
//! made again from the markers, and its digest kept, since the table itself may come much later.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use super::{NAME, SECTOR};
use crate::{Refusal, VmdkHeader, error::Reason, io::to_usize};

const ENTRIES: usize = 512;
const _: () = assert!(ENTRIES as u64 == VmdkHeader::TABLE_ENTRIES);

/// The grains and tables that have come.
#[derive(Debug)]
pub(super) struct Ledger {
    zeroed_grains: bool,
    /// Keyed at random, so that nobody can make two tables with one digest.
    hasher: RandomState,
    /// The last grain, whose table is being made.
    last: Option<u64>,
    /// Whether a directory has come, behind which there are no grains.
    ended: bool,
    /// The grain table of the last grain, as the markers make it.
    current: Box<[u32; ENTRIES]>,
    /// The index and the digest of each grain table with grains before the current one, in order.
    made: Vec<(u64, u64)>,
    /// The digest of each grain table that has come, by its sector.
    found: HashMap<u32, u64>,
    /// The sectors of the grain directories that have come.
    directories: Vec<u64>,
}

impl Ledger {
    pub(super) fn new(header: &VmdkHeader) -> Self {
        Self {
            zeroed_grains: header.zeroed_grains,
            hasher: RandomState::new(),
            last: None,
            ended: false,
            current: Box::new([0; ENTRIES]),
            made: Vec::new(),
            found: HashMap::new(),
            directories: Vec::new(),
        }
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.made.capacity() * size_of::<(u64, u64)>() + self.found.capacity() * (size_of::<(u32, u64)>() + 1)
    }

    /// Notes a grain whose marker lies at `image`. Grains come in rising order, each once.
    pub(super) fn grain(&mut self, grain: u64, image: u64) -> Result<(), Refusal> {
        if self.ended || self.last.is_some_and(|last| last >= grain) {
            let before = if self.ended { "the grain directory" } else { "one that is not before it on the disk" };
            return Err(Refusal::new(
                Reason::BadTable,
                NAME,
                "grain marker, lba",
                format_args!("grain {grain} behind {before}"),
                "grains in rising order, each once, in a stream with its directory at the end",
            ));
        }
        let Ok(sector) = u32::try_from(image / SECTOR) else {
            return Err(Refusal::new(
                Reason::TooLarge,
                NAME,
                "grain marker",
                format_args!("offset {image:#x}"),
                "2^32 sectors at most, which is what a grain table can say",
            ));
        };
        let table = grain / VmdkHeader::TABLE_ENTRIES;
        if self.last.is_some_and(|last| last / VmdkHeader::TABLE_ENTRIES != table) {
            self.close();
        }
        self.last = Some(grain);
        self.current[to_usize(grain % VmdkHeader::TABLE_ENTRIES)] = sector;
        Ok(())
    }

    /// No more grains come for the current table.
    fn close(&mut self) {
        if let Some(last) = self.last.take() {
            self.made.push((last / VmdkHeader::TABLE_ENTRIES, self.hasher.hash_one(&self.current[..])));
            self.current.fill(0);
        }
    }

    /// Notes a grain table that lies at `image`.
    pub(super) fn table(&mut self, table: &[u8], image: u64) {
        let (entries, _) = table.as_chunks();
        let entries: Vec<u32> = entries
            .iter()
            .map(|entry| match u32::from_le_bytes(*entry) {
                1 if self.zeroed_grains => 0,
                sector => sector,
            })
            .collect();
        // No directory can point beyond these sectors.
        if let Ok(sector) = u32::try_from(image / SECTOR) {
            self.found.insert(sector, self.hasher.hash_one(&entries[..]));
        }
    }

    /// Compares a grain directory that lies at `image`, and the tables that it points to, with the grains.
    pub(super) fn directory(&mut self, directory: &[u8], tables: u64, image: u64) -> Result<(), Refusal> {
        self.close();
        self.ended = true;
        let empty = self.hasher.hash_one(&[0_u32; ENTRIES][..]);
        let mut made = self.made.iter().copied().peekable();
        let (entries, _) = directory.as_chunks();
        for (index, entry) in (0..tables).zip(entries) {
            let expected = made.next_if(|&(table, _)| table == index).map_or(empty, |(_, digest)| digest);
            let found = match u32::from_le_bytes(*entry) {
                0 => Some(empty),
                sector => self.found.get(&sector).copied(),
            };
            if found != Some(expected) {
                return Err(Refusal::new(
                    Reason::Corrupt,
                    NAME,
                    "grain directory entry",
                    format_args!("{:#x} at index {index}", u32::from_le_bytes(*entry)),
                    "the sector of a grain table before it that names the grains which the stream has brought",
                ));
            }
        }
        self.directories.push(image / SECTOR);
        Ok(())
    }

    /// Says whether a grain directory lies at this sector.
    pub(super) fn has_directory(&self, sector: u64) -> bool {
        self.directories.contains(&sector)
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
