//! Our own objects as the watches tell them, syncs and workers, and what follows from them for permits and queue.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::{
    Client, Resource, ResourceExt,
    runtime::watcher::{self, Event},
};
use populator_crd::{
    names,
    v1alpha1::{GoldenPhase, GoldenRecord, Purpose, SyncPhase, VMDiskSync},
};
use tokio::sync::mpsc;
use volume_populator::ClaimRef;

use crate::{
    cache::{Cache, Change, Worth, watch},
    gate::{self, Lane, permits::Permits, schedule::Place},
    golden::told::Preloads,
    ledger::Ledger,
    policy::Policy,
    sync::{
        records::{claim_of, prune},
        transition, verdict,
    },
    worker::Worker,
};

/// The most owners that are kept of a pod. One of ours has one.
const OWNERS_LIMIT: usize = 8;

/// Our own objects.
#[derive(Clone)]
pub struct World {
    /// The records of syncs, but for those that are done.
    pub syncs: Arc<Cache<VMDiskSync>>,
    /// The pods that have a worker's name and are where that worker would be. Only [`World::worker_of`] says which is.
    pub pods: Arc<Cache<Pod>>,
    /// What is done, image by image.
    pub ledger: Arc<Ledger>,
    /// Where the preloads of images stand.
    pub preloads: Arc<Preloads>,
    vouched: Arc<Mutex<Vouched>>,
}

/// The UIDs that records tell, or will tell.
#[derive(Default)]
struct Vouched {
    /// The sync of each worker pod.
    pods: HashMap<String, String>,
    /// What a record does not say yet.
    notes: HashMap<String, Notes>,
}

