//! OCI registries: containerDisks, and artifacts whose blobs are disks.
//!
//! A thin reading client of its own (Distribution specification 1.1): what is fetched here is fetched by the same
//! ranged, resuming, policy-bound reads as everything else, and every document and blob is checked against the digest
//! that names it.

mod artifact;
mod choice;
mod config;
mod credentials;
mod manifest;
mod reference;
mod token;

use std::sync::Arc;

use async_trait::async_trait;
use reqwest::header::{ACCEPT, HeaderValue};
use url::Url;
use vmdisk_wire::Source as Spec;

use self::choice::{Choice, Next, architecture};
use self::manifest::{Descriptor, Manifest};
use self::reference::Reference;
use self::token::RegistryAuth;
use super::{Blob, Part, Resolved, Secret, Source, checksum};
use crate::digest::{Algorithm, Digest, Expectation, mismatch};
use crate::failure::{Failure, Reason, Result};
use crate::http::{Authorize, Client, Identity, Object, read_all};
use crate::unpack::DiffId;

/// The largest manifest that registries must take (Distribution specification, "Pushing Manifests"). Configurations are
/// smaller.
const MAX_DOCUMENT: u64 = 4 << 20;

/// An index of indexes of manifests is already odd.
const MAX_INDEXES: usize = 3;

/// An image in a registry.
pub(super) struct RegistrySource {
    client: Client,
    reference: Reference,
    api: Url,
    authorize: Arc<dyn Authorize>,
    path: Option<String>,
    checksum: Option<Expectation>,
}

impl RegistrySource {
    pub(super) fn new(spec: &Spec, client: &Client, secret: &Secret) -> Result<Self> {
        let mut reference = Reference::parse(&spec.url)?;
        client.policy().check_url(&reference.policy_url()?)?;
        if let (None, Some(pinned)) = (&reference.digest, &spec.pinned) {
            reference.digest = Some(
                Digest::parse(pinned).map_err(|message| Failure::new(Reason::BadJob, format!("pinned: {message}")))?,
            );
        }
        let https = reference.api(false)?;
        let plain = https.host().is_some_and(|host| client.policy().plain_registry(&host));
        let api = reference.api(plain)?;
        let credentials = credentials::choose(secret, &reference.host, &reference.repository)?;
        let authorize = RegistryAuth::new(client, &api, &reference.repository, credentials)?;
        Ok(Self {
            client: client.clone(),
            api,
            authorize: Arc::new(authorize),
            path: spec.path.clone(),
            checksum: checksum(spec)?,
            reference,
        })
    }

    fn object(&self, kind: &str, name: &str) -> Result<Object> {
        let url = self
            .api
            .join(&format!("{kind}/{name}"))
            .map_err(|error| Failure::new(Reason::InvalidUrl, format!("{name} is no name: {error}")))?;
        Ok(Object::new(self.client.clone(), url, Arc::clone(&self.authorize), self.api.origin()))
    }

    /// A manifest by tag or digest, with the digest of what came.
    async fn manifest(&self, name: &str, promised: Option<&Digest>) -> Result<(Manifest, Digest)> {
        let mut object = self.object("manifests", name)?;
        object.headers.insert(ACCEPT, HeaderValue::from_static(manifest::ACCEPTED));
        let (bytes, found) = document("manifest", object, promised).await?;
        Ok((Manifest::parse(&bytes)?, found))
    }

    /// What each of the `layers` layers holds when it is unpacked, the lowest first, as far as it is said.
    async fn diff_ids(&self, config: &Descriptor, layers: usize) -> Result<Vec<Option<Digest>>> {
        let digest = parse_digest(&config.digest)?;
        let mut object = self.object("blobs", &digest.to_string())?;
        object.identity = Identity::Addressed;
        object.size = Some(config.size);
        let (bytes, _) = document("configuration", object, Some(&digest)).await?;
        config::diff_ids(&bytes, layers)
    }

    /// The blobs to look into.
    async fn blobs(&self, choice: &Choice<'_>) -> Result<Vec<Blob>> {
        let layers = choice.blobs.len();
        let mut diff_ids = match choice.config {
            Some(config) => self.diff_ids(config, layers).await?,
            None => vec![None; layers],
        };
        diff_ids.reverse();
        let blob = |(parts, diff_id): (&Vec<&Descriptor>, _)| {
            let disk_size = parts.first().and_then(|part| part.disk_size());
            Ok(Blob { disk_size, ..self.blob(parts, layers, diff_id)? })
        };
        choice.blobs.iter().zip(diff_ids).map(blob).collect()
    }

