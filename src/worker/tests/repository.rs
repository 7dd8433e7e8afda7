//! A registry to be asked, and what is pushed to it.

use std::io::Write as _;
use std::process::Command;

use axum::body::Bytes;
use serde_json::{Value, json};

use crate::server::{Resource, Server};
use crate::support::{self, run};

pub(crate) const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const TAR: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// The digest of `bytes` as a manifest has it.
pub(crate) fn digest(bytes: &[u8]) -> String {
    support::digest(&ring::digest::SHA256, bytes)
}

/// A registry with one repository, `lab/vm`.
pub(crate) struct Registry {
    pub(crate) server: Server,
}

impl Registry {
    pub(crate) fn start() -> Self {
        Self { server: Server::start() }
    }

    /// Uploads a blob; its descriptor.
    pub(crate) fn blob(&self, media_type: &str, bytes: impl Into<Bytes>) -> Value {
        let bytes = bytes.into();
        let digest = digest(&bytes);
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        self.put(&format!("blobs/{digest}"), bytes);
        descriptor
    }

    pub(crate) fn put(&self, path: &str, body: impl Into<Bytes>) {
        self.server.put(&format!("/v2/lab/vm/{path}"), Resource { body: body.into(), ..Resource::default() });
    }

    /// Uploads a manifest under its digest and a tag; its descriptor.
    pub(crate) fn manifest(&self, tag: &str, media_type: &str, manifest: &Value) -> Value {
        let bytes = serde_json::to_vec_pretty(manifest).unwrap();
        let digest = digest(&bytes);
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        self.put(&format!("manifests/{digest}"), bytes.clone());
        self.put(&format!("manifests/{tag}"), bytes);
        descriptor
    }

    /// Uploads an image of these layers, the lowest first; its configuration says nothing of them.
    pub(crate) fn image(&self, tag: &str, layers: &[Value]) -> Value {
        self.configured(tag, layers, "{}")
    }

    /// Uploads an image of these layers, the lowest first, with a configuration.
    pub(crate) fn configured(&self, tag: &str, layers: &[Value], config: &str) -> Value {
        let config = self.blob(IMAGE_CONFIG, config.to_owned());
        self.manifest(tag, OCI, &json!({"schemaVersion": 2, "mediaType": OCI, "config": config, "layers": layers}))
    }

    pub(crate) fn url(&self, reference: &str) -> String {
        format!("docker://{}/lab/vm{reference}", self.server.host())
    }
}

/// The configuration of an image whose layers hold what has these digests.
pub(crate) fn config(diff_ids: &[String]) -> String {
    json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}).to_string()
}

/// An archive of files.
pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let archive = tempfile::NamedTempFile::new().unwrap();
    run(Command::new("tar").arg("-C").arg(directory.path()).arg("-cf").arg(archive.path()).arg("."));
    std::fs::read(archive.path()).unwrap()
}

/// A layer of files.
pub(crate) fn layer(files: &[(&str, &[u8])]) -> Vec<u8> {
    gzip(&archive(files))
}

/// As `gzip` packs.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
