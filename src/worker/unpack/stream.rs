//! Bytes on their way through wrappings: by reference where they are there already, from few and reused buffers where
//! they are made.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};

use bytes::{Buf, Bytes, BytesMut};
use vmdisk_format::zero::is_zero;

use crate::channel::{Batch, CHUNK, ChunkReader};

/// A reader that can hand its bytes out without copying them.
pub(super) trait Stream: BufRead {
    /// The next bytes, as many as are at hand, at most `most`; none at the end.
    fn batch(&mut self, most: u64) -> io::Result<Batch>;
}

impl Stream for ChunkReader {
    fn batch(&mut self, most: u64) -> io::Result<Batch> {
        ChunkReader::batch(self, most)
    }
}

impl<S: Stream + ?Sized> Stream for &mut S {
    fn batch(&mut self, most: u64) -> io::Result<Batch> {
        (**self).batch(most)
    }
}

impl<S: Stream + ?Sized> Stream for Box<S> {
    fn batch(&mut self, most: u64) -> io::Result<Batch> {
        (**self).batch(most)
    }
}

/// Reads up to `count` bytes ahead; the stream returned delivers them again.
///
/// # Errors
///
/// The stream's own.
pub(super) fn peek<'a>(mut stream: Box<dyn Stream + 'a>, count: usize) -> io::Result<(Bytes, Box<dyn Stream + 'a>)> {
    let mut prefix = Vec::with_capacity(count);
    stream.by_ref().take(count as u64).read_to_end(&mut prefix)?;
    // The bytes are owned here: a buffer that is shared with a decoder would be overwritten by it.
    let prefix = Bytes::from(prefix);
    Ok((prefix.clone(), Box::new(Peeked { prefix, stream })))
}

/// A stream whose first bytes have been looked at.
struct Peeked<'a> {
    prefix: Bytes,
    stream: Box<dyn Stream + 'a>,
}

impl Read for Peeked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.prefix.is_empty() { self.stream.read(buffer) } else { read(self, buffer) }
    }
}

impl BufRead for Peeked<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.prefix.is_empty() { self.stream.fill_buf() } else { Ok(&self.prefix) }
    }

    fn consume(&mut self, count: usize) {
        if self.prefix.is_empty() {
            self.stream.consume(count);
        } else {
            self.prefix.advance(count);
        }
    }
}

impl Stream for Peeked<'_> {
    fn batch(&mut self, most: u64) -> io::Result<Batch> {
        if self.prefix.is_empty() { self.stream.batch(most) } else { Ok(split(&mut self.prefix, most)) }
    }
}

/// Where bytes are made.
pub(super) trait Chunks {
    /// The next bytes; none at the end.
    fn next(&mut self) -> io::Result<Bytes>;
}

/// What a decoder makes, as a stream.
pub(super) struct Decoded<C> {
    chunks: C,
    current: Bytes,
}

impl<R: Read> Decoded<Filled<R>> {
    /// What `decoder` makes.
    pub(super) fn new(decoder: R) -> Self {
        Self::of(Filled { decoder, buffers: Buffers::default() })
    }
}

impl<C: Chunks> Decoded<C> {
    /// What `chunks` gives.
    pub(super) fn of(chunks: C) -> Self {
        Self { chunks, current: Bytes::new() }
    }

    fn refill(&mut self) -> io::Result<()> {
        if self.current.is_empty() {
            self.current = self.chunks.next()?;
        }
        Ok(())
    }
}

/// Buffers that a decoder fills.
pub(super) struct Filled<R> {
    decoder: R,
    buffers: Buffers,
}

impl<R: Read> Chunks for Filled<R> {
    fn next(&mut self) -> io::Result<Bytes> {
        let mut buffer = self.buffers.take();
        let filled = read_full(&mut self.decoder, &mut buffer)?;
        buffer.truncate(filled);
        Ok(self.buffers.lend(buffer))
    }
}

impl<C: Chunks> Read for Decoded<C> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read(self, buffer)
    }
}

impl<C: Chunks> BufRead for Decoded<C> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.refill()?;
        Ok(&self.current)
    }

    fn consume(&mut self, count: usize) {
        self.current.advance(count);
    }
}

impl<C: Chunks> Stream for Decoded<C> {
    fn batch(&mut self, most: u64) -> io::Result<Batch> {
        self.refill()?;
        Ok(split(&mut self.current, most))
    }
}

/// Buffers that are filled, sent on, and filled again once nobody reads them any more: fresh ones would have to be
/// zeroed each time.
#[derive(Default)]
pub(super) struct Buffers {
    /// The oldest first: they come back in the order in which they were sent.
    lent: VecDeque<Bytes>,
}

impl Buffers {
    /// A buffer of [`CHUNK`] bytes, whatever they are.
    pub(super) fn take(&mut self) -> BytesMut {
        let Some(oldest) = self.lent.pop_front() else {
            return BytesMut::zeroed(CHUNK);
        };
        match oldest.try_into_mut() {
            Ok(mut buffer) => {
                buffer.resize(CHUNK, 0);
                buffer
            }
            Err(busy) => {
                self.lent.push_front(busy);
                BytesMut::zeroed(CHUNK)
            }
        }
    }

    /// The content of a buffer, which comes back when it is dropped.
    pub(super) fn lend(&mut self, buffer: BytesMut) -> Bytes {
        let bytes = buffer.freeze();
        if !bytes.is_empty() {
            self.lent.push_back(bytes.clone());
        }
        bytes
    }
}

/// How many bytes there are.
pub(super) fn length(batch: &Batch) -> usize {
    batch.iter().map(Bytes::len).sum()
}

/// Takes up to `most` bytes off the front.
fn split(bytes: &mut Bytes, most: u64) -> Batch {
    let count = usize::try_from(most).map_or(bytes.len(), |most| most.min(bytes.len()));
    if count == 0 { Batch::new() } else { vec![bytes.split_to(count)] }
}

/// How many zeros `bytes` begins with.
pub(super) fn zeros(bytes: &[u8]) -> usize {
    if is_zero(bytes) { bytes.len() } else { bytes.iter().take_while(|byte| **byte == 0).count() }
}

/// Fills `buffer` as far as the stream goes.
pub(super) fn read_full(reader: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// [`Read::read`] by what is buffered.
pub(super) fn read(stream: &mut impl BufRead, buffer: &mut [u8]) -> io::Result<usize> {
    let available = stream.fill_buf()?;
    let count = available.len().min(buffer.len());
    buffer[..count].copy_from_slice(&available[..count]);
    stream.consume(count);
    Ok(count)
}

/// A stream that ends before its end.
pub(super) fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it ends early")
}

/// A stream that is not what it should be.
pub(super) fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
