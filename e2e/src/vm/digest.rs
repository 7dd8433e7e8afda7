//! SHA-256 of what flows by.

use std::io::{Read, Result, Write};

use sha2::{Digest as _, Sha256};

use crate::cache;

/// Copies all of `from` to `to`, and gives its checksum in hexadecimal digits.
pub(super) fn copy(mut from: impl Read, mut to: impl Write) -> Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(cache::hex(&hash.finalize()));
        }
        hash.update(&buffer[..count]);
        to.write_all(&buffer[..count])?;
    }
}
