//! What the decoders read from and write to.

use std::io;
use std::ops::Range;

use crate::{
    Error, Format,
    compressed::{CompressedCluster, Inflater},
    zero::non_zero_runs,
};

/// An image that can be read at any offset: a staged file, a ranged HTTP source, a slice in tests.
pub trait ReadAt {
    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from filling the whole buffer; the end of the image is `UnexpectedEof`.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// The length of the image in bytes. It must not change while the image is decoded.
    fn size(&self) -> u64;

    /// Reads several ranges. A source with a round trip to each answer overrides this and asks for all of them at once.
    ///
    /// # Errors
    ///
    /// As [`ReadAt::read_exact_at`].
    fn read_ranges(&self, ranges: &[Range<u64>]) -> io::Result<Vec<Vec<u8>>> {
        let read = |range: &Range<u64>| {
            let mut buffer = vec![0; to_usize(range.end - range.start)];
            self.read_exact_at(&mut buffer, range.start).map(|()| buffer)
        };
        ranges.iter().map(read).collect()
    }
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..)?.get(..buffer.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(from);
        Ok(())
    }

    fn size(&self) -> u64 {
        self.len() as u64
    }
}

impl<R: ReadAt + ?Sized> ReadAt for &R {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buffer, offset)
    }

    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_ranges(&self, ranges: &[Range<u64>]) -> io::Result<Vec<Vec<u8>>> {
        (**self).read_ranges(ranges)
    }
}

/// Takes the disk's data. What is never written reads as zeros: holes and zero runs are not delivered.
pub trait Sink {
    /// Takes `data`, the content of the disk from byte `offset` on.
    ///
    /// `data` is never empty and never reaches beyond the disk's virtual size. Calls come in any order of offsets.
    /// An offset is a multiple of 4 KiB ([`zero::GRANULE`](crate::zero::GRANULE)), and so is the length except at the
    /// end of the disk, unless the image's clusters or subclusters are smaller; then both are multiples of their size,
    /// 512 at least. Each byte is delivered once; when [`Error::NeedsWholeImage`] makes the decoding start again, it
    /// comes again with the same value.
    ///
    /// # Errors
    ///
    /// Whatever the target says; decoding ends with [`Error::Write`].
    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Takes a cluster or grain that is still compressed.
    ///
    /// The provided method decompresses it here and passes what is not zero to [`Sink::write`]. A sink that has
    /// threads overrides it: copy [`CompressedCluster::data`], hand it to a thread with an [`Inflater`] of its own,
    /// and report what that thread fails with at the next call.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] when the data does not decompress to the cluster, [`Error::Write`] from [`Sink::write`].
    fn write_compressed(&mut self, cluster: &CompressedCluster<'_>, inflater: &mut Inflater) -> Result<(), Error> {
        let data = inflater.inflate(cluster)?;
        deliver(self, cluster.offset, data)
    }
}

/// What a decoding came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The format that was decoded. A stream that looks raw turns out to be a fixed [`Format::Vhd`] by its last bytes.
    pub format: Format,
    /// The size of the disk in bytes.
    pub virtual_size: u64,
    /// The size of the image in bytes, as far as it was read.
    pub image_size: u64,
}

/// Delivers what is not zero in `data`, which starts at `offset` of the disk.
pub(crate) fn deliver(sink: &mut (impl Sink + ?Sized), offset: u64, data: &[u8]) -> Result<(), Error> {
    for range in non_zero_runs(data) {
        let at = offset + range.start as u64;
        let run = &data[range];
        sink.write(at, run).map_err(|source| Error::Write { offset: at, length: run.len(), source })?;
    }
    Ok(())
}

/// Fills `buffer` from `offset` of the image, naming both when that fails.
pub(crate) fn read_at(image: &dyn ReadAt, buffer: &mut [u8], offset: u64) -> Result<(), Error> {
    let length = buffer.len();
    image.read_exact_at(buffer, offset).map_err(|source| Error::Read { offset, length, source })
}

/// Reads the image from `offset` to its end, in pieces that amortise a system call or a request.
pub(crate) fn read_in_order(
    image: &dyn ReadAt,
    mut offset: u64,
    mut take: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let size = image.size();
    let mut buffer = vec![0; READ_SIZE.min(to_usize(size.saturating_sub(offset)))];
    while offset < size {
        let length = buffer.len().min(to_usize(size - offset));
        let piece = &mut buffer[..length];
        read_at(image, piece, offset)?;
        take(piece)?;
        offset += length as u64;
    }
    Ok(())
}

/// How much is read at once.
pub(crate) const READ_SIZE: usize = 1 << 20;

/// A length that is about to be bounded by something small.
pub(crate) fn to_usize(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
