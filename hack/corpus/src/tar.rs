//! Writing tar archives, member by member.

use crate::bytes::put;

pub(crate) const BLOCK: usize = 512;

/// The types of members.
pub(crate) mod kind {
    pub(crate) const FILE: u8 = b'0';
    pub(crate) const HARD_LINK: u8 = b'1';
    pub(crate) const SYMBOLIC_LINK: u8 = b'2';
    pub(crate) const CHARACTER_DEVICE: u8 = b'3';
    pub(crate) const BLOCK_DEVICE: u8 = b'4';
    pub(crate) const DIRECTORY: u8 = b'5';
    pub(crate) const FIFO: u8 = b'6';
    pub(crate) const SPARSE: u8 = b'S';
    pub(crate) const LONG_NAME: u8 = b'L';
    pub(crate) const EXTENDED: u8 = b'x';
    pub(crate) const GLOBAL: u8 = b'g';
}

/// Where the header has its fields.
pub(crate) const SIZE: usize = 124;
pub(crate) const LINK: usize = 157;

/// A header (POSIX.1-2017, pax, "ustar Interchange Format").
pub(crate) fn header(name: &str, kind: u8, size: u64) -> Vec<u8> {
    let mut header = vec![0; BLOCK];
    put(&mut header, 0, name.as_bytes());
    put(&mut header, 100, b"0000644\0");
    put(&mut header, 108, b"0000153\0");
    put(&mut header, 116, b"0000153\0");
    put(&mut header, SIZE, format!("{size:011o}\0").as_bytes());
    put(&mut header, 136, b"00000000000\0");
    header[156] = kind;
    put(&mut header, 257, b"ustar\x0000");
    seal(&mut header);
    header
}

/// Makes a header's checksum fit.
pub(crate) fn seal(header: &mut [u8]) {
    put(header, 148, b"        ");
    let sum: u32 = header[..BLOCK].iter().map(|&byte| u32::from(byte)).sum();
    put(header, 148, format!("{sum:06o}\0 ").as_bytes());
}

/// Makes the checksums of all blocks fit that look like headers.
pub(crate) fn seal_all(archive: &mut [u8]) {
    for block in archive.chunks_exact_mut(BLOCK).filter(|block| &block[257..262] == b"ustar") {
        seal(block);
    }
}

/// A member with its content, padded.
pub(crate) fn member(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut member = header(name, kind, content.len() as u64);
    member.extend(content);
    member.resize(member.len().next_multiple_of(BLOCK), 0);
    member
}

/// A link.
pub(crate) fn link(name: &str, kind: u8, target: &str) -> Vec<u8> {
    let mut member = header(name, kind, 0);
    put(&mut member, LINK, target.as_bytes());
    seal(&mut member);
    member
}

/// A PAX record: its length, which counts itself, the key and the value.
pub(crate) fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len();
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}")
}

/// A PAX header with these records.
pub(crate) fn extended(records: &str) -> Vec<u8> {
    member("PaxHeaders/disk.img", kind::EXTENDED, records.as_bytes())
}

/// The archive of these members.
pub(crate) fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    let mut archive = members.concat();
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}
