//! A class of storage of a test's own.

use std::collections::BTreeMap;

use anyhow::Result;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, ResourceExt as _};
use vmdisk_e2e::testing::{Scene, bed};

/// A class whose volumes wait for the hold that is named after the test's namespace.
pub(crate) struct HeldClass {
    api: Api<StorageClass>,
    /// Its name.
    pub(crate) name: String,
}

impl HeldClass {
    pub(crate) async fn create(scene: &Scene) -> Result<Self> {
        let api = Api::<StorageClass>::all(scene.bed.client.clone());
        let mut class = api.get(&bed::variable("STORAGE_CLASS_IMMEDIATE")?).await?;
        class.metadata = ObjectMeta { name: Some(scene.namespace.clone()), ..ObjectMeta::default() };
        class.parameters = Some(BTreeMap::from([("hold".to_owned(), scene.namespace.clone())]));
        let name = api.create(&PostParams::default(), &class).await?.name_any();
        Ok(Self { api, name })
    }

    pub(crate) async fn delete(&self) -> Result<()> {
        self.api.delete(&self.name, &DeleteParams::default()).await?;
        Ok(())
    }
}
