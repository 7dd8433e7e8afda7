//! bzip2, any number of streams, its blocks decoded in parallel.
//!
//! The format has no specification but its source; "BZIP2: Format Specification" by Joe Tsai describes it. A block begins
//! at any bit, with a magic number of 48 bits, and can be decoded by itself when it is given a header and an end of its
//! own. A magic number may also occur in a block by chance, or be made to: a block that does not decode is tried again
//! together with what follows.

use std::collections::VecDeque;
use std::io::{self, BufRead, Cursor, Read};

use ::bzip2::bufread::BzDecoder;
use bytes::Bytes;

use super::parallel::Ordered;
use super::stream::{Buffers, Chunks, cut, damaged, read_full};

const BLOCK: u64 = 0x3141_5926_5359;
const END: u64 = 0x1772_4538_5090;
const MAGIC_BITS: u64 = 48;
const MAGIC_MASK: u64 = (1 << MAGIC_BITS) - 1;

/// Longer is no block: 900 kB and what its tables take.
const MAX_PIECE: usize = 2 << 20;

/// A block of long runs may hold fifty times its size. What holds more than this is decoded as it is read.
const MAX_CONTENT: usize = 8 << 20;

/// The content of a bzip2 file.
pub(super) struct Blocks<R> {
    pieces: Pieces<R>,
    decoded: Ordered<Vec<u8>, io::Result<Content>>,
    /// What the threads work on, and ends of streams between.
    given: VecDeque<Piece>,
    /// A block that holds much.
    long: Option<BzDecoder<Cursor<Vec<u8>>>>,
    buffers: Buffers,
    /// The CRC of the present stream's blocks so far.
    combined: u32,
}

/// What a block holds.
enum Content {
    /// This.
    All(Bytes),
    /// More than is kept.
    Long,
}

impl<R: BufRead> Blocks<R> {
    /// The content of `compressed`.
    #[must_use]
    pub(super) fn new(compressed: R) -> Self {
        Self {
            pieces: Pieces::new(compressed),
            decoded: Ordered::new(|stream: Vec<u8>| decode(&stream)),
            given: VecDeque::new(),
            long: None,
            buffers: Buffers::default(),
            combined: 0,
        }
    }

    /// Gives blocks to the threads while there is room.
    fn look_ahead(&mut self) -> io::Result<()> {
        while self.decoded.has_room(MAX_PIECE + MAX_CONTENT) {
            let Some(piece) = self.pieces.next()? else { break };
            if piece.is_block {
                self.decoded.give(piece.as_stream(), MAX_PIECE + MAX_CONTENT);
            }
            self.given.push_back(piece);
        }
        Ok(())
    }

    /// What a block holds that was cut at a magic number which is none.
    fn join(&mut self, mut piece: Piece, mut fault: io::Error) -> io::Result<(Piece, Content)> {
        while piece.bytes.len() <= MAX_PIECE {
            self.look_ahead()?;
            let Some(next) = self.given.pop_front() else { break };
            if next.is_block {
                let _ = self.decoded.take()?;
            }
            piece.append(&next);
            match decode(&piece.as_stream()) {
                Ok(content) => return Ok((piece, content)),
                Err(error) => fault = error,
            }
        }
        Err(fault)
    }
}

impl<R: BufRead> Chunks for Blocks<R> {
    fn next(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(long) = &mut self.long {
                let mut buffer = self.buffers.take();
                let filled = read_full(long, &mut buffer)?;
                if filled > 0 {
                    buffer.truncate(filled);
                    return Ok(self.buffers.lend(buffer));
                }
                self.long = None;
            }
            self.look_ahead()?;
            let Some(mut piece) = self.given.pop_front() else {
                return Ok(Bytes::new());
            };
            if !piece.is_block {
                piece.check_end(self.combined)?;
                self.combined = 0;
                continue;
            }
            let content = self.decoded.take()?.unwrap_or_else(|| Err(damaged("a block is lost")));
            let content = match content {
                Ok(content) => content,
                Err(fault) => {
                    let (joined, content) = self.join(piece, fault)?;
                    piece = joined;
                    content
                }
            };
            self.combined = self.combined.rotate_left(1) ^ piece.crc();
            match content {
                Content::All(bytes) if bytes.is_empty() => {}
                Content::All(bytes) => return Ok(bytes),
                Content::Long => self.long = Some(BzDecoder::new(Cursor::new(piece.as_stream()))),
            }
        }
    }
}

/// The content of one block, made a stream.
fn decode(stream: &[u8]) -> io::Result<Content> {
    let mut content = Vec::new();
    BzDecoder::new(stream).take(MAX_CONTENT as u64 + 1).read_to_end(&mut content)?;
    Ok(if content.len() > MAX_CONTENT { Content::Long } else { Content::All(content.into()) })
}

/// From one magic number to the next.
struct Piece {
    is_block: bool,
    /// Its bits, the first one first.
    bytes: Vec<u8>,
    bits: usize,
    /// Where it ends in the file, in bits.
    end: u64,
}

impl Piece {
    /// The block as a stream of its own: the CRC of all blocks is that of the only one.
    fn as_stream(&self) -> Vec<u8> {
        let mut stream = Bits { bytes: b"BZh9".to_vec(), count: 32 };
        stream.append(&self.bytes, self.bits);
        stream.append(&(END << 16).to_be_bytes(), 48);
        stream.append(&self.crc().to_be_bytes(), 32);
        stream.bytes
    }

    /// The CRC that follows the magic number.
    fn crc(&self) -> u32 {
        self.bytes.get(6..10).and_then(|crc| crc.try_into().ok()).map_or(0, u32::from_be_bytes)
    }

