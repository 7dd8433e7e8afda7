//! Registers our kind with the volume-data-source-validator, where that is installed: without it nothing is missing,
//! with it claims of ours would be warned about as having an unknown source.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, CustomResourceExt, Resource, ResourceExt,
    api::{Patch, PatchParams},
    core::PartialObjectMeta,
    runtime::{WatchStreamExt, watcher},
};
use populator_crd::{GROUP, VMDiskImage, VolumePopulator, names};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::runtime::deadline::within;

/// The name of our registration; RBAC allows no other.
const NAME: &str = "vmdiskimage.pelotech.ot";

/// How often to look whether somebody changed the registration.
const INTERVAL: Duration = Duration::from_mins(10);

/// How soon to try again.
const RETRY: Duration = Duration::from_secs(10);

/// Keeps the registration applied, for as long as the process lives.
pub async fn run(client: Client) {
    let definitions: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(client.clone());
    let mut definition = watcher::watch_object(definitions, VolumePopulator::crd_name()).default_backoff().boxed();
    let mut next: Option<Instant> = None;
    loop {
        tokio::select! {
            seen = definition.next() => match seen {
                Some(Ok(Some(definition))) if definition.metadata.deletion_timestamp.is_none() => {
                    next = next.or(Some(Instant::now()));
                }
                Some(Ok(_)) => next = None,
                Some(Err(error)) => tracing::debug!(%error, "failed to watch the CRD of VolumePopulators"),
                None => return,
            },
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                let wait = match apply(&client).await {
                    Ok(()) => INTERVAL,
                    Err(error) => {
                        tracing::warn!(%error, "failed to register as a populator; trying again");
                        RETRY
                    }
                };
                next = Some(Instant::now() + wait);
            }
        }
    }
}

async fn apply(client: &Client) -> Result<(), kube::Error> {
    let api: Api<VolumePopulator> = Api::all(client.clone());
    let kind = VMDiskImage::kind(&());
    let current = within(api.get_opt(NAME)).await?;
    if current.is_some_and(|current| {
        let registered = &current.spec.source_kind;
        registered.group == GROUP && registered.kind == kind
    }) {
        return Ok(());
    }
    let registration = json!({
        "apiVersion": VolumePopulator::api_version(&()),
        "kind": VolumePopulator::kind(&()),
        "metadata": {"name": NAME, "labels": {names::MANAGED_BY_LABEL: names::MANAGER}},
        "sourceKind": {"group": GROUP, "kind": kind},
    });
    let params = PatchParams::apply(names::MANAGER).force();
    let stored = within(api.patch(NAME, &params, &Patch::Apply(&registration))).await?;
    tracing::info!(name = stored.name_any(), "registered as a populator");
    Ok(())
}
