//! Reading tar archives as they come: entries in order, nothing extracted, nothing kept.
//!
//! Understands what GNU tar, `bsdtar`, Go and `BusyBox` write: v7, ustar, GNU long names and base-256 numbers, PAX path,
//! size and linkpath, and sparse members in all their forms, which are read as the files that they stand for.

use std::io::{self, BufRead, Read};

use bytes::Bytes;

use super::sparse::{self, Map, Part};
use super::stream::{self, Stream};
use super::{StageError, damaged, malformed};
use crate::channel::Batch;

/// The unit of a tar archive.
pub(super) const BLOCK: usize = 512;

/// A long name or PAX header beyond this is no honest one.
const MAX_EXTENSION: u64 = 1 << 20;

/// The longest line of a map before the data is a number of 64 bits.
const MAX_LINE: u64 = 21;

/// What is wrong with an archive whose last entry is longer than it.
const CUT: &str = "it ends in the middle of an entry";

/// What holes are read as, by reference.
static ZEROS: [u8; 256 * 1024] = [0; 256 * 1024];

/// So many pieces of a hole are handed out at once.
const HOLE_PIECES: u64 = 16;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file with content.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    SymbolicLink,
    /// A second name of an earlier entry.
    HardLink,
    /// A device, a FIFO, or what no one knows.
    Special,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The path as it stands in the archive.
    pub(super) path: String,
    /// What it is.
    pub(super) kind: Kind,
    /// The length of its content, holes included.
    pub(super) size: u64,
}

/// Walks an archive.
pub(super) struct Archive<'a> {
    reader: Box<dyn Stream + 'a>,
    /// What is left of the present entry, padding included.
    left: u64,
    padding: u64,
    /// Where what is left belongs, in a sparse entry.
    map: Option<Map>,
    globals: Extensions,
}

/// What PAX headers and GNU long names say about the next entry.
#[derive(Debug, Clone, Default)]
struct Extensions {
    path: Option<String>,
    size: Option<u64>,
    sparse: Option<sparse::Records>,
}

/// Whether a block is a tar header, by its checksum: v7 archives have no magic.
#[must_use]
pub(super) fn is_header(block: &[u8]) -> bool {
    block.get(..BLOCK).is_some_and(|block| block[0] != 0 && checksum_holds(block))
}

impl<'a> Archive<'a> {
    /// Walks the archive that `reader` delivers.
    #[must_use]
    pub(super) fn new(reader: Box<dyn Stream + 'a>) -> Self {
        Self { reader, left: 0, padding: 0, map: None, globals: Extensions::default() }
    }

