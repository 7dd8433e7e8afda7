//! A class of storage of a test's own.

use anyhow::Result;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, ResourceExt as _};

use super::{Scene, bed};

/// A class that is like one of the cluster's, but for its parameters.
pub struct Class {
    api: Api<StorageClass>,
    /// Its name.
    pub name: String,
}

impl Class {
    /// Creates a class like the one that the environment has under `like`.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn create(scene: &Scene, like: &str, parameters: &[(&str, &str)]) -> Result<Self> {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let api = Api::<StorageClass>::all(scene.bed.client.clone());
        let model = api.get(&bed::variable(like)?).await?;
        let class = StorageClass {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", scene.namespace)),
                // They say how its claims may be copied.
                annotations: model.metadata.annotations.clone(),
                ..ObjectMeta::default()
            },
            parameters: Some(parameters.iter().map(own).collect()),
            ..model
        };
        let name = api.create(&PostParams::default(), &class).await?.name_any();
        Ok(Self { api, name })
    }

    /// Creates a class that binds at once, but for its parameters.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn immediate(scene: &Scene, parameters: &[(&str, &str)]) -> Result<Self> {
        Self::create(scene, "STORAGE_CLASS_IMMEDIATE", parameters).await
    }

    /// Creates a class whose volumes wait for the hold that is named after the test's namespace.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn held(scene: &Scene) -> Result<Self> {
        Self::immediate(scene, &[("hold", &scene.namespace)]).await
    }

    /// Removes it.
    ///
    /// # Errors
    /// When it is gone already.
    pub async fn delete(&self) -> Result<()> {
        self.api.delete(&self.name, &DeleteParams::default()).await?;
        Ok(())
    }
}
