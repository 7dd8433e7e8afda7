//! gzip (RFC 1952), any number of members, and the zeros that tapes and some tools leave behind the last one.

use std::io::{self, BufRead, Read};

use vmdisk_gunzip::Member;

use super::stream::{damaged, zeros};

/// The content of a gzip file.
pub(super) struct GzipReader<R> {
    compressed: R,
    member: Member,
    place: Place,
}

/// Where in the file the reader is.
#[derive(Clone, Copy)]
enum Place {
    /// In a member.
    Within,
    /// Behind one.
    Between,
    /// In the zeros behind the last one.
    Padding,
}

impl<R: BufRead> GzipReader<R> {
    /// The content of `compressed`.
    pub(super) fn new(compressed: R) -> Self {
        Self { compressed, member: Member::new(), place: Place::Within }
    }
}

impl<R: BufRead> Read for GzipReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let input = self.compressed.fill_buf()?;
            let ended = input.is_empty();
            match (self.place, input.first()) {
                (Place::Between | Place::Padding, None) => return Ok(0),
                (Place::Between | Place::Padding, Some(0)) => {
                    self.place = Place::Padding;
                    let zeros = zeros(input);
                    self.compressed.consume(zeros);
                    continue;
                }
                (Place::Padding, Some(_)) => return Err(damaged("something lies behind its end")),
                (Place::Between, Some(_)) => {
                    self.member.restart();
                    self.place = Place::Within;
                }
                (Place::Within, _) => {}
            }
            let step = self.member.step(input, buffer).map_err(|error| damaged(&error.to_string()))?;
            self.compressed.consume(step.consumed);
            if step.done {
                self.place = Place::Between;
            }
            if step.produced > 0 {
                return Ok(step.produced);
            }
            if ended {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends in the middle"));
            }
            if step.consumed == 0 && !step.done && !buffer.is_empty() {
                return Err(damaged("it neither ends nor goes on"));
            }
        }
    }
}

#[cfg(test)]
#[path = "gzip_tests.rs"]
mod tests;
