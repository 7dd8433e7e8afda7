use std::io::{Read, Write};

use super::*;

pub(in crate::unpack) fn compress(compression: Compression, data: &[u8]) -> Vec<u8> {
    match compression {
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => {
            let mut encoder = ::zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.include_checksum(true).unwrap();
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Bzip2 => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
    }
}

fn decompress(compression: Compression, stream: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    compression.reader(stream).unwrap().read_to_end(&mut plain)?;
    Ok(plain)
}

pub(in crate::unpack) const ALL: [Compression; 4] =
    [Compression::Gzip, Compression::Xz, Compression::Zstd, Compression::Bzip2];

#[test]
fn every_part_of_a_stream_is_read_and_a_cut_is_noticed() {
    let data: Vec<u8> = (0..200_000_u32).flat_map(|number| (number % 1000).to_le_bytes()).collect();
    for compression in ALL {
        let one = compress(compression, &data);
        assert_eq!(Compression::detect(&one), Some(compression));
        assert!(decompress(compression, &one).unwrap() == data);
        let two = [one.clone(), compress(compression, b"tail")].concat();
        let whole = [&data[..], b"tail"].concat();
        assert!(decompress(compression, &two).unwrap() == whole, "{}: all parts", compression.name());
        for cut in [one.len() / 2, one.len() - 1, one.len() + 9] {
            assert!(decompress(compression, &two[..cut]).is_err(), "{} cut at {cut}", compression.name());
        }
        assert_eq!(Compression::detect(&compress(compression, b"")), Some(compression), "an empty one");
    }
}

#[test]
fn disks_are_not_taken_for_compressed() {
    for prefix in [&b""[..], b"\x1f\x8b", b"BZh9 not a block", b"QFI\xfb\0\0\0\x03", b"KDMV", &[0; 512]] {
        assert_eq!(Compression::detect(prefix), None, "{prefix:?}");
    }
    for last in 0x50..=0x5f {
        assert_eq!(Compression::detect(&[last, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]), Some(Compression::Zstd));
    }
}

#[test]
fn a_window_beyond_the_limit_is_refused() {
    let mut encoder = ::zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(28).unwrap();
    encoder.long_distance_matching(true).unwrap();
    encoder.write_all(&vec![1; 1 << 20]).unwrap();
    assert!(decompress(Compression::Zstd, &encoder.finish().unwrap()).is_err());
}
