//! Configurations of container images (OCI image specification 1.1, "Image Configuration"; Docker's are the same in
//! what is read here). Pure.

use serde::Deserialize;

use crate::digest::Digest;
use crate::failure::{Failure, Reason, Result};

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// The digests of what the `layers` layers hold when they are unpacked, the lowest first.
///
/// There are none in what is no configuration of these layers: tools that push a disk as an artifact put all sorts of
/// documents in its place, empty ones too.
pub(super) fn diff_ids(bytes: &[u8], layers: usize) -> Result<Vec<Option<Digest>>> {
    let diff_ids = serde_json::from_slice::<Config>(bytes).map_or_else(|_| Vec::new(), |config| config.rootfs.diff_ids);
    if diff_ids.len() != layers {
        tracing::info!(layers, diff_ids = diff_ids.len(), "the configuration does not say what the layers hold");
        return Ok(vec![None; layers]);
    }
    let read = |text: &String| {
        Digest::parse(text).map(Some).map_err(|message| {
            Failure::new(Reason::MalformedManifest, format!("the image's configuration, rootfs.diff_ids: {message}"))
        })
    };
    diff_ids.iter().map(read).collect()
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
