//! Writing numbers into images.

/// A number in a header.
#[derive(Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    at: usize,
    width: usize,
    big: bool,
}

impl Field {
    /// A big-endian number of `width` bytes at offset `at`.
    pub(crate) const fn be(name: &'static str, at: usize, width: usize) -> Self {
        Self { name, at, width, big: true }
    }

    /// A little-endian one.
    pub(crate) const fn le(name: &'static str, at: usize, width: usize) -> Self {
        Self { name, at, width, big: false }
    }

    /// Puts `value` into the field.
    pub(crate) fn put(&self, image: &mut [u8], value: u64) {
        let fits = self.width == 8 || value >> (8 * self.width) == 0;
        assert!(fits, "{value:#x} has more than the {} bytes of {}", self.width, self.name);
        if self.big {
            put(image, self.at, &value.to_be_bytes()[8 - self.width..]);
        } else {
            put(image, self.at, &value.to_le_bytes()[..self.width]);
        }
    }
}

/// Puts `bytes` at offset `at`.
pub(crate) fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Bytes that look random and repeat never.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Bytes that compress.
pub(crate) fn text(length: usize) -> Vec<u8> {
    b"a line of text, as files hold it\n".iter().copied().cycle().take(length).collect()
}

/// The checksum of IEEE 802.3, which gzip and xz use.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    reflected(bytes, 0xedb8_8320)
}

/// The Castagnoli checksum, which vhdx uses.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    reflected(bytes, 0x82f6_3b78)
}

fn reflected(bytes: &[u8], polynomial: u32) -> u32 {
    !bytes
        .iter()
        .fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (polynomial * (crc & 1))))
}
