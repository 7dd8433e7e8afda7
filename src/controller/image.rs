//! Images: whether they are valid, and what their status says.
//!
//! [`validate`] and [`status`] are pure; [`reconciler`] watches, coalesces and writes.

pub mod reconciler;
pub mod status;

use populator_crd::v1alpha1::{SourceType, SpecError, VMDiskImageSpec, VMDiskSync};
use url::Url;

use crate::policy::{CONFIG_MAP, Policy};

/// Names one image.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ImageKey {
    /// The image of a sync.
    #[must_use]
    pub fn of_sync(sync: &VMDiskSync) -> Self {
        Self { namespace: sync.metadata.namespace.clone().unwrap_or_default(), name: sync.spec.image.name.clone() }
    }
}

/// Why no claim can be filled from an image as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The spec contradicts itself.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The URL cannot be read.
    #[error("spec.url is no URL ({0}); correct it")]
    Url(String),
    /// The policy allows other sources alone.
    #[error(
        "the policy does not allow {0}; add it to allowedSources in {CONFIG_MAP}, or use a source that is allowed ({1})"
    )]
    NotAllowed(String, String),
}

impl Invalid {
    /// The reason of the event that tells of it.
    #[must_use]
    pub const fn event_reason(&self) -> &'static str {
        match self {
            Self::Spec(_) | Self::Url(_) => "InvalidImage",
            Self::NotAllowed(..) => "SourceNotAllowed",
        }
    }
}

/// Whether claims may be filled from an image, as far as can be told without asking the source.
///
/// # Errors
///
/// [`Invalid`] names what is wrong and what to do.
pub fn validate(spec: &VMDiskImageSpec, policy: &Policy) -> Result<(), Invalid> {
    let source_type = spec.source_type()?;
    spec.disk_size_bytes()?;
    let (SourceType::Registry | SourceType::S3 | SourceType::Http, Some(text)) = (source_type, &spec.url) else {
        return Ok(());
    };
    let url = Url::parse(text).map_err(|error| Invalid::Url(error.to_string()))?;
    if policy.allows(&url) {
        return Ok(());
    }
    let allowed: Vec<String> = policy.allowed_sources.iter().map(ToString::to_string).collect();
    Err(Invalid::NotAllowed(shown(&url), allowed.join(", ")))
}

/// A URL without what may be a secret.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only for URLs without a host, which have no credentials either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

#[cfg(test)]
mod tests;