    /// The next entry; `None` after the last. What was not read of the one before is skipped.
    ///
    /// # Errors
    ///
    /// Malformed archives and the reader's own errors.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, StageError> {
        let mut extensions = self.globals.clone();
        loop {
            self.skip_rest()?;
            let mut block = [0; BLOCK];
            if !self.read_block(&mut block)? {
                return Ok(None);
            }
            if !checksum_holds(&block) {
                return Err(malformed("tar archive", "a header's checksum does not match"));
            }
            let size =
                number(&block[124..136]).ok_or_else(|| malformed("tar archive", "a header's size is not a number"))?;
            self.begin(size);
            match block[156] {
                b'L' => extensions.path = Some(text(&self.extension(size)?)),
                // The target of a link is of no interest: links are never followed.
                b'K' => {
                    self.extension(size)?;
                }
                b'x' => {
                    let records = self.extension(size)?;
                    extensions.read(&records)?;
                }
                b'g' => {
                    let records = self.extension(size)?;
                    self.globals.read(&records)?;
                    extensions = self.globals.clone();
                }
                kind => {
                    self.begin(extensions.size.unwrap_or(size));
                    let mut records = extensions.sparse.take();
                    if let Some(name) = records.as_mut().and_then(|records| records.name.take()) {
                        extensions.path = Some(name);
                    }
                    self.map = self.sparse_map(&block, records)?;
                    let size = self.map.as_ref().map_or(self.left, Map::size);
                    return Ok(Some(entry(&block, kind, size, extensions)));
                }
            }
        }
    }

    /// The content of the present entry.
    pub(super) fn content(&mut self) -> Content<'_, 'a> {
        Content { archive: self }
    }

    /// Reads to the end of the underlying stream, the zeros after the last entry included.
    ///
    /// # Errors
    ///
    /// The reader's own.
    pub(super) fn drain(mut self) -> Result<(), StageError> {
        io::copy(&mut self.reader, &mut io::sink())?;
        Ok(())
    }

    fn begin(&mut self, size: u64) {
        self.map = None;
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
    }

    /// The map of an entry that is sparse. Reads what stands before its data.
    fn sparse_map(
        &mut self,
        header: &[u8; BLOCK],
        records: Option<sparse::Records>,
    ) -> Result<Option<Map>, StageError> {
        let map = match records {
            Some(records) if records.map_follows() => {
                let all = self.left;
                let extents = sparse::extents_before_data(|| self.line())?;
                // The data begins with a block of its own.
                let map_blocks = (all - self.left).next_multiple_of(BLOCK as u64).min(all);
                let rest = map_blocks - (all - self.left);
                io::copy(&mut self.content().take(rest), &mut io::sink())?;
                records.map(extents)?
            }
            Some(records) => records.map(Vec::new())?,
            None if header[156] == b'S' => self.old_map(header)?,
            None => return Ok(None),
        };
        if map.data() != self.left {
            let (mapped, there) = (map.data(), self.left);
            let what = format!("a sparse member holds {there} bytes, but its map has {mapped}");
            return Err(malformed("tar archive", &what));
        }
        Ok(Some(map))
    }

    /// The map in an old GNU header and in the blocks behind it, which the entry's size does not count.
    fn old_map(&mut self, header: &[u8; BLOCK]) -> Result<Map, StageError> {
        let mut extents = Vec::new();
        sparse::old_extents(&header[386..482], number, &mut extents)?;
        let mut more = header[482] != 0;
        while more {
            let mut block = [0; BLOCK];
            self.read_block(&mut block)?;
            sparse::old_extents(&block[..504], number, &mut extents)?;
            more = block[504] != 0;
        }
        let size = number(&header[483..495])
            .ok_or_else(|| malformed("tar archive", "the real size of a sparse member is not a number"))?;
        Map::new(size, extents)
    }

    /// A line of the present entry, without its end.
    fn line(&mut self) -> Result<Vec<u8>, StageError> {
        let mut line = Vec::new();
        self.content().take(MAX_LINE).read_until(b'\n', &mut line)?;
        line.pop_if(|last| *last == b'\n').map(|_| line).ok_or_else(|| {
            malformed("tar archive", &format!("the map of a sparse member has a line longer than {MAX_LINE} bytes"))
        })
    }

    fn skip_rest(&mut self) -> Result<(), StageError> {
        let rest = self.left + self.padding;
        let skipped = io::copy(&mut self.reader.by_ref().take(rest), &mut io::sink())?;
        // Some writers leave out the padding of the last entry.
        if skipped < self.left {
            return Err(malformed("tar archive", CUT));
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    /// Fills `block`; false at the end of the archive, which is a zero block or the end of the stream.
    fn read_block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, StageError> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(malformed("tar archive", "it ends in the middle of a header")),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(block.iter().any(|byte| *byte != 0))
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, StageError> {
        if size > MAX_EXTENSION {
            return Err(malformed("tar archive", "a long name or PAX header is longer than 1 MiB"));
        }
        let mut data = Vec::new();
        self.content().read_to_end(&mut data)?;
        if data.len() as u64 != size {
            return Err(malformed("tar archive", "it ends in the middle of a long name or PAX header"));
        }
        Ok(data)
    }
}

/// The content of one entry.
pub(super) struct Content<'b, 'a> {
    archive: &'b mut Archive<'a>,
}

impl Content<'_, '_> {
    /// What is next; `None` at the end.
    fn part(&self) -> Option<Part> {
        match &self.archive.map {
            Some(map) => map.part(),
            None => Some(Part::Data(self.archive.left)).filter(|_| self.archive.left > 0),
        }
    }

    fn advance(&mut self, part: Part, count: u64) {
        if let Some(map) = &mut self.archive.map {
            map.advance(count);
        }
        if let Part::Data(_) = part {
            self.archive.left -= count;
        }
    }
}

impl BufRead for Content<'_, '_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let within = |count: u64, most: usize| usize::try_from(count).map_or(most, |count| count.min(most));
        match self.part() {
            None => Ok(&[]),
            Some(Part::Hole(count)) => Ok(&ZEROS[..within(count, ZEROS.len())]),
            Some(Part::Data(count)) => {
                let available = self.archive.reader.fill_buf()?;
                if available.is_empty() {
                    return Err(io::Error::other(damaged("tar archive", CUT)));
                }
                Ok(&available[..within(count, available.len())])
            }
        }
    }

    fn consume(&mut self, count: usize) {
        // Nothing to consume where nothing was there.
        let Some(part) = self.part().filter(|_| count > 0) else { return };
        if let Part::Data(_) = part {
            self.archive.reader.consume(count);
        }
        self.advance(part, count as u64);
    }
}