    /// A blob in its parts, one of `layers` blobs.
    fn blob(&self, parts: &[&Descriptor], layers: usize, diff_id: Option<Digest>) -> Result<Blob> {
        let parts = parts.iter().map(|part| self.part(part)).collect::<Result<Vec<_>>>()?;
        let [Part { object, expectation, .. }, ..] = parts.as_slice() else {
            return Err(Failure::new(Reason::Internal, "a blob without parts was chosen"));
        };
        let (object, expectation) = (object.clone(), expectation.clone());
        if parts.len() > 1 {
            let blob = Blob::new(object, self.checksum.iter().cloned().collect());
            return Ok(Blob { parts, ..blob });
        }
        let diff_id = diff_id.map(|promised| DiffId { promised, layer: expectation.digest.clone() });
        let (expectations, not_the_disk) = self.expectations(expectation, layers)?;
        Ok(Blob { diff_id, not_the_disk, ..Blob::new(object, expectations) })
    }

    fn part(&self, descriptor: &Descriptor) -> Result<Part> {
        let digest = parse_digest(&descriptor.digest)?;
        let mut object = self.object("blobs", &digest.to_string())?;
        object.identity = Identity::Addressed;
        object.size = Some(descriptor.size);
        Ok(Part { object, size: descriptor.size, expectation: Expectation { promised_by: "the manifest", digest } })
    }

    /// What the manifest and the user expect of a blob. The user's checksum is that of the blob with the disk, and which
    /// one that is shows only inside; but where its digest and the checksum differ, the blob is not the one.
    fn expectations(&self, promised: Expectation, layers: usize) -> Result<(Vec<Expectation>, Option<Failure>)> {
        match &self.checksum {
            Some(checksum) if checksum.digest.algorithm() == promised.digest.algorithm() => {
                let other = (checksum.digest != promised.digest).then(|| mismatch(&promised.digest, checksum));
                Ok((vec![promised], other))
            }
            Some(checksum) if layers == 1 => Ok((vec![promised, checksum.clone()], None)),
            Some(_) => Err(Failure::new(
                Reason::BadJob,
                "the checksum of an image with several layers must use the hash function of its manifest, sha256",
            )),
            None => Ok((vec![promised], None)),
        }
    }
}

#[async_trait]
impl Source for RegistrySource {
    async fn resolve(&self) -> Result<Resolved> {
        let pinned = self.reference.digest.as_ref();
        let name = pinned.map_or_else(|| self.reference.tag.clone(), ToString::to_string);
        let (mut manifest, digest) = self.manifest(&name, pinned).await?;
        for _ in 0..MAX_INDEXES {
            let inner = match manifest.next(architecture(), self.path.as_deref())? {
                Next::Blobs(choice) => {
                    return Ok(Resolved {
                        digest: Some(digest.to_string()),
                        checksum: None,
                        blobs: self.blobs(&choice).await?,
                        container: choice.container,
                        path: choice.path,
                    });
                }
                Next::Manifest(descriptor) => parse_digest(&descriptor.digest)?,
            };
            (manifest, _) = self.manifest(&inner.to_string(), Some(&inner)).await?;
        }
        Err(Failure::new(Reason::MalformedManifest, "the image's index leads to indexes without end"))
    }
}

/// A document of the image, with the digest that it has: the one `promised`, if there is one.
async fn document(what: &str, object: Object, promised: Option<&Digest>) -> Result<(Vec<u8>, Digest)> {
    let bytes = read_all(object, MAX_DOCUMENT).await?;
    let found = Digest::of(promised.map_or(Algorithm::Sha256, Digest::algorithm), &bytes);
    match promised {
        Some(promised) if *promised != found => Err(Failure::new(
            Reason::DigestMismatch,
            format!("the registry sent a {what} with the digest {found} for {promised}; push the image again"),
        )),
        _ => Ok((bytes, found)),
    }
}

fn parse_digest(text: &str) -> Result<Digest> {
    Digest::parse(text).map_err(|message| Failure::new(Reason::MalformedManifest, format!("the manifest: {message}")))
}