/// What was made for a sync and is not written into its record yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// The UID of the prime.
    pub prime_uid: Option<String>,
    /// The UID of the worker.
    pub pod_uid: Option<String>,
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
        let not_done: Worth<VMDiskSync> = Box::new(|sync| !is_done(sync));
        let (syncs, sync_changes) = Cache::new(|sync: &VMDiskSync| Some(sync.spec.claim.uid.as_str()), not_done);
        let syncs = Arc::new(syncs);
        let of_pods = Arc::clone(&syncs);
        // Labels are anybody's to write. A pod of ours has its record first, and is in its namespace.
        let in_place = move |pod: &Pod| {
            let claim = claim_uid_of(pod).unwrap_or_default();
            of_pods.of_claim(claim).iter().any(|sync| sync.metadata.namespace == pod.metadata.namespace)
        };
        let (pods, pod_changes) = Cache::new(claim_uid_of, Box::new(in_place));
        let world = Self {
            syncs,
            pods: Arc::new(pods),
            ledger: Arc::default(),
            preloads: Arc::default(),
            vouched: Arc::default(),
        };
        let changes = Changes { syncs: sync_changes, pods: pod_changes };
        (world, changes)
    }

    /// Runs the watches, for as long as the process lives. Workers are watched once the records are known: by these they
    /// are told from what only looks like one.
    pub async fn watch(self, client: Client) {
        let workers = format!("{}={}", names::COMPONENT_LABEL, names::WORKER_COMPONENT);
        let syncs = async {
            let mut events = pin!(watch(client.clone(), watcher::Config::default(), prune));
            while let Some(event) = events.next().await {
                self.take(event);
            }
        };
        let pods = async {
            self.syncs.ready().await;
            let mut events = pin!(watch(client.clone(), watcher::Config::default().labels(&workers), prune_pod));
            while let Some(event) = events.next().await {
                self.pods.apply(event);
            }
        };
        tokio::join!(syncs, pods);
    }

    /// Waits until everything has been listed once.
    pub async fn ready(&self) {
        self.syncs.ready().await;
        self.pods.ready().await;
    }

    /// Takes in one event of the watch of records.
    fn take(&self, event: Event<VMDiskSync>) {
        self.ledger.apply(&event);
        if let Event::Apply(sync) | Event::InitApply(sync) = &event {
            self.vouch_for(sync);
        }
        self.syncs.apply(event);
    }

    /// What a record says is to be believed: nobody but us writes one.
    pub fn vouch_for(&self, sync: &VMDiskSync) {
        let pod = sync.status.as_ref().and_then(|status| status.pod_uid.as_ref());
        if let (Some(pod), Some(uid), false) = (pod, sync.uid(), is_done(sync)) {
            self.vouched().pods.insert(pod.clone(), uid);
        }
    }

    /// A prime was made for this sync; its record will say so with the next thing that it says.
    pub fn note_prime(&self, sync_uid: &str, prime_uid: &str) {
        self.vouched().notes.entry(sync_uid.into()).or_default().prime_uid = Some(prime_uid.into());
    }

    /// A worker was made for this sync.
    pub fn note_pod(&self, sync_uid: &str, pod_uid: &str) {
        let mut vouched = self.vouched();
        vouched.pods.insert(pod_uid.into(), sync_uid.into());
        vouched.notes.entry(sync_uid.into()).or_default().pod_uid = Some(pod_uid.into());
    }

    /// What the record of a sync does not say yet.
    #[must_use]
    pub fn notes(&self, sync_uid: &str) -> Notes {
        self.vouched().notes.get(sync_uid).cloned().unwrap_or_default()
    }

    /// The record of a sync was written, with these notes in it or made void by it.
    pub fn noted(&self, sync_uid: &str, written: &Notes) {
        let mut vouched = self.vouched();
        if vouched.notes.get(sync_uid) == Some(written) {
            vouched.notes.remove(sync_uid);
        }
    }

    /// A pod is gone.
    pub fn forget_pod(&self, pod: &Pod) {
        self.vouched().pods.remove(pod.metadata.uid.as_deref().unwrap_or_default());
    }

    /// A sync is gone.
    pub fn forget_notes(&self, sync_uid: &str) {
        self.vouched().notes.remove(sync_uid);
    }

    fn vouched(&self) -> MutexGuard<'_, Vouched> {
        // Nothing panics while it holds the lock.
        self.vouched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sync that a pod works for, by the records and by nothing that the pod says.
    #[must_use]
    pub fn sync_of(&self, pod: &Pod) -> Option<String> {
        self.vouched().pods.get(pod.metadata.uid.as_deref()?).cloned()
    }

    /// The record of a claim's sync, unless it is done.
    #[must_use]
    pub fn sync(&self, claim_uid: &str, sync_uid: &str) -> Option<Arc<VMDiskSync>> {
        let mut syncs = self.syncs.of_claim(claim_uid).into_iter();
        syncs.find(|sync| sync.metadata.uid.as_deref() == Some(sync_uid))
    }

    /// What the worker of a sync is doing.
    #[must_use]
    pub fn worker(&self, claim_uid: &str, sync_uid: &str, now: Timestamp) -> Worker {
        Worker::observe(self.worker_of(claim_uid, sync_uid).as_deref(), now)
    }

    /// The worker of a sync: the pod that its record names, or will. Of a sync that is gone, or done, whatever pod is left.
    #[must_use]
    pub fn worker_of(&self, claim_uid: &str, sync_uid: &str) -> Option<Arc<Pod>> {
        let named = self.sync(claim_uid, sync_uid).map(|sync| {
            let written = sync.status.as_ref().and_then(|status| status.pod_uid.clone());
            self.notes(sync_uid).pod_uid.or(written)
        });
        let mut pods = self.pods.of_claim(claim_uid).into_iter();
        pods.find(|pod| {
            let ours = self.sync_of(pod).as_deref() == Some(sync_uid);
            ours && named.as_ref().is_none_or(|named| *named == pod.metadata.uid)
        })
    }

    /// The permits and the queue as these objects tell them.
    #[must_use]
    pub fn permits(&self, lane: Lane, policy: &Policy, now: Timestamp) -> Permits {
        let mut syncs = self.syncs.all();
        syncs.retain(|sync| Lane::of_status(sync.status.as_ref()) == lane);
        let held = |sync: &&Arc<VMDiskSync>| {
            let uid = sync.metadata.uid.as_deref().unwrap_or_default();
            gate::still_held(sync.status.as_ref(), &self.worker(&sync.spec.claim.uid, uid, now), policy, now)
        };
        let holders = syncs.iter().filter(held).filter_map(|sync| sync.uid());
        let waiting = syncs
            .iter()
            .filter(|sync| matches!(phase(sync), None | Some(SyncPhase::Queued)))
            .filter_map(|sync| Some((place(sync)?, claim_of(sync))));
        Permits::restore(lane.limit(policy), holders, waiting)
    }

    /// The inspectors that are on their way or at work.
    #[must_use]
    pub fn inspectors(&self, now: Timestamp) -> usize {
        let pods = self.pods.all();
        let ours = pods.iter().filter(|pod| is_inspector(pod) && self.sync_of(pod).is_some());
        ours.filter(|pod| Worker::observe(Some(pod), now).is_live()).count()
    }

    /// The claims that have something unfinished: each needs a pass, also if nobody else knows of it any more.
    #[must_use]
    pub fn unfinished(&self) -> Vec<ClaimRef> {
        let syncs = self.syncs.all();
        let unfinished = syncs.iter().filter(|sync| !phase(sync).is_some_and(SyncPhase::is_final));
        let mut claims: Vec<ClaimRef> = unfinished.map(|sync| claim_of(sync)).collect();
        claims.sort();
        claims.dedup();
        claims
    }

    /// The records of the masters of an image, by its name: an image that was deleted and applied again finds what was made
    /// for the one before.
    #[must_use]
    pub fn masters(&self, namespace: &str, image: &str) -> Vec<Arc<VMDiskSync>> {
        let of_image = |sync: &Arc<VMDiskSync>| {
            sync.spec.purpose == Purpose::Master
                && sync.metadata.namespace.as_deref() == Some(namespace)
                && sync.spec.image.name == image
        };
        self.syncs.all().into_iter().filter(of_image).collect()
    }

    /// The syncs of an image that are not done.
    #[must_use]
    pub fn of_image(&self, image_uid: &str) -> Vec<Arc<VMDiskSync>> {
        self.syncs.all().into_iter().filter(|sync| sync.spec.image.uid == image_uid).collect()
    }
}