impl Read for Content<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        stream::read(self, buffer)
    }
}

impl Stream for Content<'_, '_> {
    fn batch(&mut self, most: u64) -> io::Result<Batch> {
        // What is at hand now will be there for the batch; this notices an archive that ends too early.
        if self.fill_buf()?.is_empty() {
            return Ok(Batch::new());
        }
        let Some(part) = self.part() else {
            return Ok(Batch::new());
        };
        let batch = match part {
            Part::Hole(count) => zeros(count.min(most)),
            Part::Data(count) => self.archive.reader.batch(most.min(count))?,
        };
        self.advance(part, batch.iter().map(|piece| piece.len() as u64).sum());
        Ok(batch)
    }
}

/// Up to `count` zeros, by reference.
fn zeros(count: u64) -> Batch {
    let piece = ZEROS.len() as u64;
    let count = count.min(HOLE_PIECES * piece);
    let piece_at = |start: u64| {
        Bytes::from_static(&ZEROS).slice(..usize::try_from((count - start).min(piece)).unwrap_or_default())
    };
    (0..count.div_ceil(piece)).map(|index| piece_at(index * piece)).collect()
}

impl Extensions {
    /// Reads PAX records: `LENGTH KEY=VALUE\n`.
    fn read(&mut self, mut records: &[u8]) -> Result<(), StageError> {
        let bad = || malformed("tar archive", "a PAX header is not of the form LENGTH KEY=VALUE");
        while !records.is_empty() {
            let space = records.iter().position(|byte| *byte == b' ').ok_or_else(bad)?;
            let length: usize =
                std::str::from_utf8(&records[..space]).ok().and_then(|digits| digits.parse().ok()).ok_or_else(bad)?;
            let record =
                records.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n")).ok_or_else(bad)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => self.path = Some(text(value)),
                // What no file can have would overflow where it is added up.
                b"size" => {
                    let size = text(value).parse().ok().filter(|size| i64::try_from(*size).is_ok());
                    self.size = Some(size.ok_or_else(bad)?);
                }
                key if let Some(key) = key.strip_prefix(b"GNU.sparse.") => {
                    self.sparse.get_or_insert_default().read(&text(key), &text(value))?;
                }
                _ => {}
            }
            records = &records[length..];
        }
        Ok(())
    }
}

fn entry(block: &[u8; BLOCK], kind: u8, size: u64, extensions: Extensions) -> Entry {
    let path = extensions.path.unwrap_or_else(|| {
        let name = text(&block[..100]);
        let prefix = text(&block[345..500]);
        // GNU archives keep other things where ustar has the prefix.
        if &block[257..263] == b"ustar\0" && !prefix.is_empty() { format!("{prefix}/{name}") } else { name }
    });
    let kind = match kind {
        // v7 marks directories by a slash alone.
        0 | b'0' | b'7' if path.ends_with('/') => Kind::Directory,
        0 | b'0' | b'7' | b'S' => Kind::Regular,
        b'5' => Kind::Directory,
        b'2' => Kind::SymbolicLink,
        b'1' => Kind::HardLink,
        _ => Kind::Special,
    };
    // Only files have content, whatever the header says (POSIX.1-2017, pax, "ustar Header Block").
    Entry { path, kind, size }
}

/// Bytes up to the first zero as text; what is not UTF-8 can match no path that a user names.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// An octal number, or a base-256 one when the first bit is set (GNU, for sizes from 8 GiB on).
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        // The first byte holds the marker and the sign, which no size has. A checksum is never written this way.
        if field.len() <= 8 || field[0] != 0x80 || field[1..field.len() - 8].iter().any(|byte| *byte != 0) {
            return None;
        }
        let low: [u8; 8] = field[field.len() - 8..].try_into().ok()?;
        return i64::try_from(u64::from_be_bytes(low)).ok().map(i64::cast_unsigned);
    }
    let digits = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    if digits.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(digits, 8).ok()
}

/// The checksum is the sum of the block's bytes with its own field as spaces; old writers summed signed bytes.
fn checksum_holds(block: &[u8]) -> bool {
    let Some(expected) = number(&block[148..156]) else {
        return false;
    };
    let bytes = || block[..148].iter().chain(&block[156..]);
    let unsigned = 8 * u64::from(b' ') + bytes().copied().map(u64::from).sum::<u64>();
    // As a signed number, each byte from 128 on is 256 less.
    expected == unsigned || expected + 256 * bytes().filter(|byte| **byte >= 0x80).count() as u64 == unsigned
}

#[cfg(test)]
#[path = "tar_tests.rs"]
pub(super) mod tests;
