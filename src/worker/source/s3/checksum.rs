//! What S3 has recorded of an object's integrity (Amazon S3 User Guide, "Checking object integrity").

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{HeaderMap, HeaderName};

use crate::digest::{Algorithm, Digest, Expectation};

/// The header that asks for it.
pub(super) const MODE: HeaderName = HeaderName::from_static("x-amz-checksum-mode");

/// Whether the checksum is of the object or of its parts' checksums.
const TYPE: HeaderName = HeaderName::from_static("x-amz-checksum-type");

/// The headers that carry one, the best first.
const HEADERS: [(HeaderName, Algorithm); 4] = [
    (HeaderName::from_static("x-amz-checksum-sha256"), Algorithm::Sha256),
    (HeaderName::from_static("x-amz-checksum-crc64nvme"), Algorithm::Crc64Nvme),
    (HeaderName::from_static("x-amz-checksum-crc32c"), Algorithm::Crc32c),
    (HeaderName::from_static("x-amz-checksum-crc32"), Algorithm::Crc32),
];

/// A SHA-256 in base 64, and the number of parts.
const LONGEST_COMPOSITE: usize = 64;

/// A checksum that S3 keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Checksum {
    /// Of all bytes.
    Whole(Digest),
    /// Of the checksums of the parts in which the object was uploaded: only who knows their lengths can compute it.
    Composite(Algorithm, String),
}

impl Checksum {
    /// The best one in an answer's headers.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let composite = |value: &str| text(&TYPE).map_or(value.contains('-'), |kind| kind != "FULL_OBJECT");
        HEADERS.iter().find_map(|(name, algorithm)| {
            let value = text(name)?;
            if composite(value) {
                return is_composite(value).then(|| Self::Composite(*algorithm, value.to_owned()));
            }
            Digest::from_bytes(*algorithm, &STANDARD.decode(value).ok()?).map(Self::Whole)
        })
    }

    /// What the bytes must therefore hash to.
    pub(super) fn expectation(&self) -> Option<Expectation> {
        match self {
            Self::Whole(digest) => Some(Expectation { promised_by: "the object store", digest: digest.clone() }),
            Self::Composite(..) => None,
        }
    }
}

/// Whether it can be what S3 writes: base 64, a hyphen, and up to 10,000 parts. It goes to reports as it stands.
fn is_composite(value: &str) -> bool {
    value.len() <= LONGEST_COMPOSITE
        && value.split_once('-').is_some_and(|(checksum, parts)| {
            STANDARD.decode(checksum).is_ok() && parts.bytes().all(|digit| digit.is_ascii_digit())
        })
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(digest) => digest.fmt(f),
            // As S3 writes it: base 64, and the number of parts.
            Self::Composite(algorithm, value) => write!(f, "{}-composite:{value}", algorithm.name()),
        }
    }
}

#[cfg(test)]
#[path = "checksum_tests.rs"]
mod tests;
