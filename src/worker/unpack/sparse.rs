//! Sparse members of tar archives: a map says where the data of the archive lies in the file; the rest are zeros.
//!
//! Four forms exist, all of GNU tar (its manual, "Storing Sparse Files"): the old one with the map in the header and in
//! blocks behind it, and PAX 0.0, 0.1 (the map in records) and 1.0 (the map before the data).

use super::{StageError, malformed};

/// More pieces than a file of 4 TiB has that was written to every 4 MiB.
const MAX_EXTENTS: usize = 1 << 20;

/// What is in a file at some place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// So many zeros that the archive leaves out.
    Hole(u64),
    /// So many bytes that come next in the archive.
    Data(u64),
}

/// The map of one file, and how far it has been followed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Map {
    size: u64,
    /// Offset and length, ascending, none of them empty.
    extents: Vec<(u64, u64)>,
    next: usize,
    position: u64,
}

impl Map {
    /// A map of a file of `size` with data at `extents` (offset and length).
    ///
    /// # Errors
    ///
    /// Extents that overlap, are out of order, or lie behind the end.
    pub(super) fn new(size: u64, mut extents: Vec<(u64, u64)>) -> Result<Self, StageError> {
        let mut end = 0;
        for (offset, length) in &extents {
            let after = offset.checked_add(*length).filter(|after| *offset >= end && *after <= size);
            end = after.ok_or_else(|| {
                bad(&format!("the extent of {length} bytes at {offset} does not lie behind the one before it, or in the file's {size} bytes"))
            })?;
        }
        extents.retain(|(_, length)| *length > 0);
        Ok(Self { size, extents, next: 0, position: 0 })
    }

    /// The length of the file.
    #[must_use]
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// How much of it the archive holds.
    #[must_use]
    pub(super) fn data(&self) -> u64 {
        self.extents.iter().map(|(_, length)| length).sum()
    }

    /// What is next; `None` at the end of the file.
    #[must_use]
    pub(super) fn part(&self) -> Option<Part> {
        match self.extents.get(self.next) {
            Some((offset, _)) if self.position < *offset => Some(Part::Hole(offset - self.position)),
            Some((offset, length)) => Some(Part::Data(offset + length - self.position)),
            None => Some(Part::Hole(self.size - self.position)).filter(|_| self.position < self.size),
        }
    }

    /// Goes on by `count`, which is no more than the part has.
    pub(super) fn advance(&mut self, count: u64) {
        self.position += count;
        if self.extents.get(self.next).is_some_and(|(offset, length)| self.position >= offset + length) {
            self.next += 1;
        }
    }
}

/// What PAX records say of a sparse member.
#[derive(Debug, Clone, Default)]
pub(super) struct Records {
    major: u64,
    size: Option<u64>,
    offset: Option<u64>,
    extents: Vec<(u64, u64)>,
    /// The file's name, where `path` is one that warns extractors who know nothing of sparse members.
    pub(super) name: Option<String>,
}

impl Records {
    /// Takes in the record `GNU.sparse.KEY`.
    ///
    /// # Errors
    ///
    /// Values that are no numbers, and maps that are too long.
    pub(super) fn read(&mut self, key: &str, value: &str) -> Result<(), StageError> {
        let number = || decimal(value).ok_or_else(|| bad(&format!("GNU.sparse.{key} is not a number")));
        match key {
            "major" => self.major = number()?,
            "size" | "realsize" => self.size = Some(number()?),
            "offset" => self.offset = Some(number()?),
            "numbytes" => {
                let offset =
                    self.offset.take().ok_or_else(|| bad("GNU.sparse.numbytes follows no GNU.sparse.offset"))?;
                self.push(offset, number()?)?;
            }
            "map" => {
                let mut numbers = value.split(',').map(decimal);
                while let Some(offset) = numbers.next() {
                    let (Some(offset), Some(Some(length))) = (offset, numbers.next()) else {
                        return Err(bad("GNU.sparse.map is not a list of offsets and lengths"));
                    };
                    self.push(offset, length)?;
                }
            }
            "name" => self.name = Some(value.to_owned()),
            // How many extents there are shows when they are there.
            _ => {}
        }
        Ok(())
    }

    /// Whether the map stands before the data.
    #[must_use]
    pub(super) fn map_follows(&self) -> bool {
        self.major == 1
    }

    /// The map; `before` is what stands before the data.
    ///
    /// # Errors
    ///
    /// No size, a version that nobody knows, and maps that make no sense.
    pub(super) fn map(self, before: Vec<(u64, u64)>) -> Result<Map, StageError> {
        let size = self.size.ok_or_else(|| bad("no record gives the file's size"))?;
        match self.major {
            0 => Map::new(size, self.extents),
            1 => Map::new(size, before),
            other => Err(bad(&format!("its version {other} is unknown; pack it with --sparse-version=1.0"))),
        }
    }

    fn push(&mut self, offset: u64, length: u64) -> Result<(), StageError> {
        self.extents.push((offset, length));
        check_count(self.extents.len() as u64)
    }
}

/// The extents of an old header, or of a block behind it: `numbers` reads a field, and an empty one is the end.
///
/// # Errors
///
/// Fields that are no numbers, and maps that are too long.
pub(super) fn old_extents(
    fields: &[u8],
    number: impl Fn(&[u8]) -> Option<u64>,
    extents: &mut Vec<(u64, u64)>,
) -> Result<(), StageError> {
    for pair in fields.chunks_exact(24).take_while(|pair| pair[12] != 0) {
        let (Some(offset), Some(length)) = (number(&pair[..12]), number(&pair[12..])) else {
            return Err(bad("an extent is not a pair of numbers"));
        };
        extents.push((offset, length));
    }
    check_count(extents.len() as u64)
}

/// The extents before the data (PAX 1.0): decimal numbers, one a line, first how many extents there are. `line` gives
/// the next line.
///
/// # Errors
///
/// Those of `line`, lines that are no numbers, and maps that are too long.
pub(super) fn extents_before_data(
    mut line: impl FnMut() -> Result<Vec<u8>, StageError>,
) -> Result<Vec<(u64, u64)>, StageError> {
    let mut number = || {
        let line = line()?;
        std::str::from_utf8(&line).ok().and_then(decimal).ok_or_else(|| bad("a line is not a number"))
    };
    let count = number()?;
    check_count(count)?;
    (0..count).map(|_| Ok((number()?, number()?))).collect()
}

fn check_count(count: u64) -> Result<(), StageError> {
    if count > MAX_EXTENTS as u64 {
        return Err(bad(&format!("it has more than {MAX_EXTENTS} extents")));
    }
    Ok(())
}

fn decimal(text: &str) -> Option<u64> {
    // What no file can have would overflow where it is added up.
    text.parse().ok().filter(|number| i64::try_from(*number).is_ok())
}

fn bad(what: &str) -> StageError {
    malformed("tar archive", &format!("the map of a sparse member: {what}"))
}

#[cfg(test)]
#[path = "sparse_tests.rs"]
mod tests;
