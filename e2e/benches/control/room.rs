//! A namespace for a part of the bench: what one leaves behind is no burden to the next.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::Api;
use kube::api::ListParams;
use vmdisk_e2e::testing::{Scene, until};

/// For the driver to delete a thousand volumes.
const DELETED: Duration = Duration::from_mins(15);

/// Does `work` in a namespace of its own, and waits until it and its volumes are gone.
pub(crate) async fn with<T>(name: &str, work: impl AsyncFnOnce(&Scene) -> Result<T>) -> Result<T> {
    let scene = Scene::open(&format!("bench-{name}")).await?;
    let outcome = work(&scene).await;
    let emptied = match scene.close().await {
        Ok(()) => no_volumes(&scene).await,
        failed => failed,
    };
    outcome.and_then(|done| emptied.map(|()| done))
}

async fn no_volumes(scene: &Scene) -> Result<()> {
    let volumes: Api<PersistentVolume> = Api::all(scene.bed.client.clone());
    until::probed("the volumes of the last claims are gone", DELETED, async || {
        let volumes = volumes.list(&ListParams::default()).await?;
        Ok((!volumes.iter().any(|volume| is_of(volume, &scene.namespace))).then_some(()))
    })
    .await
}

fn is_of(volume: &PersistentVolume, namespace: &str) -> bool {
    let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    claim.and_then(|claim| claim.namespace.as_deref()) == Some(namespace)
}
