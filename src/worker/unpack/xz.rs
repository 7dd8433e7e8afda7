//! The .xz format (version 1.2.1): any number of streams, with padding between them. The blocks of a stream that says
//! how long they are (`xz -T`) are decoded in parallel.

use std::io::{self, BufRead, Read};

use liblzma::stream::{Action, Error, MtStreamBuilder, Status, Stream};

use super::stream::{damaged, zeros};

/// `xz -9` needs 65 MiB on one thread; files of smaller blocks get as many threads as fit in this.
const MEMORY_LIMIT: u64 = 80 << 20;

/// More would only wait for the other stages.
const MAX_THREADS: usize = 4;

/// Padding comes in multiples of this (section 2.2).
const PADDING_UNIT: u64 = 4;

/// The content of an .xz file.
pub(super) struct Reader<R> {
    compressed: R,
    /// None between streams.
    stream: Option<Stream>,
    /// Zeros since the last stream; what comes before the first is none.
    padding: Option<u64>,
}

impl<R: BufRead> Reader<R> {
    /// The content of `compressed`.
    ///
    /// # Errors
    ///
    /// The decoder cannot be set up.
    pub(super) fn new(compressed: R) -> Result<Self, Error> {
        Ok(Self { compressed, stream: Some(decoder()?), padding: None })
    }

    /// Goes on to the next stream, if there is one.
    fn next_stream(&mut self) -> io::Result<bool> {
        loop {
            let available = self.compressed.fill_buf()?;
            let zeros = zeros(available);
            let (all, ended) = (zeros == available.len(), available.is_empty());
            self.compressed.consume(zeros);
            let padding = self.padding.unwrap_or_default() + zeros as u64;
            self.padding = Some(padding);
            if all && !ended {
                continue;
            }
            if !padding.is_multiple_of(PADDING_UNIT) {
                return Err(damaged("the zeros behind it are no padding, whose length is a multiple of four"));
            }
            if !ended {
                self.stream = Some(decoder().map_err(io::Error::other)?);
            }
            return Ok(!ended);
        }
    }
}

impl<R: BufRead> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let Some(stream) = &mut self.stream else {
                if self.next_stream()? {
                    continue;
                }
                return Ok(0);
            };
            let input = self.compressed.fill_buf()?;
            let last = input.is_empty();
            let action = if last { Action::Finish } else { Action::Run };
            let before = (stream.total_in(), stream.total_out());
            let status = stream.process(input, buffer, action).map_err(fault)?;
            let (consumed, produced) = (moved(stream.total_in(), before.0), moved(stream.total_out(), before.1));
            self.compressed.consume(consumed);
            if status == Status::StreamEnd {
                (self.stream, self.padding) = (None, Some(0));
            } else if last && produced == 0 {
                return Err(damaged("it ends early"));
            }
            if produced > 0 {
                return Ok(produced);
            }
        }
    }
}

fn decoder() -> Result<Stream, Error> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    MtStreamBuilder::new()
        .threads(u32::try_from(threads).unwrap_or(1))
        .memlimit_threading(MEMORY_LIMIT)
        .memlimit_stop(MEMORY_LIMIT)
        .decoder()
}

/// What one call moved, which is no more than its buffers hold.
fn moved(now: u64, before: u64) -> usize {
    usize::try_from(now - before).unwrap_or(usize::MAX)
}

fn fault(error: Error) -> io::Error {
    match error {
        Error::MemLimit => io::Error::new(
            io::ErrorKind::OutOfMemory,
            format!(
                "its decoder would need more than {} MiB of memory; compress it with xz -9 at most",
                MEMORY_LIMIT >> 20
            ),
        ),
        Error::Format => damaged("something other than xz follows it"),
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

#[cfg(test)]
#[path = "xz_tests.rs"]
mod tests;
