//! What exists because a claim was to be filled: on the cluster, and on the machine under it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};
use populator_crd::names;

use super::{Bed, Scene, until};
use crate::instance::Instance;
use crate::machine::Storage;

/// One claim, remembered beyond its end.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// What there is for one claim, but for the claim itself, its image and its syncs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// The UID of its prime.
    pub prime: Option<String>,
    /// The UID of its worker.
    pub worker: Option<String>,
    /// The names of volumes that are reserved for it or its prime.
    pub volumes: Vec<String>,
    /// The volumes that the CSI driver has for it, whether Kubernetes knows them or not.
    pub disks: Vec<String>,
}

impl Remembered {
    /// Notes which claim it is.
    ///
    /// # Errors
    /// When the API server has not stored it.
    pub fn new(claim: &PersistentVolumeClaim) -> Result<Self> {
        let namespace = claim.namespace().context("a stored claim has a namespace")?;
        let uid = claim.uid().context("a stored claim has a UID")?;
        Ok(Self { namespace, name: claim.name_any(), uid })
    }

    /// The name of its prime.
    #[must_use]
    pub fn prime(&self) -> String {
        names::prime(&self.uid)
    }

    /// The name of its worker.
    #[must_use]
    pub fn worker(&self) -> String {
        names::worker(&self.uid)
    }

    /// Looks for everything that was made for it in its own namespace.
    ///
    /// # Errors
    /// When the API server or the driver's files cannot be read.
    pub async fn traces(&self, bed: &Bed) -> Result<Traces> {
        let scene = Scene { bed: bed.clone(), namespace: self.namespace.clone() };
        let volumes = Api::<PersistentVolume>::all(bed.client.clone()).list(&ListParams::default()).await?;
        let storage = Storage::read(&Instance::current()?)?;
        Ok(Traces {
            prime: uid(&scene.api::<PersistentVolumeClaim>(), &self.prime()).await?,
            worker: uid(&scene.api::<Pod>(), &self.worker()).await?,
            volumes: volumes.iter().filter(|volume| self.has(volume)).map(ResourceExt::name_any).collect(),
            disks: storage
                .of_namespace(&self.namespace)
                .into_iter()
                .filter(|volume| volume.claim == self.prime())
                .map(|volume| volume.id.clone())
                .collect(),
        })
    }

    /// Waits until nothing is left of it, nor of anything else that is gone.
    ///
    /// # Errors
    /// When something is after the deadline; the error shows what.
    pub async fn until_gone(&self, bed: &Bed, deadline: Duration) -> Result<()> {
        self.until(bed, "nothing of it is left", deadline, |traces| *traces == Traces::default()).await
    }

    /// Waits until it has its volume, and nothing else is left.
    ///
    /// # Errors
    /// When that is not so after the deadline; the error shows what there is.
    pub async fn until_settled(&self, bed: &Bed, deadline: Duration) -> Result<()> {
        let settled = |traces: &Traces| {
            traces.prime.is_none() && traces.worker.is_none() && (traces.volumes.len(), traces.disks.len()) == (1, 1)
        };
        self.until(bed, "nothing but its volume is left", deadline, settled).await
    }

    /// Whether a volume is reserved for the claim itself, bound or not.
    ///
    /// # Errors
    /// When the API server cannot be read.
    pub async fn is_reserved(&self, bed: &Bed) -> Result<bool> {
        let volumes = Api::<PersistentVolume>::all(bed.client.clone()).list(&ListParams::default()).await?;
        Ok(volumes.iter().any(|volume| claim_of(volume).is_some_and(|claim| claim.uid.as_ref() == Some(&self.uid))))
    }

    async fn until(&self, bed: &Bed, what: &str, deadline: Duration, is: impl Fn(&Traces) -> bool) -> Result<()> {
        until::probed(&format!("claim {}: {what}", self.name), deadline, async || {
            let traces = self.traces(bed).await?;
            ensure!(is(&traces), "there are {traces:?}");
            Storage::read(&Instance::current()?)?.assert_clean()?;
            Ok(Some(()))
        })
        .await
    }

    fn has(&self, volume: &PersistentVolume) -> bool {
        claim_of(volume).is_some_and(|claim| {
            claim.uid.as_ref() == Some(&self.uid)
                || claim.namespace.as_ref() == Some(&self.namespace) && claim.name == Some(self.prime())
        })
    }
}

/// The names of primes and workers in the test's namespace, of a populator by its label with the claim's UID.
///
/// # Errors
/// When the API server cannot be read.
pub async fn primes_and_workers(scene: &Scene, label: &str) -> Result<Vec<String>> {
    let labelled = ListParams::default().labels(label);
    let primes = scene.api::<PersistentVolumeClaim>().list_metadata(&labelled).await?;
    let workers = scene.api::<Pod>().list_metadata(&labelled).await?;
    Ok(primes.iter().map(ResourceExt::name_any).chain(workers.iter().map(ResourceExt::name_any)).collect())
}

fn claim_of(volume: &PersistentVolume) -> Option<&ObjectReference> {
    volume.spec.as_ref()?.claim_ref.as_ref()
}

/// The UID of the object of this name, if there is one.
///
/// # Errors
/// When the API server cannot be read.
pub async fn uid<K>(api: &Api<K>, name: &str) -> Result<Option<String>>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    Ok(api.get_metadata_opt(name).await?.and_then(|object| object.uid()))
}
