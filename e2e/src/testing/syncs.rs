//! The records of how a claim is filled.

use anyhow::Result;
use kube::api::ListParams;
use populator_crd::{VMDiskSync, VMDiskSyncStatus};

use super::Scene;

/// The sync of the claim of this name, if there is one.
///
/// # Errors
/// When the API server cannot be read.
pub async fn of(scene: &Scene, claim: &str) -> Result<Option<VMDiskSync>> {
    let syncs = scene.api::<VMDiskSync>().list(&ListParams::default()).await?;
    Ok(syncs.items.into_iter().find(|sync| sync.spec.claim.name == claim))
}

/// How far it is, if anything was said of it yet.
///
/// # Errors
/// When the API server cannot be read.
pub async fn status_of(scene: &Scene, claim: &str) -> Result<Option<VMDiskSyncStatus>> {
    Ok(of(scene, claim).await?.and_then(|sync| sync.status))
}
