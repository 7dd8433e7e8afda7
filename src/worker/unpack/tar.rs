//! Reading tar archives as they come: entries in order, nothing extracted, nothing kept.
//!
//! Understands what GNU tar, `bsdtar`, Go and `BusyBox` write: v7, ustar, GNU long names and base-256 numbers, PAX path,
//! size and linkpath. Sparse members are recognised, so that their map is never taken for content.

use std::io::{self, BufRead, Read};

use super::stream::{self, Stream};
use super::{StageError, malformed};
use crate::channel::Batch;

/// The unit of a tar archive.
pub(super) const BLOCK: usize = 512;

/// A long name or PAX header beyond this is no honest one.
const MAX_EXTENSION: u64 = 1 << 20;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file with content.
    Regular,
    /// A file whose holes are left out, in any of the three GNU forms.
    Sparse,
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
    /// The length of its content.
    pub(super) size: u64,
}

/// Walks an archive.
pub(super) struct Archive<'a> {
    reader: Box<dyn Stream + 'a>,
    /// What is left of the present entry, padding included.
    left: u64,
    padding: u64,
    globals: Extensions,
}

/// What PAX headers and GNU long names say about the next entry.
#[derive(Debug, Clone, Default)]
struct Extensions {
    path: Option<String>,
    size: Option<u64>,
    sparse: bool,
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
        Self { reader, left: 0, padding: 0, globals: Extensions::default() }
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
                    let size = extensions.size.unwrap_or(size);
                    self.begin(size);
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
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
    }

    fn skip_rest(&mut self) -> Result<(), StageError> {
        let rest = self.left + self.padding;
        let skipped = io::copy(&mut self.reader.by_ref().take(rest), &mut io::sink())?;
        // Some writers leave out the padding of the last entry.
        if skipped < self.left {
            return Err(malformed("tar archive", "it ends in the middle of an entry"));
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

impl BufRead for Content<'_, '_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.archive.left == 0 {
            return Ok(&[]);
        }
        let available = self.archive.reader.fill_buf()?;
        if available.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends in the middle of an entry"));
        }
        let count = usize::try_from(self.archive.left).map_or(available.len(), |left| left.min(available.len()));
        Ok(&available[..count])
    }

    fn consume(&mut self, count: usize) {
        self.archive.reader.consume(count);
        self.archive.left -= count as u64;
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
        let batch = self.archive.reader.batch(most.min(self.archive.left))?;
        self.archive.left -= batch.iter().map(|piece| piece.len() as u64).sum::<u64>();
        Ok(batch)
    }
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
                b"path" if !self.sparse => self.path = Some(text(value)),
                b"size" => self.size = Some(text(value).parse().map_err(|_| bad())?),
                b"GNU.sparse.name" => {
                    self.sparse = true;
                    self.path = Some(text(value));
                }
                key if key.starts_with(b"GNU.sparse.") => self.sparse = true,
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
        _ if extensions.sparse => Kind::Sparse,
        // v7 marks directories by a slash alone.
        0 | b'0' | b'7' if path.ends_with('/') => Kind::Directory,
        0 | b'0' | b'7' => Kind::Regular,
        b'S' => Kind::Sparse,
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
    let bytes = || block.iter().enumerate().map(|(index, byte)| if (148..156).contains(&index) { b' ' } else { *byte });
    let unsigned: u64 = bytes().map(u64::from).sum();
    let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
    expected == unsigned || i64::try_from(expected) == Ok(signed)
}

#[cfg(test)]
#[path = "tar_tests.rs"]
mod tests;
