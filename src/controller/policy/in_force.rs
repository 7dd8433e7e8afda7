//! The last good values of the policy, where a restart finds them again: a `ConfigMap` of our own beside the policy's.
//!
//! It is read at the start and written when the good values change, by the leader alone. A value in it counts only for a
//! key that the policy has and that cannot be read there, and only if it can be read itself; so what somebody writes
//! into it by hand, or another release wrote, can do no more than a policy could, and is written over with the next
//! change. A record that is lost costs nothing as long as the policy can be read.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
};
use populator_crd::names;
use serde_json::json;
use tokio::time::sleep;

use super::Raw;
use crate::runtime::deadline::within;

/// The record's name; RBAC allows no other.
pub const CONFIG_MAP: &str = "sync-operator-policy-in-force";

/// How soon to try again what failed.
pub(super) const RETRY: Duration = Duration::from_secs(10);

/// The record.
pub(super) struct InForce {
    api: Api<ConfigMap>,
    stored: Raw,
    version: Option<String>,
}

impl InForce {
    /// Reads the record, however long it takes: without it a policy that cannot be read could only be closed, and what
    /// reads the policy waits for the API server anyway.
    pub(super) async fn read(client: Client, namespace: &str) -> Self {
        let mut record = Self { api: Api::namespaced(client, namespace), stored: Raw::new(), version: None };
        loop {
            match record.look().await {
                Ok(()) => return record,
                Err(kube::Error::Api(status)) if status.code == 403 => {
                    tracing::warn!(
                        error = status.message,
                        "the last good policy may not be read, and goes unused; apply the Role of this release"
                    );
                    return record;
                }
                Err(error) => tracing::warn!(%error, "failed to read the last good policy; trying again"),
            }
            sleep(RETRY).await;
        }
    }

    /// What is stored.
    pub(super) const fn stored(&self) -> &Raw {
        &self.stored
    }

    async fn look(&mut self) -> Result<(), kube::Error> {
        let found = within(self.api.get_opt(CONFIG_MAP)).await?.unwrap_or_default();
        self.stored = found.data.unwrap_or_default();
        self.version = found.metadata.resource_version;
        Ok(())
    }

    /// Stores these values, if they differ from what is stored.
    pub(super) async fn keep(&mut self, good: &Raw) -> Result<(), kube::Error> {
        if self.stored == *good {
            return Ok(());
        }
        let params = PatchParams::apply(names::MANAGER).force();
        match within(self.api.patch(CONFIG_MAP, &params, &Patch::Apply(build(good, self.version.as_deref())))).await {
            Ok(stored) => {
                self.version = stored.metadata.resource_version;
                self.stored.clone_from(good);
                Ok(())
            }
            Err(error) => {
                // Whoever wrote it meanwhile may lead by now, and then this process is about to end; if it goes on, it
                // leads, and writes over what it sees now.
                if matches!(&error, kube::Error::Api(status) if status.code == 409) {
                    self.look().await?;
                }
                Err(error)
            }
        }
    }
}

/// What is applied. With the version that was read: a leader that was replaced, and does not know it yet, must not write
/// over the record of the next.
fn build(good: &Raw, version: Option<&str>) -> serde_json::Value {
    let mut object = json!({
        "apiVersion": ConfigMap::api_version(&()),
        "kind": ConfigMap::kind(&()),
        "metadata": {"name": CONFIG_MAP, "labels": {names::MANAGED_BY_LABEL: names::MANAGER}},
        "data": good,
    });
    if let Some(version) = version {
        object["metadata"]["resourceVersion"] = json!(version);
    }
    object
}

#[cfg(test)]
#[path = "in_force_tests.rs"]
mod tests;
