//! One test's own namespace: made before, judged on failure, gone afterwards.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use futures::FutureExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Bed, diagnostics, until};

/// How long a namespace may take to go. design.md, principle 1: a user's delete is never held.
const GONE: Duration = Duration::from_mins(3);

/// What a test works on.
#[derive(Clone)]
pub struct Scene {
    /// The cluster.
    pub bed: Bed,
    /// The test's own namespace.
    pub namespace: String,
}

/// Runs one test in a namespace of its own. When it fails, what is in the namespace is told; in any case the namespace
/// is deleted, and the test fails when it does not go.
///
/// # Panics
/// When the body fails or panics, or the namespace stays.
pub async fn scenario(name: &str, body: impl AsyncFnOnce(&Scene) -> Result<()>) {
    let scene = Scene::open(name).await.expect("a namespace of the test's own");
    let outcome = AssertUnwindSafe(body(&scene)).catch_unwind().await;
    if !matches!(outcome, Ok(Ok(()))) {
        diagnostics::tell(&scene).await;
    }
    let closed = scene.close().await;
    match outcome {
        Ok(Ok(())) => closed.unwrap_or_else(|error| panic!("{name}: {error:#}")),
        Ok(Err(error)) => panic!("{name}: {error:#}"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

impl Scene {
    /// A namespace of its own for what is no test; the caller closes it.
    ///
    /// # Errors
    /// When no cluster is up.
    pub async fn open(name: &str) -> Result<Self> {
        let bed = Bed::attach().await?;
        let namespace = new_namespace(&bed, name).await?;
        Ok(Self { bed, namespace })
    }

    /// Deletes the namespace and waits until it is gone.
    ///
    /// # Errors
    /// When something in it does not go.
    pub async fn close(&self) -> Result<()> {
        delete_namespace(&self.bed, &self.namespace).await
    }

    /// A second namespace; the caller deletes it with [`delete_namespace`].
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn another_namespace(&self, suffix: &str) -> Result<String> {
        let stem = self.namespace.rsplit_once('-').map_or(self.namespace.as_str(), |(stem, _)| stem);
        new_namespace(&self.bed, &format!("{stem}-{suffix}")).await
    }

    /// The objects of one kind in the test's namespace.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        self.api_in(&self.namespace)
    }

    /// The objects of one kind in another namespace.
    #[must_use]
    pub fn api_in<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.bed.client.clone(), namespace)
    }

    /// Creates an object, in the test's namespace unless it names another.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn create<K>(&self, object: &K) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let namespace = object.namespace().unwrap_or_else(|| self.namespace.clone());
        self.api_in::<K>(&namespace)
            .create(&PostParams::default(), object)
            .await
            .with_context(|| format!("cannot create {} {}", K::kind(&()), object.name_any()))
    }

    /// Deletes an object and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be deleted, or is still there after the deadline.
    pub async fn delete<K>(&self, name: &str, deadline: Duration) -> Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let api = self.api::<K>();
        api.delete(name, &DeleteParams::default()).await.with_context(|| format!("cannot delete {name}"))?;
        until::gone(&api, name, deadline).await
    }
}

async fn new_namespace(bed: &Bed, stem: &str) -> Result<String> {
    let namespace = Namespace {
        metadata: ObjectMeta {
            generate_name: Some(format!("{stem}-")),
            labels: Some(BTreeMap::from([
                // What we run in a user's namespace must get by with the strictest level.
                ("pod-security.kubernetes.io/enforce".to_owned(), "restricted".to_owned()),
                ("vmdisk-e2e".to_owned(), "true".to_owned()),
            ])),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    let api = Api::<Namespace>::all(bed.client.clone());
    let made = api.create(&PostParams::default(), &namespace).await.context("cannot create a namespace")?;
    let name = made.name_any();
    // Pods are refused until the account is there.
    let accounts = Api::<k8s_openapi::api::core::v1::ServiceAccount>::namespaced(bed.client.clone(), &name);
    until::exists(&accounts, "default", Duration::from_mins(2)).await?;
    Ok(name)
}

/// Deletes a namespace and waits until it is gone.
///
/// # Errors
/// When something in it does not go.
pub async fn delete_namespace(bed: &Bed, name: &str) -> Result<()> {
    let api = Api::<Namespace>::all(bed.client.clone());
    match api.delete(name, &DeleteParams::default()).await {
        // The test may have deleted it itself.
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        Err(error) => return Err(anyhow!(error).context(format!("cannot delete the namespace {name}"))),
    }
    until::gone(&api, name, GONE).await
}
