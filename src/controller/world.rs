//! Our own objects as the watches tell them, syncs and workers, and what follows from them for permits and queue.

use std::sync::Arc;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::{Client, Resource, ResourceExt, runtime::watcher};
use populator_crd::{
    names,
    v1alpha1::{SyncPhase, VMDiskSync},
};
use tokio::sync::mpsc;
use volume_populator::ClaimRef;

use crate::{
    cache::{Cache, Change, watch},
    gate::{self, permits::Permits, schedule::Place},
    sync::records::{claim_of, prune},
    worker::Worker,
};

/// Our own objects.
#[derive(Clone)]
pub struct World {
    /// The records of syncs.
    pub syncs: Arc<Cache<VMDiskSync>>,
    /// The worker pods.
    pub pods: Arc<Cache<Pod>>,
}

/// What changed in a [`World`].
pub struct Changes {
    /// Of syncs.
    pub syncs: mpsc::UnboundedReceiver<Change<VMDiskSync>>,
    /// Of workers.
    pub pods: mpsc::UnboundedReceiver<Change<Pod>>,
}

impl World {
    /// An empty world, and what will change in it.
    #[must_use]
    pub fn new() -> (Self, Changes) {
        let (syncs, sync_changes) = Cache::new(|sync: &VMDiskSync| Some(sync.spec.claim.uid.as_str()));
        let (pods, pod_changes) = Cache::new(claim_uid_of);
        let world = Self { syncs: Arc::new(syncs), pods: Arc::new(pods) };
        let changes = Changes { syncs: sync_changes, pods: pod_changes };
        (world, changes)
    }

    /// Starts the watches, and waits for their first lists.
    pub async fn watch(&self, client: &Client) {
        let workers = format!("{}={}", names::COMPONENT_LABEL, names::WORKER_COMPONENT);
        let mut syncs = watch(client.clone(), watcher::Config::default(), prune).boxed();
        let mut pods = watch(client.clone(), watcher::Config::default().labels(&workers), prune_pod).boxed();
        let world = self.clone();
        tokio::spawn(async move {
            while let Some(event) = syncs.next().await {
                world.syncs.apply(event);
            }
        });
        let world = self.clone();
        tokio::spawn(async move {
            while let Some(event) = pods.next().await {
                world.pods.apply(event);
            }
        });
        self.syncs.ready().await;
        self.pods.ready().await;
    }

    /// The worker of a sync.
    #[must_use]
    pub fn worker_of(&self, claim_uid: &str, sync_uid: &str) -> Option<Arc<Pod>> {
        self.pods.of_claim(claim_uid).into_iter().find(|pod| owner_of(pod) == Some(sync_uid))
    }

    /// The permits and the queue as these objects tell them.
    #[must_use]
    pub fn permits(&self, limit: usize, now: Timestamp) -> Permits {
        let syncs = self.syncs.all();
        let held = |sync: &&Arc<VMDiskSync>| {
            let worker = self.worker_of(&sync.spec.claim.uid, sync.metadata.uid.as_deref().unwrap_or_default());
            gate::still_held(phase(sync), &Worker::observe(worker.as_deref(), now))
        };
        let holders = syncs.iter().filter(held).filter_map(|sync| sync.uid());
        // A worker whose sync was deleted uses the network as well, until it is gone.
        let pods = self.pods.all();
        let live = pods.iter().filter(|pod| Worker::observe(Some(pod), now).is_live());
        let orphans = live.filter_map(|pod| owner_of(pod).map(str::to_owned));
        let waiting = syncs
            .iter()
            .filter(|sync| matches!(phase(sync), None | Some(SyncPhase::Queued)))
            .filter_map(|sync| Some((place(sync)?, claim_of(sync))));
        Permits::restore(limit, holders.chain(orphans), waiting)
    }

    /// The claims that have something unfinished: each needs a pass, also if nobody else knows of it any more.
    #[must_use]
    pub fn unfinished(&self) -> Vec<ClaimRef> {
        let syncs = self.syncs.all();
        let syncs = syncs.iter().filter(|sync| !phase(sync).is_some_and(SyncPhase::is_final));
        let pods = self.pods.all();
        let mut claims: Vec<ClaimRef> =
            syncs.map(|sync| claim_of(sync)).chain(pods.iter().filter_map(|pod| claim_of_pod(pod))).collect();
        claims.sort();
        claims.dedup();
        claims
    }
}

/// The UID of the sync that owns a worker.
#[must_use]
pub fn owner_of(pod: &Pod) -> Option<&str> {
    let owners = pod.metadata.owner_references.as_ref()?;
    let ours = owners.iter().find(|owner| owner.kind == VMDiskSync::kind(&()) && owner.controller == Some(true))?;
    Some(&ours.uid)
}

/// The claim that a worker serves.
#[must_use]
pub fn claim_of_pod(pod: &Pod) -> Option<ClaimRef> {
    let label = |key| pod.labels().get(key).cloned();
    Some(ClaimRef {
        namespace: label(names::CLAIM_NAMESPACE_LABEL)?,
        name: pod.annotations().get(names::CLAIM_NAME_ANNOTATION).cloned()?,
        uid: label(names::CLAIM_UID_LABEL)?,
    })
}

/// Whoever may create pods may give one our labels; only the controller's own name says that it made it.
fn claim_uid_of(pod: &Pod) -> Option<&str> {
    let uid = pod.labels().get(names::CLAIM_UID_LABEL)?;
    (pod.name_any() == names::worker(uid)).then_some(uid)
}

pub(crate) fn phase(sync: &VMDiskSync) -> Option<SyncPhase> {
    sync.status.as_ref()?.phase
}

/// The place in the queue: by the record, or since the record exists where nothing is written yet. A record that says
/// nothing of it was set aside, and joins again when its claim is asked for.
fn place(sync: &VMDiskSync) -> Option<Place> {
    let since = match &sync.status {
        Some(status) => status.enqueued_at.as_ref().map(|time| time.0),
        None => sync.metadata.creation_timestamp.as_ref().map(|time| time.0),
    };
    Some(Place { enqueued_at: since?, uid: sync.uid()? })
}

/// Keeps of a worker pod what is read here: who it is, and what its status says.
fn prune_pod(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    // The node is all that is read of the spec.
    pod.spec = pod.spec.take().map(|spec| PodSpec { node_name: spec.node_name, ..PodSpec::default() });
    if let Some(status) = &mut pod.status {
        status.pod_ips = None;
        status.host_ips = None;
        status.init_container_statuses = None;
        for container in status.container_statuses.iter_mut().flatten() {
            container.resources = None;
            container.allocated_resources = None;
            container.volume_mounts = None;
        }
    }
}

/// A pod from the answer to our own write, in the form that the watch keeps.
#[must_use]
pub fn pruned_pod(mut pod: Pod) -> Pod {
    prune_pod(&mut pod);
    pod
}

#[cfg(test)]
#[path = "world_tests.rs"]
mod tests;
