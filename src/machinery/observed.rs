//! One claim's world at one moment, and how to read it. No I/O here: `observe` fills it, `decide` judges it.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
        storage::v1::StorageClass,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use kube::core::PartialObjectMeta;

use crate::{
    names::{Keys, SELECTED_NODE, annotation, worker_name},
    places::{Standing, Which, standing},
    populator::{ClaimRef, Notice, Recorded},
};

/// What a pass knows.
#[derive(Clone, Debug)]
pub(crate) struct Observed<S> {
    pub(crate) now: Timestamp,
    pub(crate) keys: Arc<Keys>,
    pub(crate) bind_deadline: Duration,
    pub(crate) claim_ref: ClaimRef,
    /// The claim with exactly that UID; that it is gone has been confirmed with the API server.
    pub(crate) claim: Option<Arc<PersistentVolumeClaim>>,
    /// The prime that is known to be ours.
    pub(crate) prime: Option<Arc<PersistentVolumeClaim>>,
    /// What has the prime's name in the source's namespace, and is not known to be it.
    pub(crate) stray: Option<Stray>,
    /// The volumes that prime and claim name, as the API server has them now, and those that carry our label.
    pub(crate) volumes: Vec<Arc<PersistentVolume>>,
    /// The workers that are left, in whatever phase: those that were recorded, and what an earlier process made.
    pub(crate) workers: Vec<Arc<PartialObjectMeta<Pod>>>,
    /// What the populator has written down.
    pub(crate) recorded: Recorded,
    /// Whether an earlier pass of this process saw the claim wait for its volume.
    pub(crate) in_flight: bool,
    /// Where source, prime and worker belong; the claim's own namespace once nothing tells any more.
    pub(crate) source_namespace: String,
    pub(crate) source: Source<S>,
    pub(crate) class: Class,
    /// The node that was selected for the claim, if its volume does not exist yet.
    pub(crate) node: Node,
}

/// An object with the prime's name.
#[derive(Clone, Debug)]
pub(crate) struct Stray {
    pub(crate) object: Arc<PersistentVolumeClaim>,
    /// Whether an earlier process of ours may have made it: then it is ours to delete, and to believe by nobody.
    pub(crate) unrecorded: bool,
}

impl Stray {
    /// The object, if an earlier process of ours may have made it.
    pub(crate) fn made(&self) -> Option<&Arc<PersistentVolumeClaim>> {
        self.unrecorded.then_some(&self.object)
    }
}

/// What the claim's `dataSourceRef` leads to.
#[derive(Clone, Debug)]
pub(crate) enum Source<S> {
    /// There it is, and the claim may use it.
    Found(Arc<S>),
    /// It may not be used, or is not there.
    Refused(Notice),
    /// Not looked for: nothing depends on it any more.
    Unread,
}

/// What the claim's `storageClassName` leads to.
#[derive(Clone, Debug)]
pub(crate) enum Class {
    Found { class: Arc<StorageClass>, has_driver: bool },
    Missing,
}

/// A node, as far as a volume could still be made for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// None is selected, or it does not matter any more.
    Unread,
    Usable,
    Cordoned,
    Gone,
}

