//! What the black-box tests share: a sink that checks its caller, and ways to run an image through the decoders.

pub(crate) mod qemu;
pub(crate) mod routes;
pub(crate) mod tabled;
pub(crate) mod vmdk;
pub(crate) mod writer;

use std::io;

use vmdisk_format::{Decoder, Error, Inspection, Options, ReadAt, Sink, Summary, decode_at, inspect_reader};

/// A disk in memory that fails the test when the contract of [`Sink`] is broken.
pub(crate) struct Disk {
    pub(crate) data: Vec<u8>,
    written: Vec<bool>,
    /// The unit in which deliveries are aligned and nothing is all zero.
    unit: usize,
    rewritable: bool,
}

const SECTOR: usize = 512;

impl Disk {
    pub(crate) fn new(size: usize, unit: usize) -> Self {
        Self {
            data: vec![0; size],
            written: vec![false; size.div_ceil(SECTOR)],
            unit: unit.min(4096),
            rewritable: false,
        }
    }
}

impl Sink for Disk {
    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).expect("fits");
        let end = start + data.len();
        assert!(!data.is_empty() && end <= self.data.len(), "{start}..{end}");
        assert_eq!(start % self.unit, 0, "start of {start}..{end}");
        assert!(end.is_multiple_of(self.unit) || end == self.data.len(), "end of {start}..{end}");
        for unit in data.chunks(self.unit.max(SECTOR)).step_by(7) {
            let zero = unit.iter().all(|&byte| byte == 0);
            assert!(self.unit < 4096 || !zero, "zeros in {start}..{end}");
        }
        for written in &mut self.written[start / SECTOR..end.div_ceil(SECTOR)] {
            assert!(self.rewritable || !*written, "{start}..{end} came twice");
            *written = true;
        }
        self.data[start..end].copy_from_slice(data);
        Ok(())
    }
}

/// The way an image took through the decoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    OnePass,
    /// In one pass, with its tables read ahead.
    LookedAhead,
    StagedRest,
    WholeImage,
}

/// An image of which everything before `from` is gone.
struct Rest<'a> {
    image: &'a [u8],
    from: u64,
}

impl ReadAt for Rest<'_> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        assert!(offset >= self.from, "read at {offset}, gone up to {}", self.from);
        self.image.read_exact_at(buffer, offset)
    }

    fn size(&self) -> u64 {
        self.image.len() as u64
    }
}

pub(crate) fn inspect(image: &[u8]) -> Result<Inspection, Error> {
    inspect_reader(&image)
}

/// The unit of deliveries that the image promises.
fn unit(inspection: &Inspection) -> usize {
    match &inspection.details {
        vmdisk_format::Details::Qcow2(header) if header.extended_l2 => header.cluster_size() / 32,
        vmdisk_format::Details::Qcow2(header) => header.cluster_size(),
        _ => 4096,
    }
}

fn disk(inspection: &Inspection) -> Disk {
    let size = inspection.virtual_size.expect("a size");
    Disk::new(usize::try_from(size).expect("fits"), unit(inspection))
}

pub(crate) fn decode_random(image: &[u8]) -> Result<Vec<u8>, Error> {
    let inspection = inspect(image)?;
    let mut disk = disk(&inspection);
    let summary = decode_at(&inspection, &Options::default(), &image, &mut disk)?;
    assert_eq!(summary.virtual_size, disk.data.len() as u64);
    Ok(disk.data)
}

/// Streams an image in chunks of the given sizes, over and over, and falls back as the worker does.
pub(crate) fn decode_stream(image: &[u8], chunks: &[usize], options: &Options) -> Result<(Vec<u8>, Route), Error> {
    let inspection = inspect(image)?;
    let mut disk = disk(&inspection);
    let (outcome, route) = stream(&inspection, image, chunks, options, false, &mut disk);
    let (summary, route) = match outcome {
        Err(Error::NeedsWholeImage { .. }) => {
            disk.rewritable = true;
            let summary = decode_at(&inspection, options, &image, &mut disk)?;
            (summary, Route::WholeImage)
        }
        outcome => (outcome?, route),
    };
    assert_eq!(summary.virtual_size, disk.data.len() as u64);
    assert_eq!(summary.image_size, image.len() as u64);
    Ok((disk.data, route))
}

