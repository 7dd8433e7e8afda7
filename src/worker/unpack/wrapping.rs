//! One compression around an image: its name on what is wrong with it, a bound on what it unpacks to.

use std::io::{self, BufRead, Read};
use std::rc::Rc;

use super::budget::{Account, Budget};
use super::compression::Compression;
use super::damaged;
use super::stream::{self, Stream};
use crate::channel::{Batch, ChunkReader, is_neighbour_gone};
use crate::failure::Failure;

/// What is in a compressed stream.
pub(super) struct Wrapping<'a> {
    content: Box<dyn Stream + 'a>,
    compression: Compression,
    account: Account,
}

impl<'a> Wrapping<'a> {
    /// The content of `compressed`.
    ///
    /// # Errors
    ///
    /// As those of [`Compression::reader`].
    pub(super) fn new(
        compression: Compression,
        compressed: impl BufRead + 'a,
        budget: &Rc<Budget>,
    ) -> Result<Self, Failure> {
        Ok(Self { content: compression.reader(compressed)?, compression, account: Account::new(budget) })
    }
}

/// Names the compressed stream that is damaged. What lies around it has named itself.
fn named(compression: Compression, error: io::Error) -> io::Error {
    let says_itself = error.get_ref().is_some_and(|inner| inner.downcast_ref::<Failure>().is_some());
    if says_itself || is_neighbour_gone(&error) {
        return error;
    }
    io::Error::other(damaged(&format!("{} stream", compression.name()), &error.to_string()))
}

impl BufRead for Wrapping<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.account.check().map_err(io::Error::other)?;
        self.content.fill_buf().map_err(|error| named(self.compression, error))
    }

    fn consume(&mut self, count: usize) {
        self.account.make(count);
        self.content.consume(count);
    }
}

impl Read for Wrapping<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        stream::read(self, buffer)
    }
}

impl Stream for Wrapping<'_> {
    fn batch(&mut self, most: u64) -> io::Result<Batch> {
        self.account.check().map_err(io::Error::other)?;
        let batch = self.content.batch(most).map_err(|error| named(self.compression, error))?;
        self.account.make(stream::length(&batch));
        Ok(batch)
    }
}

/// The blob itself, which pays for what is in it.
pub(super) struct Fetched<'a> {
    /// Its bytes.
    pub(super) blob: &'a mut ChunkReader,
    /// The budget that grows by them.
    pub(super) budget: Rc<Budget>,
}

impl BufRead for Fetched<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.blob.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.budget.fetch(count);
        self.blob.consume(count);
    }
}

impl Read for Fetched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        stream::read(self, buffer)
    }
}

impl Stream for Fetched<'_> {
    fn batch(&mut self, most: u64) -> io::Result<Batch> {
        let batch = self.blob.batch(most)?;
        self.budget.fetch(stream::length(&batch));
        Ok(batch)
    }
}
