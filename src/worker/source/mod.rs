//! Where images come from: one file per protocol, each answering the same question. What are the bytes, what names
//! them, and in which blobs do they lie?

mod http;
mod registry;
mod s3;
mod secret;
mod single;

use std::collections::VecDeque;

use async_trait::async_trait;
use url::Url;
use vmdisk_wire::{Source as Spec, SourceType};

use crate::digest::{Digest, Expectation, Verifier};
use crate::failure::{Failure, Reason, Result};
use crate::http::{Client, Object};
use crate::unpack::{Container, DiffId};

pub use secret::Secret;

/// An image's source.
#[async_trait]
pub trait Source: Send + Sync {
    /// Asks the source what the image is made of. A source that must be opened to know (HTTP) answers without asking
    /// and lets the first read tell.
    async fn resolve(&self) -> Result<Resolved>;
}

/// What an image is made of.
pub struct Resolved {
    /// What names exactly these bytes, when it is known before they are read.
    pub digest: Option<String>,
    /// What the source itself has recorded of the bytes' integrity.
    pub checksum: Option<String>,
    /// The blobs to look into for the disk, in the order in which to look: the topmost layer first.
    pub blobs: Vec<Blob>,
    /// What an archive in a blob is part of.
    pub container: Container,
    /// The file to look for in an archive, where the user's path has not named the blob itself.
    pub path: Option<String>,
}

/// One blob, or several that were cut from one.
#[derive(Clone)]
pub struct Blob {
    /// How to read it, or its first part.
    pub object: Object,
    /// What its bytes must hash to, those of all parts together.
    pub expectations: Vec<Expectation>,
    /// Its parts in order, where it is cut: registries limit the size of a blob. Empty where it is not.
    pub parts: Vec<Part>,
    /// What its content must hash to.
    pub diff_id: Option<DiffId>,
    /// How large the disk in it is said to be.
    pub disk_size: Option<u64>,
    /// Why this blob may not be the one with the disk, though it may hide parts of the others.
    pub not_the_disk: Option<Failure>,
}

/// A part of a blob.
#[derive(Clone)]
pub struct Part {
    /// How to read it.
    pub object: Object,
    /// How long it is.
    pub size: u64,
    /// What its bytes must hash to.
    pub expectation: Expectation,
}

impl Blob {
    /// A blob of one object.
    #[must_use]
    pub fn new(object: Object, expectations: Vec<Expectation>) -> Self {
        Self { object, expectations, parts: Vec::new(), diff_id: None, disk_size: None, not_the_disk: None }
    }

    /// Whether it is cut into parts.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        !self.parts.is_empty()
    }

    /// The objects behind the first.
    #[must_use]
    pub fn rest(&self) -> VecDeque<Object> {
        self.parts.iter().skip(1).map(|part| part.object.clone()).collect()
    }

    /// What checks the bytes.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        let parts = self.parts.iter().map(|part| (part.size, vec![part.expectation.clone()]));
        Verifier::new(self.expectations.clone()).of_parts(parts)
    }
}

/// The source that a job or a command line describes; `None` for [`SourceType::Blank`].
///
/// # Errors
///
/// URLs that cannot be read, Secrets that do not fit the protocol, and what the policy refuses.
pub fn open(spec: &Spec, client: &Client, secret: &Secret) -> Result<Option<Box<dyn Source>>> {
    if let Some(name) = spec.secret.as_ref().filter(|_| secret.is_empty()) {
        return Err(Failure::new(
            Reason::SecretMissing,
            format!("the Secret {name}, which the image's secretRef names, does not exist or is empty; create it"),
        ));
    }
    Ok(Some(match spec.source_type {
        SourceType::Blank => return Ok(None),
        SourceType::Http => Box::new(http::open(spec, client, secret)?),
        SourceType::S3 => Box::new(s3::open(spec, client, secret)?),
        SourceType::Registry => Box::new(registry::RegistrySource::new(spec, client, secret)?),
    }))
}

/// The checksum that the user promises.
///
/// # Errors
///
/// [`Reason::BadJob`] when it is none.
pub fn checksum(spec: &Spec) -> Result<Option<Expectation>> {
    spec.checksum
        .as_deref()
        .map(|text| {
            Ok(Expectation {
                promised_by: "checksum",
                digest: Digest::parse(text)
                    .map_err(|message| Failure::new(Reason::BadJob, format!("checksum: {message}")))?,
            })
        })
        .transpose()
}

/// Reads an image's URL, which must be of one of `schemes`.
fn parse_url(text: &str, schemes: &[&str]) -> Result<Url> {
    let invalid = |why: &str| {
        // The text itself may hold a password, so it is not repeated.
        Failure::new(Reason::InvalidUrl, format!("the url {why}; expected {}://host/path", schemes.join(":// or ")))
    };
    let url = Url::parse(text).map_err(|error| invalid(&format!("cannot be read ({error})")))?;
    if !schemes.contains(&url.scheme()) {
        return Err(invalid(&format!("has the scheme {}", url.scheme())));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(invalid("names no host"));
    }
    Ok(url)
}
