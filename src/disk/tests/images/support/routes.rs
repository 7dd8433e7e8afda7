//! Every way through the crate, and what they must agree on. The fuzz targets use this file too.

use std::{collections::BTreeMap, hash::BuildHasher, hash::RandomState, io};

use vmdisk_format::{
    Decoder, Error, Format, Inspection, MAX_PREFIX, Options, ReadAt, Refusal, Sink, Verdict, decode_at, inspect_prefix,
    inspect_reader,
};

/// What came of an image, by every route.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A disk, the same one.
    Disk,
    /// The same refusal, as far as order allows: where much is wrong, it depends on what is read first.
    Refused(Refusal),
    /// More data than there was patience for.
    Undecided,
}

/// Takes an image along every route: inspected by its first bytes and as a whole; decoded by reading, in order in
/// pieces of `chunk` bytes, and in order with hardly any memory for what has no place yet. Each may take in `patience`
/// bytes of data.
///
/// # Panics
///
/// When the routes disagree, or one breaks its contract.
pub(crate) fn check(image: &[u8], chunk: usize, patience: usize) -> Outcome {
    let streamed = inspect_as_it_comes(image);
    let inspection = match (inspect_reader(&image), streamed) {
        (Ok(inspection), Ok(early)) => {
            // A fixed vhd looks raw until its end.
            let same = early.is_none_or(|early| {
                early.format == Format::Raw
                    || (early.format, early.virtual_size) == (inspection.format, inspection.virtual_size)
            });
            assert!(same, "its beginning tells something else than all of it");
            inspection
        }
        (Err(Error::Refused(refusal)), _) => return Outcome::Refused(refusal),
        (Err(error), _) => panic!("inspection of all of it: {error}"),
        (Ok(_), Err(refusal)) => panic!("only its beginning is refused: {refusal}"),
    };
    let size = inspection.virtual_size.expect("known, since the image ends");
    let hasher = RandomState::new();
    let sectors = || Sectors { size, patience, hashes: BTreeMap::new(), hasher: &hasher };
    let random = by_reading(&inspection, image, sectors());
    let ample = Options::default();
    let scarce = Options { orphan_window: 1 << 16, map_limit: 64, ..Options::default() };
    let routes = [("in order", ample), ("in order, then staged", scarce)]
        .map(|(name, options)| (name, in_order(&inspection, image, &options, chunk, sectors())));
    for (name, route) in &routes {
        match (&random, route) {
            (Ok(random), Ok(route)) => assert!(random == route, "another disk {name}"),
            // The one thing that only an order of reading can need, and patience that came to its end.
            (Ok(_), Err(Error::NeedsWholeImage { .. } | Error::Write { .. }))
            | (Err(Error::Write { .. }), Ok(_))
            | (Err(_), Err(_)) => {}
            (Ok(_), Err(error)) => panic!("only {name} it is refused: {error}"),
            (Err(error), Ok(_)) => panic!("only by reading it is refused, not {name}: {error}"),
        }
    }
    match random {
        Ok(_) => Outcome::Disk,
        Err(Error::Refused(refusal)) => Outcome::Refused(refusal),
        Err(Error::Write { .. }) => Outcome::Undecided,
        Err(error) => panic!("by reading: {error}"),
    }
}

/// Inspects an image of a length that is not known, byte by byte as far as necessary. `None` when that is too far.
fn inspect_as_it_comes(image: &[u8]) -> Result<Option<Inspection>, Refusal> {
    let mut length = 1;
    loop {
        let end = image.len().min(length);
        let known = (end == image.len()).then_some(end as u64);
        match inspect_prefix(&image[..end], known)? {
            Verdict::NeedMore(more) => {
                assert!(more > length && more <= MAX_PREFIX, "{more} after {length}");
                length = more;
            }
            Verdict::Decided(inspection) => return Ok(Some(inspection)),
            Verdict::NeedsRandomAccess => return Ok(None),
        }
    }
}

/// The sectors of a disk that hold something, by their hashes.
type Hashes = BTreeMap<u64, u64>;

fn by_reading(inspection: &Inspection, image: &[u8], mut sectors: Sectors<'_>) -> Result<Hashes, Error> {
    decode_at(inspection, &Options::default(), &image, &mut sectors)?;
    Ok(sectors.hashes)
}

fn in_order(
    inspection: &Inspection,
    image: &[u8],
    options: &Options,
    chunk: usize,
    mut sectors: Sectors<'_>,
) -> Result<Hashes, Error> {
    let mut decoder = Decoder::new(inspection, options);
    for chunk in image.chunks(chunk) {
        match decoder.push(chunk, &mut sectors) {
            Ok(()) => {}
            Err(Error::NeedsRandomAccess { consumed, .. }) => {
                assert_eq!(consumed, decoder.consumed());
                decoder.finish_at(&Rest { image, from: consumed }, &mut sectors)?;
                return Ok(sectors.hashes);
            }
            Err(error) => return Err(error),
        }
    }
    decoder.finish(&mut sectors)?;
    Ok(sectors.hashes)
}

/// The end of an image; nobody may read what lies before it.
struct Rest<'a> {
    image: &'a [u8],
    from: u64,
}

impl ReadAt for Rest<'_> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        assert!(offset >= self.from, "{offset} lies before what is staged from {} on", self.from);
        self.image.read_exact_at(buffer, offset)
    }

    fn size(&self) -> u64 {
        self.image.size()
    }
}

/// A disk of any size.
struct Sectors<'a> {
    size: u64,
    patience: usize,
    hashes: Hashes,
    hasher: &'a RandomState,
}

impl Sink for Sectors<'_> {
    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        assert!(!data.is_empty() && offset.checked_add(data.len() as u64).is_some_and(|end| end <= self.size));
        self.patience = self.patience.checked_sub(data.len()).ok_or_else(|| io::Error::other("enough"))?;
        for (index, sector) in (offset / 512..).zip(data.chunks(512)) {
            if sector.iter().any(|&byte| byte != 0) {
                self.hashes.insert(index, self.hasher.hash_one(sector));
            }
        }
        Ok(())
    }
}