/// What a prime is bound to.
#[derive(Clone, Debug)]
pub(crate) enum PrimeVolume<'a> {
    /// Nothing yet.
    Pending,
    /// A volume that is bound to it and to nobody else.
    Bound(&'a Arc<PersistentVolume>),
    /// The volume that it names is gone, going, or somebody else's.
    Lost(&'a str),
}

impl<S> Observed<S> {
    pub(crate) fn volume(&self, name: &str) -> Option<&Arc<PersistentVolume>> {
        self.volumes.iter().find(|volume| volume.metadata.name.as_deref() == Some(name))
    }

    /// The volume that was handed over to the claim, whether or not the claim is bound to it yet.
    pub(crate) fn handed_over(&self) -> Option<&Arc<PersistentVolume>> {
        self.volumes.iter().find(|volume| claimed_by(volume, &self.claim_ref.uid))
    }

    /// The prime, or what an earlier process made in its place: ours to delete, with its volume.
    pub(crate) fn made(&self) -> Option<&Arc<PersistentVolumeClaim>> {
        self.prime.as_ref().or(self.stray.as_ref().and_then(Stray::made))
    }

    pub(crate) fn prime_volume(&self) -> PrimeVolume<'_> {
        let Some(prime) = &self.prime else { return PrimeVolume::Pending };
        let Some(name) = volume_name(prime) else { return PrimeVolume::Pending };
        match self.volume(name) {
            Some(volume) if is_going(&volume.metadata) || !claimed_by(volume, uid(&prime.metadata)) => {
                PrimeVolume::Lost(name)
            }
            None => PrimeVolume::Lost(name),
            Some(_) if phase(prime) == "Lost" => PrimeVolume::Lost(name),
            Some(volume) if phase(prime) == "Bound" => PrimeVolume::Bound(volume),
            Some(_) => PrimeVolume::Pending,
        }
    }

    /// Whether the prime has waited for its volume at least that long.
    pub(crate) fn provisions_since(&self, at_least: Duration) -> bool {
        let Some(prime) = &self.prime else { return false };
        let since = prime.metadata.creation_timestamp.as_ref().map_or(self.now, |since| since.0);
        let waited = Duration::try_from(self.now.duration_since(since)).unwrap_or_default();
        matches!(self.prime_volume(), PrimeVolume::Pending) && waited >= at_least
    }

    /// Whether anything exists that was made for this claim and is not the claim's own by now.
    pub(crate) fn has_leftovers(&self) -> bool {
        self.prime.is_some() || self.stray.is_some() || !self.workers.is_empty()
    }

    /// Whether a worker that fills a prime is left; a populator may have other pods.
    pub(crate) fn has_worker(&self) -> bool {
        let worker = worker_name(&self.claim_ref.uid);
        self.workers
            .iter()
            .any(|pod| name(&pod.metadata) == worker && namespace(&pod.metadata) == self.source_namespace)
    }

    /// Whether a pod is the claim's own worker, by these records.
    pub(crate) fn is_worker(&self, recorded: &Recorded, pod: &ObjectMeta) -> bool {
        let of_the_claim = self.keys.claim_of(pod).is_some_and(|claim| claim.uid == self.claim_ref.uid);
        of_the_claim && standing(&self.keys, recorded, Which::Worker, pod) == Standing::Recorded
    }

    /// Whether the claim waits for a consumer: its class does, and the user did not say otherwise.
    pub(crate) fn waits_for_consumer(&self) -> bool {
        let Class::Found { class, .. } = &self.class else { return false };
        let Some(claim) = &self.claim else { return false };
        class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
            && annotation(&claim.metadata, &self.keys.bind_immediately) != Some("true")
    }
}

pub(crate) fn uid(meta: &ObjectMeta) -> &str {
    meta.uid.as_deref().unwrap_or_default()
}

pub(crate) fn name(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

pub(crate) fn namespace(meta: &ObjectMeta) -> &str {
    meta.namespace.as_deref().unwrap_or_default()
}

pub(crate) fn is_going(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some()
}

/// The volume that a claim names.
pub(crate) fn volume_name(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}

pub(crate) fn phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub(crate) fn selected_node(claim: &PersistentVolumeClaim) -> Option<&str> {
    annotation(&claim.metadata, SELECTED_NODE)
}

/// Whether a volume's claimRef carries this UID.
pub(crate) fn claimed_by(volume: &PersistentVolume, claim_uid: &str) -> bool {
    let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    claim.and_then(|claim| claim.uid.as_deref()) == Some(claim_uid)
}

pub(crate) fn reclaim_policy(volume: &PersistentVolume) -> &str {
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    policy.unwrap_or("Retain")
}

/// Whether a pod mounts (or is going to mount) this claim of its namespace.
pub(crate) fn names_claim(pod: &Pod, claim: &str) -> bool {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    volumes.iter().any(|volume| {
        volume.persistent_volume_claim.as_ref().is_some_and(|source| source.claim_name == claim)
            // A generic ephemeral volume names the claim <pod>-<volume>.
            || (volume.ephemeral.is_some() && format!("{}-{}", name(&pod.metadata), volume.name) == claim)
    })
}

/// Whether nothing of a pod runs any more, nor will. Its phase says so too, but a second later: the kubelet tidies up
/// first, and a claim need not wait for that.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    let (Some(spec), Some(status)) = (&pod.spec, &pod.status) else { return false };
    let ended = status.container_statuses.iter().flatten();
    let ended = ended.filter(|container| container.state.as_ref().is_some_and(|state| state.terminated.is_some()));
    let never_again = spec.restart_policy.as_deref() == Some("Never") && !spec.containers.is_empty();
    matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"))
        || (never_again && ended.count() == spec.containers.len())
}
