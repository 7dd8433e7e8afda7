//! Extents in the order of the image and of the disk, in as little memory as that order allows.
//!
//! An image that was written in one go has each grain behind the one before it, on both sides, and its compressed size
//! alone is news: one byte. A gap on the disk costs a few more.

use std::collections::VecDeque;

use super::Extent;

/// Steps are counted in sectors.
const SECTOR: u64 = 512;
/// Announces an extent that does not continue the one before it, by three numbers; or is too far behind it.
const JUMP: u8 = u8::MAX;

/// Rising extents. Those behind the first are kept as steps from one to the next.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    first: Option<Extent>,
    last: Option<Extent>,
    steps: VecDeque<u8>,
}

impl Sequence {
    /// Adds an extent; says whether it could be, which takes that it lies behind the last one on both sides, by whole
    /// sectors.
    pub(super) fn push(&mut self, extent: Extent) -> bool {
        let Some(last) = self.last.replace(extent) else {
            self.first = Some(extent);
            return true;
        };
        let added = self.step(last, extent);
        if added.is_none() {
            self.last = Some(last);
        }
        added.is_some()
    }

    fn step(&mut self, last: Extent, extent: Extent) -> Option<()> {
        let image = sectors(extent.image.checked_sub(last.image)?).filter(|sectors| *sectors > 0)?;
        let disk = sectors(extent.disk.checked_sub(last.disk)?)?;
        let length = sectors(extent.length)?;
        match u8::try_from(image) {
            Ok(step) if step < JUMP && extent.length == last.length && disk == length => self.steps.push_back(step),
            _ => {
                self.steps.push_back(JUMP);
                for number in [image, disk, length] {
                    self.push_number(number);
                }
            }
        }
        Some(())
    }

    /// The first one.
    pub(super) fn first(&self) -> Option<Extent> {
        self.first
    }

    /// Takes the first one.
    pub(super) fn pop(&mut self) -> Option<Extent> {
        let first = self.first.take()?;
        let (image, disk, length) = match self.steps.pop_front() {
            None => {
                *self = Self::default();
                return Some(first);
            }
            Some(JUMP) => {
                let mut next = || self.pop_number() * SECTOR;
                (next(), next(), next())
            }
            Some(step) => (u64::from(step) * SECTOR, first.length, first.length),
        };
        self.first = Some(Extent { image: first.image + image, disk: first.disk + disk, length });
        Some(first)
    }

    /// What they take in memory.
    pub(super) fn bytes(&self) -> usize {
        self.steps.capacity()
    }

    /// Adds a number in groups of seven bits, the lowest first; the highest bit of a byte says that another follows.
    fn push_number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.steps.push_back(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.steps.push_back(number.to_le_bytes()[0]);
    }

    fn pop_number(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        while let Some(byte) = self.steps.pop_front() {
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        number
    }
}

fn sectors(bytes: u64) -> Option<u64> {
    bytes.is_multiple_of(SECTOR).then_some(bytes / SECTOR)
}