/// Whether nothing will ever have to be done for a sync again: its claim is bound, or gone and nothing of it is left. It
/// costs no memory then. What it found out about an image that cannot be had is still needed.
pub(crate) fn is_done(sync: &VMDiskSync) -> bool {
    match phase(sync) {
        // Golden data outlives the filling of its master.
        _ if golden(sync).is_some_and(|golden| golden.phase != GoldenPhase::Pruned) => false,
        Some(SyncPhase::Succeeded) => sync.spec.purpose != Purpose::Master || golden(sync).is_some(),
        Some(SyncPhase::Cancelled) => !verdict::is_finding(sync),
        _ => false,
    }
}

/// The UID of the sync that a pod names as its owner. Anybody can write that: it says what a pod may be removed with, and
/// nothing else.
#[must_use]
pub fn owner_of(pod: &Pod) -> Option<&str> {
    let owners = pod.metadata.owner_references.as_ref()?;
    let ours = owners.iter().find(|owner| owner.kind == VMDiskSync::kind(&()) && owner.controller == Some(true))?;
    Some(&ours.uid)
}

/// Whether a pod only asks whether a source can be had.
#[must_use]
pub fn is_inspector(pod: &Pod) -> bool {
    claim_uid_of(pod).is_some_and(|uid| pod.name_any() == names::inspector(uid))
}

/// Whoever may create pods may give one our labels; only the controller's own names are looked at.
fn claim_uid_of(pod: &Pod) -> Option<&str> {
    let uid = pod.labels().get(names::CLAIM_UID_LABEL)?;
    let name = pod.name_any();
    (name == names::worker(uid) || name == names::inspector(uid)).then_some(uid)
}

/// The golden data that a record tells of.
pub(crate) fn golden(sync: &VMDiskSync) -> Option<&GoldenRecord> {
    sync.status.as_ref()?.golden.as_deref()
}

pub(crate) fn phase(sync: &VMDiskSync) -> Option<SyncPhase> {
    sync.status.as_ref()?.phase
}

/// The place in the queue: by the record, or since the record exists where nothing is written yet. A record that says
/// something, and nothing of that, was set aside, and joins again when its claim is asked for.
fn place(sync: &VMDiskSync) -> Option<Place> {
    let enqueued_at = match &sync.status {
        Some(status) if !transition::is_new(status) => status.enqueued_at.as_ref()?.0,
        _ => sync.metadata.creation_timestamp.as_ref()?.0,
    };
    Some(Place { enqueued_at, uid: sync.uid()? })
}

/// Keeps of a worker pod what is read here: who it is, and what its status says.
fn prune_pod(pod: &mut Pod) {
    let meta = &mut pod.metadata;
    meta.managed_fields = None;
    meta.annotations = None;
    meta.finalizers = None;
    if let Some(labels) = &mut meta.labels {
        labels.retain(|key, _| key == names::CLAIM_UID_LABEL);
    }
    if let Some(owners) = &mut meta.owner_references {
        owners.truncate(OWNERS_LIMIT);
    }
    // The node is all that is read of the spec.
    pod.spec = pod.spec.take().map(|spec| PodSpec { node_name: spec.node_name, ..PodSpec::default() });
    if let Some(status) = &mut pod.status {
        status.pod_ips = None;
        status.host_ips = None;
        for container in status.container_statuses.iter_mut().chain(&mut status.init_container_statuses).flatten() {
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
