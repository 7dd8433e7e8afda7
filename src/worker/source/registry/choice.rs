//! What a manifest leads to: another one, for this platform, or the blobs that may hold the disk. Pure.

use super::artifact::{self, MOST_NAMES};
use super::manifest::{Descriptor, Manifest, malformed};
use crate::failure::{Failure, Reason, Result};
use crate::shown::shown;
use crate::unpack::Container;

/// Configurations of container images; anything else makes an artifact.
const IMAGE_CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// What a document leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// Another manifest, for this platform.
    Manifest(&'a Descriptor),
    /// The blobs to look into, in the order in which to look.
    Blobs(Choice<'a>),
}

/// The blobs that may hold the disk.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choice<'a> {
    /// Each in its parts: one, unless it is cut.
    pub(super) blobs: Vec<Vec<&'a Descriptor>>,
    /// What says what the layers hold, of a container image.
    pub(super) config: Option<&'a Descriptor>,
    pub(super) container: Container,
    /// The path to look for inside, when it has not named the blob itself.
    pub(super) path: Option<String>,
}

impl Manifest {
    /// What to read next for `architecture` (as Go calls it) and the `path` that the user names.
    pub(super) fn next(&self, architecture: &str, path: Option<&str>) -> Result<Next<'_>> {
        if self.layers.is_empty() {
            return platform(&self.manifests, architecture).map(Next::Manifest);
        }
        let config = self.config.as_ref().filter(|config| IMAGE_CONFIGS.contains(&config.media_type.as_str()));
        let choice = if config.is_some() {
            Choice {
                config,
                // Whatever an upper layer holds counts more than what lies below it.
                blobs: self.layers.iter().rev().map(|layer| vec![layer]).collect(),
                container: Container::Layer,
                path: path.map(str::to_owned),
            }
        } else {
            let (parts, path) = artifact::choose(&self.layers, path)?;
            Choice { config, blobs: vec![parts], container: Container::Plain, path: path.map(str::to_owned) }
        };
        if let Some(foreign) = choice.blobs.iter().flatten().find(|blob| !blob.urls.is_empty()) {
            return Err(malformed(format!(
                "keeps the layer {} at another server, which is not supported; push the image with all its layers",
                shown(&foreign.digest)
            )));
        }
        Ok(Next::Blobs(choice))
    }
}

/// The entry for Linux on `architecture`; one that says nothing of platforms, when it is the only one.
fn platform<'a>(entries: &'a [Descriptor], architecture: &str) -> Result<&'a Descriptor> {
    let exact = entries.iter().find(|entry| {
        entry.platform.as_ref().is_some_and(|platform| platform.os == "linux" && platform.architecture == architecture)
    });
    let mut silent = entries.iter().filter(|entry| entry.platform.is_none());
    let only = silent.next().filter(|_| silent.next().is_none());
    exact.or(only).ok_or_else(|| {
        let mut known: Vec<String> = entries
            .iter()
            .filter_map(|entry| entry.platform.as_ref())
            // Build attestations are entries of an unknown platform.
            .filter(|platform| platform.os != "unknown")
            .map(|platform| shown(&format!("{}/{}", platform.os, platform.architecture)))
            .collect();
        known.sort();
        let more = known.len().saturating_sub(MOST_NAMES);
        known.truncate(MOST_NAMES);
        if more > 0 {
            known.push(format!("{more} more"));
        }
        Failure::new(
            Reason::NoPlatform,
            format!(
                "the image has no variant for linux/{architecture}, only for {}; push one",
                if known.is_empty() { "no platform that is named".into() } else { known.join(", ") }
            ),
        )
    })
}

/// The processor that this program runs on, as Go and therefore registries call it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        other => other,
    }
}

#[cfg(test)]
#[path = "choice_tests.rs"]
mod tests;