/// Streams an image and reads its tables ahead when it must, as the worker does where the source has ranges.
pub(crate) fn decode_looking_ahead(
    image: &[u8],
    chunks: &[usize],
    options: &Options,
) -> Result<(Vec<u8>, Route), Error> {
    let inspection = inspect(image)?;
    let mut disk = disk(&inspection);
    let (outcome, route) = stream(&inspection, image, chunks, options, true, &mut disk);
    outcome.map(|_| (disk.data, route))
}

/// Streams an image up to `position`, and reads the rest: the worker may do so at any time.
pub(crate) fn decode_switching(image: &[u8], position: usize) -> Result<Vec<u8>, Error> {
    let inspection = inspect(image)?;
    let mut disk = disk(&inspection);
    let mut decoder = Decoder::new(&inspection, &Options::default());
    decoder.push(&image[..position], &mut disk)?;
    let rest = Rest { image, from: position as u64 };
    decoder.finish_at(&rest, &mut disk)?;
    Ok(disk.data)
}

fn stream(
    inspection: &Inspection,
    image: &[u8],
    chunks: &[usize],
    options: &Options,
    ahead: bool,
    disk: &mut Disk,
) -> (Result<Summary, Error>, Route) {
    let mut route = Route::OnePass;
    let mut decoder = Decoder::new(inspection, options);
    let mut rest = image;
    for &length in chunks.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        match decoder.push(chunk, disk) {
            Ok(()) => {}
            Err(Error::NeedsRandomAccess { consumed, .. }) => {
                assert_eq!(consumed, (image.len() - rest.len()) as u64);
                match ahead.then(|| decoder.look_ahead(&image)) {
                    Some(Ok(true)) => {
                        route = Route::LookedAhead;
                        continue;
                    }
                    Some(Err(error)) => return (Err(error), route),
                    Some(Ok(false)) | None => {}
                }
                let staged = Rest { image, from: consumed };
                return (decoder.finish_at(&staged, disk), Route::StagedRest);
            }
            Err(error) => return (Err(error), Route::OnePass),
        }
        assert_eq!(decoder.consumed(), (image.len() - rest.len()) as u64);
    }
    (decoder.finish(disk), route)
}

/// Random bytes that are the same in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn fill(&mut self, buffer: &mut [u8]) {
        for word in buffer.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            word.copy_from_slice(&bytes[..word.len()]);
        }
    }
}

/// A disk of random data, text-like data and holes.
pub(crate) fn sample_disk(size: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut disk = vec![0; size];
    let mut at = 0;
    while at < size {
        let length = 512_usize << random.below(10);
        let end = size.min(at + length);
        match random.below(4) {
            0 => random.fill(&mut disk[at..end]),
            1 => {
                for line in disk[at..end].chunks_mut(64) {
                    let text = format!("line {:3} of a file that compresses, as most do", random.below(100));
                    for (to, from) in line.iter_mut().zip(text.as_bytes().iter().cycle()) {
                        *to = *from;
                    }
                }
            }
            _ => {}
        }
        at = end;
    }
    disk
}

/// Compares two disks without printing them.
pub(crate) fn assert_same(found: &[u8], expected: &[u8], case: &str) {
    assert_eq!(found.len(), expected.len(), "{case}: length");
    let differs = found.iter().zip(expected).position(|(a, b)| a != b);
    if let Some(at) = differs {
        let end = found.len().min(at + 16);
        panic!(
            "{case}: first difference at {at:#x}: found {:02x?}, expected {:02x?}",
            &found[at..end],
            &expected[at..end]
        );
    }
}
