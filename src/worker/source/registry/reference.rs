//! Names of images in registries: `docker://host[:port]/repository[:tag][@digest]`. Pure.

use url::Url;

use crate::digest::Digest;
use crate::failure::{Failure, Reason, Result};

/// Docker Hub's names and the host that serves them.
const HUB: [&str; 2] = ["docker.io", "index.docker.io"];
const HUB_API: &str = "registry-1.docker.io";

/// What an image is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// The registry as users name it, with its port.
    pub(super) host: String,
    /// The repository.
    pub(super) repository: String,
    /// The tag; means nothing beside a digest.
    pub(super) tag: String,
    /// The digest of the manifest.
    pub(super) digest: Option<Digest>,
}

impl Reference {
    /// Reads a reference.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let invalid = |why: &str| {
            Failure::new(
                Reason::InvalidUrl,
                format!("the url {why}; expected docker://host/repository:tag or docker://host/repository@sha256:…"),
            )
        };
        let rest = ["docker://", "oci://"]
            .into_iter()
            .find_map(|scheme| url.strip_prefix(scheme))
            .ok_or_else(|| invalid("does not begin with docker:// or oci://"))?;
        let (name, digest) = match rest.split_once('@') {
            Some((_, digest)) if !digest.contains(':') => {
                return Err(invalid("has user information, which belongs in a Secret"));
            }
            Some((name, digest)) => (name, Some(Digest::parse(digest).map_err(|message| invalid(&message))?)),
            None => (rest, None),
        };
        let (host, path) = match name.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
            _ => (HUB[0], name),
        };
        let (repository, tag) = match path.rsplit_once(':') {
            Some((repository, tag)) => (repository, tag),
            None => (path, "latest"),
        };
        if !is_tag(tag) {
            return Err(invalid("has a tag of other characters than letters, digits, '_', '.' and '-'"));
        }
        if !repository.split('/').all(is_component) {
            return Err(invalid("has a repository of other characters than a-z, 0-9, '_', '.', '-' and '/'"));
        }
        let repository = if HUB.contains(&host) && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository.to_owned()
        };
        let host = if HUB.contains(&host) { HUB[0] } else { host };
        let reference = Self { host: host.to_owned(), repository, tag: tag.to_owned(), digest };
        // Whatever is no host fails here, before it is used.
        Url::parse(&format!("https://{host}/")).map_err(|error| invalid(&format!("names no host ({error})")))?;
        Ok(reference)
    }

    /// The URL that policies speak of.
    pub(super) fn policy_url(&self) -> Result<Url> {
        join("docker", &self.host, &format!("/{}", self.repository))
    }

    /// The URL of the registry's API, version 2.
    pub(super) fn api(&self, plain: bool) -> Result<Url> {
        let host = if self.host == HUB[0] { HUB_API } else { &self.host };
        join(if plain { "http" } else { "https" }, host, &format!("/v2/{}/", self.repository))
    }
}

fn join(scheme: &str, host: &str, path: &str) -> Result<Url> {
    Url::parse(&format!("{scheme}://{host}{path}"))
        .map_err(|error| Failure::new(Reason::InvalidUrl, format!("{host} is no host: {error}")))
}

fn is_tag(tag: &str) -> bool {
    tag.len() <= 128
        && tag.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
        && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

fn is_component(component: &str) -> bool {
    let end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    end(component.bytes().next())
        && end(component.bytes().next_back())
        && !component.contains("..")
        && component.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte))
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