    fn append(&mut self, next: &Self) {
        let mut bits = Bits { bytes: std::mem::take(&mut self.bytes), count: self.bits };
        bits.append(&next.bytes, next.bits);
        (self.bytes, self.bits, self.end) = (bits.bytes, bits.count, next.end);
    }

    /// Checks the end of a stream: the CRC of its blocks, then nothing to the next byte, then nothing or another header.
    fn check_end(&self, combined: u32) -> io::Result<()> {
        let start = self.end - self.bits as u64;
        let padded = (start + MAGIC_BITS + 32).next_multiple_of(8);
        if self.end < start + MAGIC_BITS + 32 {
            return Err(cut());
        }
        if self.crc() != combined {
            return Err(damaged("its blocks have another CRC than its end says"));
        }
        if self.end <= padded {
            return Ok(());
        }
        let behind = Bits::slice(&self.bytes, usize::try_from(padded - start).unwrap_or(usize::MAX), self.bits);
        match behind[..] {
            [b'B', b'Z', b'h', b'1'..=b'9'] if self.end == padded + 32 => Ok(()),
            _ => Err(damaged("something other than bzip2 follows it")),
        }
    }
}

/// Cuts a file at its magic numbers.
struct Pieces<R> {
    compressed: R,
    /// The bytes from the one in which the present piece begins.
    raw: Vec<u8>,
    /// Where the present piece begins, in bits from the start of `raw`; absent before the first.
    start: Option<usize>,
    is_block: bool,
    /// The last 64 bits.
    window: u64,
    /// How many bytes have been read.
    read: u64,
    ended: bool,
}

impl<R: BufRead> Pieces<R> {
    fn new(compressed: R) -> Self {
        Self { compressed, raw: Vec::new(), start: None, is_block: false, window: 0, read: 0, ended: false }
    }

    /// The next piece; `None` after the last.
    fn next(&mut self) -> io::Result<Option<Piece>> {
        loop {
            let input = self.compressed.fill_buf()?;
            if input.is_empty() {
                return self.last();
            }
            let mut used = 0;
            let mut found = None;
            for byte in input {
                used += 1;
                self.raw.push(*byte);
                self.window = self.window << 8 | u64::from(*byte);
                found = magic(self.window).filter(|_| self.read + used >= 6);
                if found.is_some() || self.raw.len() > 2 * MAX_PIECE {
                    break;
                }
            }
            self.read += used;
            self.compressed.consume(usize::try_from(used).unwrap_or(usize::MAX));
            let Some((behind, is_block)) = found else {
                if self.raw.len() > 2 * MAX_PIECE {
                    return Err(damaged("a block has no end"));
                }
                continue;
            };
            // The bits of `raw` up to where the magic number begins.
            let at = self.raw.len() * 8 - behind - 48;
            let piece = match self.start {
                // The header of the first stream, which whoever chose this decoder has seen.
                None if at == 32 => None,
                None => return Err(damaged("its header is not followed by a block")),
                Some(start) => Some(self.piece(start, at)),
            };
            self.raw.drain(..at / 8);
            self.start = Some(at % 8);
            self.is_block = is_block;
            if piece.is_some() {
                return Ok(piece);
            }
        }
    }

    fn last(&mut self) -> io::Result<Option<Piece>> {
        let Some(start) = self.start.filter(|_| !self.ended) else {
            return if self.ended { Ok(None) } else { Err(cut()) };
        };
        self.ended = true;
        // Only the end of a stream is followed by nothing.
        if self.is_block {
            return Err(cut());
        }
        Ok(Some(self.piece(start, self.raw.len() * 8)))
    }

    fn piece(&self, start: usize, end: usize) -> Piece {
        let behind = self.raw.len() * 8 - end;
        Piece {
            is_block: self.is_block,
            bytes: Bits::slice(&self.raw, start, end),
            bits: end - start,
            end: self.read * 8 - behind as u64,
        }
    }
}

/// The magic number that ends in the last byte of `window`, by the bits behind it, and whether it is a block's.
fn magic(window: u64) -> Option<(usize, bool)> {
    (0..8).find_map(|behind| match window >> behind & MAGIC_MASK {
        BLOCK => Some((behind, true)),
        END => Some((behind, false)),
        _ => None,
    })
}

/// Bits, the first one first; those behind the last are zero.
struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    /// Adds the first `count` bits of `bytes`, behind which there are zeros.
    fn append(&mut self, bytes: &[u8], count: usize) {
        let shift = self.count % 8;
        for byte in &bytes[..count.div_ceil(8)] {
            match self.bytes.last_mut().filter(|_| shift > 0) {
                None => self.bytes.push(*byte),
                Some(last) => {
                    *last |= byte >> shift;
                    self.bytes.push(byte << (8 - shift));
                }
            }
        }
        self.count += count;
        self.bytes.truncate(self.count.div_ceil(8));
    }

    /// The bits of `bytes` from `start` to `end`, from the first bit of a byte on.
    fn slice(bytes: &[u8], start: usize, end: usize) -> Vec<u8> {
        let shift = start % 8;
        let taken = &bytes[start / 8..end.div_ceil(8)];
        let byte = |at: usize| taken.get(at).copied().unwrap_or(0);
        let shifted = |at| (u16::from_be_bytes([byte(at), byte(at + 1)]) << shift).to_be_bytes()[0];
        let mut slice: Vec<u8> = (0..taken.len()).map(shifted).collect();
        slice.truncate((end - start).div_ceil(8));
        if let Some(last) = slice.last_mut().filter(|_| !(end - start).is_multiple_of(8)) {
            *last &= 0xff << (8 - (end - start) % 8);
        }
        slice
    }
}

#[cfg(test)]
#[path = "bzip2_tests.rs"]
mod tests;
