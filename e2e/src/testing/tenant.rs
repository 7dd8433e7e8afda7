//! An adversary: a user with the `ClusterRole` `edit` in one namespace, and what he forges there.
//!
//! The admission policies of the project keep our labels and names from everybody but the controller. They are a second
//! wall on which nothing may rest, so what is forged is written from behind it, by an account that the wall lets through.
//! Each forgery is shown first to be one that the adversary could make if the wall were not there: the API server takes
//! the same object from him, but for our names and labels, in a dry run.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Bed, bed, until};

const SOON: Duration = Duration::from_secs(30);
/// What keeps a forgery from going.
pub const FINALIZER: &str = "vmdisk-e2e/adversary";

/// A user who may edit one namespace.
#[derive(Clone)]
pub struct Tenant {
    /// The namespace.
    pub namespace: String,
    /// Speaks as the tenant.
    pub client: Client,
    /// Speaks as an account that the admission policies let through.
    forger: Client,
}

impl Tenant {
    /// Gives a user `edit` in the namespace, and waits until he has it.
    ///
    /// # Errors
    /// When the binding cannot be made.
    pub async fn enter(bed: &Bed, namespace: &str) -> Result<Self> {
        let user = format!("adversary-in-{namespace}");
        let binding: RoleBinding = serde_json::from_value(json!({
            "metadata": {"name": "adversary"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }))?;
        Api::namespaced(bed.client.clone(), namespace).create(&PostParams::default(), &binding).await?;
        let client = impersonate(&user, &[]).await?;
        let pods = Api::<Pod>::namespaced(client.clone(), namespace);
        // The authorizer reads bindings from a watch.
        until::probed("the tenant may edit his namespace", SOON, async || {
            pods.list(&ListParams::default()).await?;
            Ok(Some(()))
        })
        .await?;
        let forger = format!("system:serviceaccount:{namespace}:vmdisk-controller");
        let forger = impersonate(&forger, &["system:masters"]).await?;
        Ok(Self { namespace: namespace.to_owned(), client, forger })
    }

    /// The objects of one kind in his namespace, as he reaches them.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The objects of one kind in his namespace, from behind the wall.
    #[must_use]
    pub fn forged<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.forger.clone(), &self.namespace)
    }

    /// Creates an object that bears our names and labels, after the tenant was found to be allowed one without them.
    ///
    /// # Errors
    /// When the API server refuses either.
    pub async fn forge<K>(&self, object: &K) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let plain = plain(object)?;
        self.api::<K>()
            .create(&dry, &plain)
            .await
            .with_context(|| format!("no tenant could make {} {}", K::kind(&()), object.name_any()))?;
        self.forge_again(object).await
    }

    /// Creates another object of a kind that was shown before to be one that the tenant could make.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn forge_again<K>(&self, object: &K) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let made = self.forged::<K>().create(&PostParams::default(), object).await;
        made.with_context(|| format!("cannot forge {} {}", K::kind(&()), object.name_any()))
    }

    /// Removes a forgery, with the finalizers that hold it, and waits until it is gone, whatever has its name then.
    ///
    /// # Errors
    /// When the API server refuses that.
    pub async fn remove<K>(&self, name: &str) -> Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let api = self.forged::<K>();
        let Some(uid) = api.get_metadata_opt(name).await?.and_then(|object| object.uid()) else { return Ok(()) };
        if let Err(error) = api.delete(name, &DeleteParams::default().grace_period(0)).await {
            return if is_gone(&error) { Ok(()) } else { Err(error.into()) };
        }
        release(&api, name).await?;
        until::probed(&format!("the forged {} {name} is gone", K::kind(&())), SOON * 2, async || {
            let now = api.get_metadata_opt(name).await?.and_then(|object| object.uid());
            Ok((now.as_ref() != Some(&uid)).then_some(()))
        })
        .await
    }

    /// Takes off what holds his objects, so that his namespace can go.
    ///
    /// # Errors
    /// When the API server refuses that.
    pub async fn leave(&self) -> Result<()> {
        for pod in self.forged::<Pod>().list_metadata(&ListParams::default()).await? {
            if pod.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
                release(&self.forged::<Pod>(), &pod.name_any()).await?;
            }
        }
        for claim in self.forged::<PersistentVolumeClaim>().list_metadata(&ListParams::default()).await? {
            if claim.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
                release(&self.forged::<PersistentVolumeClaim>(), &claim.name_any()).await?;
            }
        }
        Ok(())
    }
}

/// Takes the finalizer of a forgery off, and leaves those that the cluster put there. The cluster takes its own off at the
/// same time, and a list that puts them back is refused: so only what was read is changed, or it is read again.
async fn release<K>(api: &Api<K>, name: &str) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    until::probed(&format!("the forged {} {name} is held no more", K::kind(&())), SOON, async || {
        let Some(object) = api.get_metadata_opt(name).await? else { return Ok(Some(())) };
        let others: Vec<&String> = object.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).collect();
        if others.len() == object.finalizers().len() {
            return Ok(Some(()));
        }
        let version = object.resource_version();
        let patch = Patch::Merge(json!({"metadata": {"resourceVersion": version, "finalizers": others}}));
        match api.patch(name, &PatchParams::default(), &patch).await {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(error) if !is_gone(&error) => Err(error.into()),
            _ => Ok(Some(())),
        }
    })
    .await
}

fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// The same object under a name of its own, without labels and annotations.
fn plain<K: Serialize + DeserializeOwned>(object: &K) -> Result<K> {
    let mut value = serde_json::to_value(object)?;
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in ["name", "labels", "annotations"] {
            metadata.remove(key);
        }
        metadata.insert("generateName".to_owned(), json!("plain-"));
    }
    Ok(serde_json::from_value(value)?)
}

async fn impersonate(user: &str, groups: &[&str]) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(bed::path("KUBECONFIG")?)?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.auth_info.impersonate = Some(user.to_owned());
    let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
    config.auth_info.impersonate_groups = Some(groups).filter(|groups| !groups.is_empty());
    Client::try_from(config).with_context(|| format!("cannot speak as {user}"))
}
