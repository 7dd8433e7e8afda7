//! Bytes that came before a table said what they are.

use std::collections::BTreeMap;

use crate::{io::to_usize, zero::is_zero};

/// How much is kept in one piece.
const PIECE: usize = 64 << 10;
/// What a piece takes besides its data: its entry in the map, and the allocator's part.
const OVERHEAD: usize = 96;

/// What has passed and may still be asked for, each byte once.
#[derive(Debug)]
pub(super) struct Orphans {
    /// By offset in the image.
    pieces: BTreeMap<u64, Piece>,
    bytes: usize,
    limit: usize,
}

#[derive(Debug)]
enum Piece {
    Data(Vec<u8>),
    Zeros(u64),
}

impl Piece {
    fn length(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Zeros(length) => *length,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Data(data) => OVERHEAD + data.capacity(),
            Self::Zeros(_) => OVERHEAD,
        }
    }

    fn split(&mut self, at: usize) -> Self {
        match self {
            Self::Data(data) => {
                let rest = Self::Data(data[at..].to_vec());
                data.truncate(at);
                data.shrink_to_fit();
                rest
            }
            Self::Zeros(length) => {
                let rest = *length - at as u64;
                *length = at as u64;
                Self::Zeros(rest)
            }
        }
    }
}

impl Orphans {
    pub(super) fn new(limit: usize) -> Self {
        Self { pieces: BTreeMap::new(), bytes: 0, limit }
    }

    /// Whether there is more than there may be.
    pub(super) fn is_over(&self) -> bool {
        self.bytes > self.limit
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Keeps what has just passed. Calls come in the order of the image.
    pub(super) fn keep(&mut self, mut offset: u64, mut data: &[u8]) {
        while !data.is_empty() {
            let (piece, rest) = data.split_at(data.len().min(PIECE - to_usize(offset % PIECE as u64)));
            self.keep_piece(offset, piece);
            offset += piece.len() as u64;
            data = rest;
        }
    }

    /// Keeps what lies within one piece.
    fn keep_piece(&mut self, offset: u64, data: &[u8]) {
        let zero = is_zero(data);
        if let Some((&start, last)) =
            self.pieces.iter_mut().next_back().filter(|(at, last)| *at + last.length() == offset)
        {
            match last {
                Piece::Zeros(length) if zero => {
                    *length += data.len() as u64;
                    return;
                }
                Piece::Data(there) if start / PIECE as u64 == offset / PIECE as u64 => {
                    self.bytes -= there.capacity();
                    there.extend_from_slice(data);
                    self.bytes += there.capacity();
                    return;
                }
                _ => {}
            }
        }
        let piece = if zero { Piece::Zeros(data.len() as u64) } else { Piece::Data(data.to_vec()) };
        self.insert(offset, piece);
    }

    fn insert(&mut self, offset: u64, piece: Piece) {
        if piece.length() > 0 {
            self.bytes += piece.bytes();
            self.pieces.insert(offset, piece);
        }
    }

    /// Fills `buffer` with what came at `offset`, which is gone then. Gives the offset of what is missing, if any is.
    pub(super) fn take(&mut self, mut offset: u64, mut buffer: &mut [u8]) -> Result<(), u64> {
        while !buffer.is_empty() {
            let found = self.pieces.range(..=offset).next_back().map(|(&start, piece)| (start, piece.length()));
            let (start, _) = found.filter(|(start, length)| start + length > offset).ok_or(offset)?;
            let mut piece = self.pieces.remove(&start).ok_or(offset)?;
            self.bytes -= piece.bytes();
            let mut wanted = piece.split(to_usize(offset - start));
            self.insert(start, piece);
            let length = buffer.len().min(to_usize(wanted.length()));
            let (head, rest) = buffer.split_at_mut(length);
            let behind = wanted.split(length);
            self.insert(offset + length as u64, behind);
            match wanted {
                Piece::Data(data) => head.copy_from_slice(&data),
                Piece::Zeros(_) => head.fill(0),
            }
            offset += length as u64;
            buffer = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "orphans_tests.rs"]
mod tests;
