//! A class of storage of a test's own.

use std::collections::BTreeMap;

use anyhow::Result;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, ResourceExt as _};
use vmdisk_e2e::testing::{Scene, bed};

/// A class that is like one of the cluster's, but for its parameters.
pub(crate) struct Class {
    api: Api<StorageClass>,
    /// Its name.
    pub(crate) name: String,
}

impl Class {
    /// Creates a class like the one that the environment has under `like`.
    pub(crate) async fn create(scene: &Scene, like: &str, parameters: BTreeMap<String, String>) -> Result<Self> {
        let api = Api::<StorageClass>::all(scene.bed.client.clone());
        let class = StorageClass {
            metadata: ObjectMeta { generate_name: Some(format!("{}-", scene.namespace)), ..ObjectMeta::default() },
            parameters: Some(parameters),
            ..api.get(&bed::variable(like)?).await?
        };
        let name = api.create(&PostParams::default(), &class).await?.name_any();
        Ok(Self { api, name })
    }

    /// Creates a class whose volumes wait for the hold that is named after the test's namespace.
    pub(crate) async fn held(scene: &Scene) -> Result<Self> {
        let parameters = BTreeMap::from([("hold".to_owned(), scene.namespace.clone())]);
        Self::create(scene, "STORAGE_CLASS_IMMEDIATE", parameters).await
    }

    /// Removes it.
    pub(crate) async fn delete(&self) -> Result<()> {
        self.api.delete(&self.name, &DeleteParams::default()).await?;
        Ok(())
    }
}
