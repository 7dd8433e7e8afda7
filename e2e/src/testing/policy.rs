//! The operator's policy, changed for as long as a test needs it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams};
use kube::{Api, Client};

const NAMESPACE: &str = "sync-operator";
const NAME: &str = "sync-operator-policy";

/// A policy that differs from the defaults. Who made it removes it with [`Policy::reset`].
pub struct Policy(Api<ConfigMap>);

impl Policy {
    /// Puts this policy in force; keys that are not named have their defaults.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn set(client: &Client, keys: &[(&str, &str)]) -> Result<Self> {
        let policy = Self(Api::namespaced(client.clone(), NAMESPACE));
        policy.change(keys).await?;
        Ok(policy)
    }

    /// Puts another policy in force.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn change(&self, keys: &[(&str, &str)]) -> Result<()> {
        let data: BTreeMap<String, String> =
            keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let map = ConfigMap {
            metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
            data: Some(data),
            ..ConfigMap::default()
        };
        let params = PatchParams::apply("vmdisk-e2e").force();
        self.0.patch(NAME, &params, &Patch::Apply(&map)).await.context("cannot change the policy")?;
        Ok(())
    }

    /// Puts the defaults in force again.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub async fn reset(self) -> Result<()> {
        self.0.delete(NAME, &DeleteParams::default()).await.context("cannot remove the policy")?;
        Ok(())
    }
}

/// Where the policy is, and which of the maps there it is: for a watch.
#[must_use]
pub fn in_force(client: &Client) -> (Api<ConfigMap>, ListParams) {
    (Api::namespaced(client.clone(), NAMESPACE), ListParams::default().fields(&format!("metadata.name={NAME}")))
}
