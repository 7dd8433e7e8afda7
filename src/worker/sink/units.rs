//! Which units of a disk were written: one bit each, 2 MiB of memory for 1 TiB of disk.

use std::ops::Range;

use super::{UNIT, to_usize};

/// A set of units.
#[derive(Debug, Default)]
pub(super) struct Units(Vec<u64>);

impl Units {
    /// Adds `unit`.
    pub(super) fn insert(&mut self, unit: u64) {
        let (word, bit) = (to_usize(unit / 64), unit % 64);
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << bit;
    }

    /// Takes `unit` out.
    pub(super) fn remove(&mut self, unit: u64) {
        if let Some(word) = self.0.get_mut(to_usize(unit / 64)) {
            *word &= !(1 << (unit % 64));
        }
    }

    /// Whether it holds `unit`.
    pub(super) fn contains(&self, unit: u64) -> bool {
        self.0.get(to_usize(unit / 64)).is_some_and(|word| word & (1 << (unit % 64)) != 0)
    }

    /// The ranges of bytes whose units are not in the set; `within` begins with a unit.
    pub(super) fn gaps(&self, within: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let units = within.end.div_ceil(UNIT);
        let mut next = within.start / UNIT;
        std::iter::from_fn(move || {
            let start = (next..units).find(|unit| !self.contains(*unit))?;
            let known = (self.0.len() as u64 * 64).clamp(start, units);
            let end = (start..known).find(|unit| self.contains(*unit)).unwrap_or(units);
            next = end;
            Some(start * UNIT..(end * UNIT).min(within.end))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_the_complement() {
        let mut units = Units::default();
        let gaps = |units: &Units, length| units.gaps(0..length).map(|gap| (gap.start, gap.end)).collect::<Vec<_>>();
        assert_eq!(gaps(&units, 0), []);
        assert_eq!(gaps(&units, 1000), [(0, 1000)]);
        for unit in [0, 1, 63, 64, 200] {
            units.insert(unit);
            assert!(units.contains(unit));
        }
        assert_eq!(gaps(&units, 201 * UNIT), [(2 * UNIT, 63 * UNIT), (65 * UNIT, 200 * UNIT)]);
        assert_eq!(
            gaps(&units, 300 * UNIT + 512),
            [(2 * UNIT, 63 * UNIT), (65 * UNIT, 200 * UNIT), (201 * UNIT, 300 * UNIT + 512)]
        );
        assert_eq!(gaps(&units, 10 * UNIT), [(2 * UNIT, 10 * UNIT)]);
        let behind = |first: u64| units.gaps(first * UNIT..66 * UNIT).next().map(|gap| (gap.start, gap.end));
        assert_eq!(behind(1), Some((2 * UNIT, 63 * UNIT)));
        assert_eq!(behind(40), Some((40 * UNIT, 63 * UNIT)));
        assert_eq!(behind(63), Some((65 * UNIT, 66 * UNIT)));
        assert_eq!(behind(66), None);
        for unit in [63, 64, 1 << 40] {
            units.remove(unit);
        }
        assert_eq!(gaps(&units, 201 * UNIT), [(2 * UNIT, 200 * UNIT)]);
    }
}
