//! Manifests of every shape on the registry, put there blob by blob: `skopeo` writes container images only.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use reqwest::header::{CONTENT_TYPE, LOCATION};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::bed;
use crate::cache::hex;
use crate::vm::container_disk;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// One repository.
pub struct Repository {
    http: reqwest::Client,
    host: String,
    name: String,
}

impl Repository {
    /// The repository of this name on the registry that asks nobody who he is.
    ///
    /// # Errors
    /// When the environment does not name the registry.
    pub fn new(name: &str) -> Result<Self> {
        let ca = std::fs::read(bed::path("CA_FILE")?)?;
        let ca = reqwest::Certificate::from_pem(&ca).context("CA_FILE holds no certificate")?;
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).build()?;
        Ok(Self { http, host: bed::variable("REGISTRY")?, name: name.to_owned() })
    }

    /// What an image's `url` says of a tag.
    #[must_use]
    pub fn url(&self, tag: &str) -> String {
        format!("docker://{}/{}:{tag}", self.host, self.name)
    }

    /// A container disk with OCI's media types.
    ///
    /// # Errors
    /// When it cannot be packed, or the registry refuses it.
    pub fn container_disk(&self, tag: &str, disk: &Path, scratch: &Path) -> Result<String> {
        let packed = container_disk::pack(disk, &scratch.join(format!("layout-{tag}")))?;
        packed.push(&format!("{}/{}:{tag}", self.host, self.name), &bed::path("CA_FILE")?)?;
        Ok(packed.digest)
    }

    /// The same container disk with Docker's media types.
    ///
    /// # Errors
    /// When the registry refuses it.
    pub async fn docker(&self, tag: &str, like: &str) -> Result<()> {
        let mut manifest = self.get(like).await?;
        manifest["mediaType"] = json!(DOCKER_MANIFEST);
        manifest["config"]["mediaType"] = json!("application/vnd.docker.container.image.v1+json");
        manifest["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.diff.tar.gzip");
        self.put(tag, DOCKER_MANIFEST, &manifest).await
    }

    /// An artifact whose one blob is the image itself; gives the blob's path on the server.
    ///
    /// # Errors
    /// When the registry refuses it.
    pub async fn artifact(&self, tag: &str, image: &Path, media_type: &str) -> Result<String> {
        let name = image.file_name().context("an image has a file name")?.to_string_lossy();
        let mut layer = self.blob(std::fs::read(image)?, media_type).await?;
        layer["annotations"] = json!({"org.opencontainers.image.title": name});
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": "application/vnd.vmdisk.test",
            "config": self.blob(b"{}".to_vec(), "application/vnd.oci.empty.v1+json").await?,
            "layers": [layer],
        });
        self.put(tag, MANIFEST, &manifest).await?;
        let digest = manifest["layers"][0]["digest"].as_str().unwrap_or_default();
        Ok(format!("/v2/{}/blobs/{digest}", self.name))
    }

    /// An index in which another platform comes first.
    ///
    /// # Errors
    /// When the registry refuses it.
    pub async fn index(&self, tag: &str, foreign: &str, ours: &str) -> Result<()> {
        let mut manifests = Vec::new();
        for (of, architecture) in [(foreign, "s390x"), (ours, "amd64")] {
            let bytes = self.get_bytes(of).await?;
            let mut descriptor = descriptor(&bytes, MANIFEST);
            descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
            manifests.push(descriptor);
        }
        self.put(tag, INDEX, &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})).await
    }

    async fn blob(&self, contents: Vec<u8>, media_type: &str) -> Result<Value> {
        let descriptor = descriptor(&contents, media_type);
        let begin = format!("https://{}/v2/{}/blobs/uploads/", self.host, self.name);
        let session = self.http.post(&begin).send().await?.error_for_status()?;
        let place = session.headers().get(LOCATION).context("an upload has a location")?.to_str()?;
        let mut place = reqwest::Url::parse(&begin)?.join(place)?;
        place.query_pairs_mut().append_pair("digest", descriptor["digest"].as_str().unwrap_or_default());
        let upload = self.http.put(place).header(CONTENT_TYPE, "application/octet-stream").body(contents);
        upload.send().await?.error_for_status()?;
        Ok(descriptor)
    }

    async fn put(&self, tag: &str, media_type: &str, manifest: &Value) -> Result<()> {
        let request = self.http.put(self.manifest(tag)).header(CONTENT_TYPE, media_type).body(manifest.to_string());
        let answer = request.send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "the registry refuses {tag}: {status} {}", answer.text().await?);
        Ok(())
    }

    async fn get(&self, tag: &str) -> Result<Value> {
        Ok(serde_json::from_slice(&self.get_bytes(tag).await?)?)
    }

    async fn get_bytes(&self, tag: &str) -> Result<Vec<u8>> {
        let request = self.http.get(self.manifest(tag)).header("Accept", MANIFEST);
        Ok(request.send().await?.error_for_status()?.bytes().await?.to_vec())
    }

    fn manifest(&self, tag: &str) -> String {
        format!("https://{}/v2/{}/manifests/{tag}", self.host, self.name)
    }
}

fn descriptor(contents: &[u8], media_type: &str) -> Value {
    let digest = format!("sha256:{}", hex(&Sha256::digest(contents)));
    json!({"mediaType": media_type, "digest": digest, "size": contents.len()})
}
