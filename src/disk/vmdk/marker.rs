//! The markers of a stream ("Stream-Optimized Compressed Sparse Extents").

use std::fmt::Display;

use super::{ENTRY, NAME, SECTOR};
use crate::{Refusal, VmdkHeader, error::Reason, inspect::Fields};

/// What stands before a grain, a table, the footer, and at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    /// The place of a grain on the disk, or the length of what follows in the image: in sectors.
    value: u64,
    /// The length of a grain's compressed data in bytes; 0 for anything else.
    size: u32,
    /// What follows, when it is no grain.
    kind: u32,
}

/// What a marker stands before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    EndOfStream,
    GrainTable,
    GrainDirectory,
    Footer,
    /// A grain whose place on the disk is `offset`, in `size` bytes.
    Grain {
        offset: u64,
        size: usize,
    },
}

impl Marker {
    /// The length of a grain's marker; its data follows at once.
    pub(crate) const LENGTH: usize = 12;

    /// Reads a grain's marker, or with four bytes more any.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let fields = Fields { format: NAME, bytes };
        Self { value: fields.le64(0), size: fields.le32(8), kind: fields.le32(12) }
    }

    /// The length of the data of a grain that lies at `image` and belongs at `disk`.
    pub(crate) fn check_grain(self, disk: u64, image: u64, grain_size: usize) -> Result<usize, Refusal> {
        if self.value != disk / SECTOR {
            return Err(refuse("grain marker, lba", self.value, image, disk / SECTOR));
        }
        let most = 2 * grain_size;
        let size = crate::io::to_usize(self.size.into());
        if (1..=most).contains(&size) {
            return Ok(size);
        }
        Err(refuse("grain marker, size", size, image, format_args!("1 to {most} bytes")))
    }

    /// What follows this marker at `image`.
    pub(super) fn item(self, header: &VmdkHeader, image: u64) -> Result<Item, Refusal> {
        if self.size > 0 {
            let in_grains = self.value.is_multiple_of(header.grain_size / SECTOR);
            if !in_grains || self.value >= header.capacity / SECTOR {
                let expected = format_args!("a multiple of grainSize below {}", header.capacity / SECTOR).to_string();
                return Err(refuse("grain marker, lba", self.value, image, expected));
            }
            let offset = self.value * SECTOR;
            let size = self.check_grain(offset, image, crate::io::to_usize(header.grain_size))?;
            return Ok(Item::Grain { offset, size });
        }
        let item = match self.kind {
            0 => Item::EndOfStream,
            1 => Item::GrainTable,
            2 => Item::GrainDirectory,
            3 => Item::Footer,
            other => {
                return Err(refuse("marker, type", other, image, "0 to 3, since its size is 0 and no grain follows"));
            }
        };
        let sectors = item.body(header) / SECTOR;
        if self.value != sectors {
            return Err(refuse("marker, val", self.value, image, format_args!("{sectors} sectors")));
        }
        Ok(item)
    }
}

impl Item {
    /// How many bytes of the image follow its marker's sector, or for a grain how many there are beyond that sector.
    pub(super) fn body(self, header: &VmdkHeader) -> u64 {
        match self {
            Self::EndOfStream => 0,
            Self::GrainTable => VmdkHeader::TABLE_ENTRIES * ENTRY,
            Self::GrainDirectory => (header.tables() * ENTRY).next_multiple_of(SECTOR),
            Self::Footer => SECTOR,
            Self::Grain { size, .. } => (Marker::LENGTH as u64 + size as u64).next_multiple_of(SECTOR) - SECTOR,
        }
    }
}

fn refuse(field: &'static str, found: impl Display, image: u64, expected: impl Display) -> Refusal {
    let found = format_args!("{found} at offset {image:#x} of the image").to_string();
    Refusal::new(Reason::BadTable, NAME, field, found, expected)
}

#[cfg(test)]
#[path = "marker_tests.rs"]
mod tests;
