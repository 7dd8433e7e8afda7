//! Streams with their grain directory at the end, by a writer of our own, against the disk in them and QEMU.

use crate::support::{
    Random, Route, assert_same, decode_random, decode_stream, decode_switching, inspect,
    qemu::Images,
    sample_disk,
    vmdk::{Places, Stream},
};
use vmdisk_format::{Decoder, Details, Error, Options, Reason, Sink};

const PLAIN: Stream =
    Stream { grain: 128, tables_last: false, empty_tables: false, redundant: false, short_end: false };
/// Grains of 4 KiB: a table covers 2 MiB.
const SMALL: Stream = Stream { grain: 8, ..PLAIN };

#[test]
fn every_layout() {
    let images = Images::new();
    for (seed, size, stream) in [
        (1, 3 << 20, PLAIN),
        (2, (40 << 20) + 512, PLAIN),
        (3, (9 << 20) - 1024, SMALL),
        (4, 9 << 20, Stream { tables_last: true, ..SMALL }),
        (5, (9 << 20) + 512, Stream { tables_last: true, empty_tables: true, short_end: true, ..SMALL }),
        (6, 9 << 20, Stream { redundant: true, ..SMALL }),
        (7, (5 << 20) + 1536, Stream { empty_tables: true, short_end: true, ..PLAIN }),
        (8, 512, Stream { short_end: true, ..PLAIN }),
    ] {
        let mut disk = sample_disk(size, seed);
        // A hole of more than one table of small grains.
        let hole = size / 4..size / 10 * 8;
        disk[hole].fill(0);
        let (image, _) = stream.write(&disk);
        let Details::Vmdk(header) = inspect(&image).expect("valid").details else {
            panic!("a vmdk");
        };
        assert!(header.footer);
        let case = format!("{size} bytes, {stream:?}");
        let reference = images.reference("vmdk", &images.write("disk.vmdk", &image));
        assert_same(&reference, &disk, &format!("{case}, by QEMU"));
        assert_same(&decode_random(&image).expect("decoded"), &disk, &format!("{case}, random access"));
        for chunks in [&[700, 3, 5000][..], &[1 << 20], &[65_536, 100]] {
            let (found, route) = decode_stream(&image, chunks, &Options::default()).expect("decoded");
            assert_same(&found, &disk, &case);
            assert_eq!(route, Route::OnePass);
        }
        let mut random = Random::new(seed);
        for _ in 0..5 {
            let position = usize::try_from(random.below(image.len() as u64)).expect("fits");
            let found = decode_switching(&image, position).expect("decoded");
            assert_same(&found, &disk, &format!("{case}, left to reading at {position}"));
        }
    }
}

fn put(image: &mut [u8], offset: usize, value: u32) {
    image[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
}

fn get(image: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(image[offset..offset + 4].try_into().expect("four bytes"))
}

/// A change to an image.
type Change = fn(&mut [u8], &Places);

#[test]
fn what_does_not_fit_together_is_refused() {
    let disk = sample_disk(5 << 20, 3);
    let (image, places) = SMALL.write(&disk);
    let changes: [(&str, Change, Reason); 12] = [
        ("a grain's place", |image, at| put(image, at.grains[1], 0), Reason::BadTable),
        ("a grain's place, within a grain", |image, at| image[at.grains[1]] += 1, Reason::BadTable),
        ("a grain beyond the disk", |image, at| put(image, at.grains[5], 5 << 11), Reason::BadTable),
        ("a grain of another place", |image, at| put(image, at.grains[0] + 4, 1), Reason::BadTable),
        ("a grain too large", |image, at| put(image, at.grains[0] + 8, 8193), Reason::BadTable),
        ("data that is none", |image, at| put(image, at.grains[2] + 12, 0), Reason::BadData),
        ("another checksum", |image, at| image[at.grains[2] + 100] ^= 1, Reason::BadData),
        ("a table without a grain", without_a_grain, Reason::Corrupt),
        ("a table with one more", |image, at| put(image, at.tables[2] + 4 * 511, 130), Reason::Corrupt),
        ("a directory without a table", |image, at| put(image, at.directory + 4, 0), Reason::Corrupt),
        ("a directory with a wrong one", with_a_wrong_table, Reason::Corrupt),
        ("a footer with a wrong directory", |image, at| image[at.footer + 56] ^= 1, Reason::BadTable),
    ];
    for (case, change, reason) in changes {
        let mut image = image.clone();
        change(&mut image, &places);
        let random = decode_random(&image).map(|_| ()).expect_err(case);
        let stream = decode_stream(&image, &[9999], &Options::default()).map(|_| ()).expect_err(case);
        for error in [random, stream] {
            assert_eq!(error.refusal().map(|refusal| refusal.reason), Some(reason), "{case}: {error}");
        }
    }
}

fn without_a_grain(image: &mut [u8], places: &Places) {
    let entries = places.tables[0]..places.tables[0] + 2048;
    let first = entries.step_by(4).find(|&entry| get(image, entry) != 0).expect("a grain");
    put(image, first, 0);
}

fn with_a_wrong_table(image: &mut [u8], places: &Places) {
    let second = get(image, places.directory + 4);
    put(image, places.directory, second);
}

struct Nowhere;

impl Sink for Nowhere {
    fn write(&mut self, _: u64, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
}

/// A stream is inspected without its end: the decoder must see to it.
#[test]
fn the_end_of_a_stream() {
    let (image, places) = SMALL.write(&sample_disk(5 << 20, 4));
    let inspection = inspect(&image).expect("valid");
    let decode = |image: &[u8]| -> Result<(), Error> {
        let mut decoder = Decoder::new(&inspection, &Options::default());
        decoder.push(image, &mut Nowhere)?;
        decoder.finish(&mut Nowhere).map(|_| ())
    };
    decode(&image).expect("whole");
    let longer = [&image[..], &[0; 512]].concat();
    let unfooted = [&image[..places.footer - 512], &[0; 512]].concat();
    let two_footers = [&image[..places.footer + 512], &image[places.footer - 512..]].concat();
    for (case, image) in [
        ("without end-of-stream marker", &image[..image.len() - 512]),
        ("without footer", &image[..places.footer]),
        ("without directory", &image[..places.directory]),
        ("in a grain", &image[..places.grains[3] + 100]),
        ("in the header", &image[..300]),
        ("longer", &longer),
        ("an end without a footer", &unfooted),
        ("two footers", &two_footers),
    ] {
        let error = decode(image).expect_err(case);
        assert_eq!(error.refusal().map(|refusal| refusal.reason), Some(Reason::Truncated), "{case}: {error}");
    }
}
