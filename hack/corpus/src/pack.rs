//! Compressing, and writing frames by hand.

use std::io::{Read as _, Write as _};

use flate2::Compression;

use crate::bytes::crc32;

/// One gzip member (RFC 1952).
pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut member = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Compression::fast());
    member.extend(encoder.write_all(data).and_then(|()| encoder.finish()).expect("in memory"));
    member.extend(crc32(data).to_le_bytes());
    member.extend(u32::try_from(data.len() as u64 & 0xffff_ffff).expect("masked").to_le_bytes());
    member
}

/// A gzip member of so many zeros, without having them in memory.
pub(crate) fn gzip_zeros(length: u64) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::best());
    std::io::copy(&mut std::io::repeat(0).take(length), &mut encoder).expect("in memory");
    encoder.finish().expect("in memory")
}

/// A zstd frame (RFC 8878) with a checksum.
pub(crate) fn zstd(data: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.include_checksum(true).expect("a known parameter");
    encoder.write_all(data).and_then(|()| encoder.finish()).expect("in memory")
}

/// The beginning of a zstd frame with this descriptor and what follows it.
pub(crate) fn zstd_header(descriptor: u8, fields: &[u8]) -> Vec<u8> {
    let mut header = vec![0x28, 0xb5, 0x2f, 0xfd, descriptor];
    header.extend(fields);
    header
}

/// The descriptor of a window of 2 to this power.
pub(crate) const fn zstd_window(log: u8) -> u8 {
    (log - 10) << 3
}

/// A zstd block: 0 raw, 1 one byte repeated, 2 compressed, 3 reserved.
pub(crate) fn zstd_block(kind: u32, last: bool, length: u32, content: &[u8]) -> Vec<u8> {
    let header = length << 3 | kind << 1 | u32::from(last);
    let mut block = header.to_le_bytes()[..3].to_vec();
    block.extend(content);
    block
}

/// Zstd blocks of zeros, 128 KiB each in four bytes.
pub(crate) fn zstd_zeros(length: u64) -> Vec<u8> {
    const BLOCK: u32 = 128 << 10;
    let count = length / u64::from(BLOCK);
    (1..=count).flat_map(|block| zstd_block(1, block == count, BLOCK, &[0])).collect()
}

/// A zstd frame that holds `data`, then so many zeros.
pub(crate) fn zstd_and_zeros(data: &[u8], zeros: u64) -> Vec<u8> {
    let (head, blocks) = (zstd_header(0, &[zstd_window(17)]), data.chunks(128 << 10));
    let raw = blocks.flat_map(|block| zstd_block(0, false, u32::try_from(block.len()).expect("128 KiB"), block));
    head.into_iter().chain(raw).chain(zstd_zeros(zeros)).collect()
}

/// An xz stream with one block.
pub(crate) fn xz(data: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    encoder.write_all(data).and_then(|()| encoder.finish()).expect("in memory")
}

/// An xz stream of so many zeros.
pub(crate) fn xz_zeros(length: u64) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    std::io::copy(&mut std::io::repeat(0).take(length), &mut encoder).expect("in memory");
    encoder.finish().expect("in memory")
}

/// A bzip2 stream.
pub(crate) fn bzip2(data: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(data).and_then(|()| encoder.finish()).expect("in memory")
}

/// A bzip2 stream of so many zeros.
pub(crate) fn bzip2_zeros(length: u64) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    std::io::copy(&mut std::io::repeat(0).take(length), &mut encoder).expect("in memory");
    encoder.finish().expect("in memory")
}
