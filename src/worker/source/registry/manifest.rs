//! Manifests and indexes (OCI image specification 1.1, Docker manifest version 2 schema 2). Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::failure::{Failure, Reason, Result};
use crate::shown::sentence;

/// The media types asked for.
pub(super) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// A manifest or an index: both are JSON objects, and some registries mislabel them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    #[serde(default)]
    pub(super) config: Option<Descriptor>,
    #[serde(default)]
    pub(super) layers: Vec<Descriptor>,
    #[serde(default)]
    pub(super) manifests: Vec<Descriptor>,
}

/// What names a blob.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(default)]
    pub(super) platform: Option<Platform>,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) urls: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Platform {
    #[serde(default)]
    pub(super) os: String,
    #[serde(default)]
    pub(super) architecture: String,
}

impl Manifest {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|error| malformed(format!("is not one ({})", sentence(&error.to_string()))))?;
        if manifest.layers.is_empty() && manifest.manifests.is_empty() {
            return Err(malformed(
                "names no layers; it is empty, or of the first schema, which is not supported: push the image again",
            ));
        }
        Ok(manifest)
    }
}

pub(super) fn malformed(why: impl std::fmt::Display) -> Failure {
    Failure::new(Reason::MalformedManifest, format!("the image's manifest {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_manifest_is_malformed() {
        for text in ["", "[]", "{}", r#"{"layers": [{}]}"#, r#"{"schemaVersion": 1, "fsLayers": []}"#] {
            assert_eq!(Manifest::parse(text.as_bytes()).unwrap_err().reason, Reason::MalformedManifest, "{text}");
        }
    }
}
