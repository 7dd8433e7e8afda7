//! A claim and a pod in the likeness of a prime and its worker, that no populator has to do with: what a claim costs on
//! this cluster whoever fills it. The pod ends as soon as it has begun.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, Pod, PodSpec};
use kube::api::ObjectMeta;

/// What ends at once, whatever the worker would have had to do.
const COMMAND: [&str; 2] = ["vmdisk-worker", "--version"];

/// The likeness of a prime and its worker.
#[derive(Clone, Debug)]
pub struct Likeness {
    claim: PersistentVolumeClaimSpec,
    pod: PodSpec,
}

impl Likeness {
    /// Takes it from those that were seen.
    ///
    /// # Errors
    /// When they have no spec.
    pub fn of(prime: &PersistentVolumeClaim, worker: &Pod) -> Result<Self> {
        let claim = prime.spec.clone().context("a prime has a spec")?;
        let mut pod = worker.spec.clone().context("a worker has a spec")?;
        // The scheduler's part.
        pod.node_name = None;
        for container in &mut pod.containers {
            container.command = Some(COMMAND.map(str::to_owned).into());
        }
        Ok(Self { claim: PersistentVolumeClaimSpec { volume_name: None, ..claim }, pod })
    }

    /// The claim of this name.
    #[must_use]
    pub fn claim(&self, name: &str) -> PersistentVolumeClaim {
        PersistentVolumeClaim { metadata: named(name), spec: Some(self.claim.clone()), status: None }
    }

    /// The pod of this name, which mounts the claim of the same name.
    #[must_use]
    pub fn pod(&self, name: &str) -> Pod {
        let mut spec = self.pod.clone();
        let sources = spec.volumes.iter_mut().flatten().filter_map(|volume| volume.persistent_volume_claim.as_mut());
        for source in sources {
            name.clone_into(&mut source.claim_name);
        }
        Pod { metadata: named(name), spec: Some(spec), status: None }
    }
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

#[cfg(test)]
#[path = "likeness_tests.rs"]
mod tests;
