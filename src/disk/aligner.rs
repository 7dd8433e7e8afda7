//! Cutting a stream of chunks at fixed boundaries, almost without copying.

use crate::Error;

/// Hands a stream on in slices that start and end at multiples of a granule. What lies across two chunks is copied,
/// the rest goes through by reference.
#[derive(Debug)]
pub(crate) struct Aligner {
    granule: usize,
    /// How many bytes at the end of the stream are never handed on.
    hold: usize,
    /// The stream's bytes from `position` on that have not been handed on: less than `hold` and a granule.
    pending: Vec<u8>,
    /// A multiple of the granule.
    position: u64,
}

impl Aligner {
    pub(crate) fn new(granule: usize, hold: usize) -> Self {
        Self { granule, hold, pending: Vec::with_capacity(granule + hold), position: 0 }
    }

    /// How much of the stream has been pushed.
    pub(crate) fn pushed(&self) -> u64 {
        self.position + self.pending.len() as u64
    }

    /// Takes the next chunk of the stream and calls `emit(offset in the stream, slice)` for what is ready.
    pub(crate) fn push(
        &mut self,
        mut chunk: &[u8],
        mut emit: impl FnMut(u64, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let total = self.pending.len() + chunk.len();
        let mut ready = total.saturating_sub(self.hold) / self.granule * self.granule;
        if ready > self.pending.len() {
            if !self.pending.is_empty() {
                let aligned = self.pending.len().next_multiple_of(self.granule);
                let (head, rest) = chunk.split_at(aligned - self.pending.len());
                self.pending.extend_from_slice(head);
                emit(self.position, &self.pending)?;
                self.position += aligned as u64;
                self.pending.clear();
                chunk = rest;
                ready -= aligned;
            }
            if ready > 0 {
                emit(self.position, &chunk[..ready])?;
                self.position += ready as u64;
            }
            self.pending.extend_from_slice(&chunk[ready..]);
        } else {
            if ready > 0 {
                emit(self.position, &self.pending[..ready])?;
                self.position += ready as u64;
                self.pending.drain(..ready);
            }
            self.pending.extend_from_slice(chunk);
        }
        Ok(())
    }

    /// Hands on what is left of the stream, which ends here, and begins another one.
    pub(crate) fn flush(&mut self, mut emit: impl FnMut(u64, &[u8]) -> Result<(), Error>) -> Result<(), Error> {
        let position = std::mem::take(&mut self.position);
        let outcome = if self.pending.is_empty() { Ok(()) } else { emit(position, &self.pending) };
        self.pending.clear();
        outcome
    }

    /// The end of the stream that has not been handed on, and its offset.
    pub(crate) fn finish(self) -> (u64, Vec<u8>) {
        (self.position, self.pending)
    }
}

#[cfg(test)]
#[path = "aligner_tests.rs"]
mod tests;
