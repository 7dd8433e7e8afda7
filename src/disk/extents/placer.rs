//! Taking the bytes of an extent, in whatever pieces they come, and delivering them.

use super::{Content, Extent};
use crate::{
    Codec, CompressedCluster, Error, Format, Inflater, Sink,
    aligner::Aligner,
    io::{deliver, to_usize},
    vmdk::Marker,
    zero::GRANULE,
};

const SECTOR: usize = 512;

/// Delivers one extent after the other.
#[derive(Debug)]
pub(super) struct Placer {
    format: Format,
    content: Content,
    extent: Extent,
    /// How many bytes of the extent in the image have been taken.
    taken: u64,
    /// How many bytes it has in the image, as far as that is known; what has been taken when there is none.
    size: u64,
    /// What comes before the data: a bitmap; or a marker and all that follows.
    head: Vec<u8>,
    /// The rest, in steps that a target likes.
    aligner: Aligner,
    masked: Vec<u8>,
    inflater: Inflater,
}

impl Placer {
    pub(super) fn new(format: Format, content: Content) -> Self {
        Self {
            format,
            content,
            extent: Extent { image: 0, disk: 0, length: 0 },
            taken: 0,
            size: 0,
            head: Vec::new(),
            aligner: Aligner::new(GRANULE, 0),
            masked: Vec::new(),
            inflater: Inflater::new(),
        }
    }

    /// Begins an extent. The one before must have been completed.
    pub(super) fn begin(&mut self, extent: Extent) {
        self.extent = extent;
        self.taken = 0;
        self.size = match self.content {
            Content::Plain => extent.length,
            Content::Bitmapped(bitmap) => bitmap as u64 + extent.length,
            Content::Marked(_) => Marker::LENGTH as u64,
        };
        self.head.clear();
    }

    /// Where the extent that is being taken begins.
    pub(super) fn start(&self) -> u64 {
        self.extent.image
    }

    /// How many bytes it needs before anything else can be said; 0 when it is complete.
    pub(super) fn missing(&self) -> u64 {
        self.size - self.taken
    }

    /// The offset in the image of the first byte that is missing.
    pub(super) fn position(&self) -> u64 {
        self.extent.image + self.taken
    }

    /// Takes the extent's next bytes, [`Placer::missing`] at most.
    pub(super) fn feed(&mut self, mut data: &[u8], sink: &mut dyn Sink) -> Result<(), Error> {
        self.taken += data.len() as u64;
        match self.content {
            Content::Plain => {}
            Content::Bitmapped(bitmap) => {
                let (head, rest) = data.split_at(data.len().min(bitmap - self.head.len()));
                self.head.extend_from_slice(head);
                data = rest;
            }
            Content::Marked(grain_size) => return self.feed_grain(data, grain_size, sink),
        }
        let complete = self.missing() == 0;
        let disk = self.extent.disk;
        let (bitmap, masked) = (&self.head, &mut self.masked);
        let mut place = |into, piece: &[u8]| deliver(sink, disk + into, mask(bitmap, into, piece, masked));
        self.aligner.push(data, &mut place)?;
        if complete { self.aligner.flush(place) } else { Ok(()) }
    }

    fn feed_grain(&mut self, data: &[u8], grain_size: usize, sink: &mut dyn Sink) -> Result<(), Error> {
        self.head.extend_from_slice(data);
        if self.missing() > 0 {
            return Ok(());
        }
        let (marker, data) = self.head.split_at(Marker::LENGTH);
        if data.is_empty() {
            let size = Marker::parse(marker).check_grain(self.extent.disk, self.extent.image, grain_size)?;
            self.size += size as u64;
            return Ok(());
        }
        let grain = CompressedCluster {
            format: self.format,
            offset: self.extent.disk,
            cluster_size: grain_size,
            length: to_usize(self.extent.length),
            data,
            codec: Codec::Zlib,
            image_offset: self.extent.image + Marker::LENGTH as u64,
        };
        sink.write_compressed(&grain, &mut self.inflater)
    }
}

/// `data`, which begins `into` an extent's, without the sectors that the bitmap leaves out. There may be no bitmap.
fn mask<'a>(bitmap: &[u8], into: u64, data: &'a [u8], masked: &'a mut Vec<u8>) -> &'a [u8] {
    let first = to_usize(into) / SECTOR;
    let holds = |sector: usize| bitmap[(first + sector) / 8] & 0x80 >> ((first + sector) % 8) != 0;
    if bitmap.is_empty() || (0..data.len().div_ceil(SECTOR)).all(holds) {
        return data;
    }
    masked.clear();
    masked.extend_from_slice(data);
    for (sector, bytes) in masked.chunks_mut(SECTOR).enumerate() {
        if !holds(sector) {
            bytes.fill(0);
        }
    }
    masked
}
