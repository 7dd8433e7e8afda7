//! The operator's policy, changed for as long as a test needs it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams};
use kube::{Api, Client};

const NAMESPACE: &str = "sync-operator";
const NAME: &str = "sync-operator-policy";

/// A policy that differs from the defaults.
pub struct Policy {
    maps: Api<ConfigMap>,
    /// What was in force before, if it was not the defaults.
    former: Option<BTreeMap<String, String>>,
}

impl Policy {
    /// Has this policy in force while `work` is done, and puts the former one back however that ends; keys that are not
    /// named have their defaults.
    ///
    /// # Errors
    /// What `work` fails with; when the policy cannot be written.
    pub async fn during<T>(
        client: &Client,
        keys: &[(&str, &str)],
        work: impl AsyncFnOnce(&Self) -> Result<T>,
    ) -> Result<T> {
        let policy = Self::set(client, keys).await?;
        let outcome = work(&policy).await;
        let reset = policy.reset().await;
        let done = outcome?;
        reset.map(|()| done)
    }

    async fn set(client: &Client, keys: &[(&str, &str)]) -> Result<Self> {
        let maps = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE);
        let former = maps.get_opt(NAME).await.context("cannot read the policy")?;
        let policy = Self { maps, former: former.map(|map| map.data.unwrap_or_default()) };
        policy.change(keys).await?;
        Ok(policy)
    }

    /// Puts another policy in force.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn change(&self, keys: &[(&str, &str)]) -> Result<()> {
        self.write(keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()).await
    }

    async fn write(&self, data: BTreeMap<String, String>) -> Result<()> {
        let map = ConfigMap {
            metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
            data: Some(data),
            ..ConfigMap::default()
        };
        let params = PatchParams::apply("vmdisk-e2e").force();
        self.maps.patch(NAME, &params, &Patch::Apply(&map)).await.context("cannot change the policy")?;
        Ok(())
    }

    /// Puts in force again what was before.
    async fn reset(self) -> Result<()> {
        if let Some(former) = &self.former {
            return self.write(former.clone()).await;
        }
        self.maps.delete(NAME, &DeleteParams::default()).await.context("cannot remove the policy")?;
        Ok(())
    }
}

/// Where the policy is, and which of the maps there it is: for a watch.
#[must_use]
pub fn in_force(client: &Client) -> (Api<ConfigMap>, ListParams) {
    (Api::namespaced(client.clone(), NAMESPACE), ListParams::default().fields(&format!("metadata.name={NAME}")))
}
