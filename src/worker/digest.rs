//! Digests: what the bytes must hash to, checked before the disk may become visible.

use std::collections::VecDeque;

use crc_fast::CrcAlgorithm;
use ring::digest::{Context, SHA256, SHA512};

use crate::failure::{Failure, Reason, Result};
use crate::shown::shown;

/// The hash functions that registries and users name, and those that object stores record. The latter are no proof
/// against malice, but against everything that breaks on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
    /// CRC-32 (ISO HDLC).
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
}

impl Algorithm {
    /// The name in front of a digest.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Crc32 => "crc32",
            Self::Crc32c => "crc32c",
            Self::Crc64Nvme => "crc64nvme",
        }
    }

    /// The length of a digest in bytes.
    const fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
        }
    }
}

/// A digest in the form `sha256:…`, lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

impl Digest {
    /// Reads `sha256:` and 64 or `sha512:` and 128 hexadecimal digits.
    ///
    /// # Errors
    ///
    /// The text of what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || {
            let text = shown(text);
            format!("\"{text}\" is no digest; expected sha256: and 64 hexadecimal digits, or sha512: and 128")
        };
        let (name, hex) = text.split_once(':').ok_or_else(expected)?;
        let (algorithm, length) = match name {
            "sha256" => (Algorithm::Sha256, 64),
            "sha512" => (Algorithm::Sha512, 128),
            _ => return Err(expected()),
        };
        if hex.len() != length || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(expected());
        }
        Ok(Self { algorithm, hex: hex.to_ascii_lowercase() })
    }

    /// The digest that is these bytes; `None` when it is of another length.
    #[must_use]
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        (bytes.len() == algorithm.length()).then(|| Self { algorithm, hex: hex(bytes) })
    }

    /// The digest of `bytes`.
    #[must_use]
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The hash function.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

/// A digest in the making.
pub struct Hasher {
    algorithm: Algorithm,
    state: State,
}

enum State {
    Sha(Context),
    Crc(crc_fast::Digest),
}

impl Hasher {
    /// A hasher that has seen nothing yet.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Sha256 => State::Sha(Context::new(&SHA256)),
            Algorithm::Sha512 => State::Sha(Context::new(&SHA512)),
            Algorithm::Crc32 => State::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc32IsoHdlc)),
            Algorithm::Crc32c => State::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi)),
            Algorithm::Crc64Nvme => State::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme)),
        };
        Self { algorithm, state }
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Sha(context) => context.update(bytes),
            State::Crc(digest) => digest.update(bytes),
        }
    }

    /// The digest of all bytes.
    #[must_use]
    pub fn finish(self) -> Digest {
        let hex = match self.state {
            State::Sha(context) => hex(context.finish().as_ref()),
            // The low bytes of a word, the highest of them first.
            State::Crc(digest) => hex(&digest.finalize().to_be_bytes()[8 - self.algorithm.length()..]),
        };
        Digest { algorithm: self.algorithm, hex }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        use std::fmt::Write;
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What a stream must hash to, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// Who promises it, for the message: `the manifest`, `checksum`, `the object store`.
    pub promised_by: &'static str,
    /// The digest promised.
    pub digest: Digest,
}

/// The failure of bytes that have the digest `found`.
#[must_use]
pub fn mismatch(found: &Digest, Expectation { promised_by, digest }: &Expectation) -> Failure {
    Failure::new(
        Reason::DigestMismatch,
        format!(
            "the bytes fetched have the digest {found}, {promised_by} promises {digest}; \
             correct the digest, or upload the image again"
        ),
    )
}

/// Checks a stream against every expectation; one pass per hash function.
pub struct Verifier {
    expectations: Vec<Expectation>,
    hashers: Vec<Hasher>,
    /// Those of the stream's parts that are still to come, the present one first, and what is left of each.
    parts: VecDeque<(u64, Self)>,
}

impl Verifier {
    /// A verifier that has seen nothing yet.
    #[must_use]
    pub fn new(expectations: Vec<Expectation>) -> Self {
        let mut hashers: Vec<Hasher> = Vec::new();
        for Expectation { digest, .. } in &expectations {
            if hashers.iter().all(|known| known.algorithm != digest.algorithm) {
                hashers.push(Hasher::new(digest.algorithm));
            }
        }
        Self { expectations, hashers, parts: VecDeque::new() }
    }

    /// The verifier of a stream that consists of parts, each so long and with expectations of its own.
    #[must_use]
    pub fn of_parts(mut self, parts: impl IntoIterator<Item = (u64, Vec<Expectation>)>) -> Self {
        self.parts = parts.into_iter().map(|(size, expectations)| (size, Self::new(expectations))).collect();
        self
    }

    /// Takes in the next bytes.
    ///
    /// # Errors
    ///
    /// [`Reason::DigestMismatch`] at the end of a part.
    pub fn update(&mut self, mut bytes: &[u8]) -> Result<()> {
        for hasher in &mut self.hashers {
            hasher.update(bytes);
        }
        while let Some((left, part)) = self.parts.front_mut() {
            let here = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
            part.update(&bytes[..here])?;
            bytes = &bytes[here..];
            *left -= here as u64;
            if *left > 0 {
                break;
            }
            if let Some((_, part)) = self.parts.pop_front() {
                part.finish()?;
            }
        }
        Ok(())
    }

    /// Judges the whole stream.
    ///
    /// # Errors
    ///
    /// [`Reason::DigestMismatch`] with both digests, [`Reason::SizeMismatch`] when parts are missing.
    pub fn finish(mut self) -> Result<()> {
        // Parts without bytes have no last byte to be judged at.
        self.update(&[])?;
        if !self.parts.is_empty() {
            let missing = self.parts.len();
            return Err(Failure::new(Reason::SizeMismatch, format!("the bytes end {missing} parts early")));
        }
        let found: Vec<Digest> = self.hashers.into_iter().map(Hasher::finish).collect();
        for expectation in &self.expectations {
            let digest = &expectation.digest;
            let matching = found.iter().find(|other| other.algorithm == digest.algorithm);
            if let Some(other) = matching.filter(|other| *other != digest) {
                return Err(mismatch(other, expectation));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "digest_tests.rs"]
mod tests;
