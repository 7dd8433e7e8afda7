//! Plays everybody who would otherwise need nodes and a driver: the provisioner ([`provisioner`]), the scheduler and the
//! kubelet ([`kubelet`]), as far as they concern primes and workers; and keeps account of what workers fetched and wrote
//! ([`account`]).

pub mod account;
mod kubelet;
mod provisioner;

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;
use tokio::task::JoinSet;

use account::Account;

/// The name of the driver that is played.
pub const DRIVER: &str = "stage.csi.vmdisk.dev";
/// The nodes that are played.
pub const NODES: [&str; 2] = ["stage-node-1", "stage-node-2"];

/// What the actor knows of the cluster, as its watches tell.
pub(crate) struct World {
    client: Client,
    account: Arc<Mutex<Account>>,
    claims: Mutex<HashMap<(String, String), Arc<PersistentVolumeClaim>>>,
    pods: Mutex<HashMap<String, Arc<Pod>>>,
    /// Moves with every change of the above and of the account.
    changed: watch::Sender<u64>,
}

/// The actor; it stops when this is dropped.
pub struct Actor {
    world: Arc<World>,
    _tasks: JoinSet<()>,
}

impl Actor {
    /// Starts to play.
    pub(crate) fn start(client: Client) -> Self {
        let world = Arc::new(World {
            client,
            account: Arc::default(),
            claims: Mutex::default(),
            pods: Mutex::default(),
            changed: watch::channel(0).0,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(claims(Arc::clone(&world)));
        tasks.spawn(volumes(Arc::clone(&world)));
        tasks.spawn(pods(Arc::clone(&world)));
        Self { world, _tasks: tasks }
    }

    /// The account, to read, or to say how workers end.
    pub fn account(&self) -> MutexGuard<'_, Account> {
        lock(&self.world.account)
    }

    /// Lets workers go on that hang with this image.
    pub fn release(&self, image: &str) {
        self.account().release(image);
        self.world.bump();
    }
}

impl World {
    fn account(&self) -> MutexGuard<'_, Account> {
        lock(&self.account)
    }

    fn bump(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    fn claim(&self, namespace: &str, name: &str) -> Option<Arc<PersistentVolumeClaim>> {
        lock(&self.claims).get(&(namespace.to_owned(), name.to_owned())).map(Arc::clone)
    }

    /// The pod as it is now; `None` when it is gone.
    fn pod(&self, uid: &str) -> Option<Arc<Pod>> {
        lock(&self.pods).get(uid).map(Arc::clone)
    }

    /// Waits until `look` gives something.
    async fn until<T>(&self, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let mut changes = self.changed.subscribe();
        loop {
            changes.mark_unchanged();
            changes.borrow_and_update();
            if let Some(found) = look(self) {
                return found;
            }
            // The sender lives as long as the world.
            let _ = changes.changed().await;
        }
    }
}

async fn claims(world: Arc<World>) {
    let api: Api<PersistentVolumeClaim> = Api::all(world.client.clone());
    let mut seen = pin!(watcher(api, watcher::Config::default()).default_backoff());
    while let Some(event) = seen.next().await {
        match event {
            Ok(Event::Init) => lock(&world.claims).clear(),
            Ok(Event::InitApply(claim) | Event::Apply(claim)) => {
                let claim = Arc::new(claim);
                let key = (claim.namespace().unwrap_or_default(), claim.name_any());
                lock(&world.claims).insert(key, Arc::clone(&claim));
                if provisioner::is_wanted(&claim) {
                    tokio::spawn(provisioner::provision(Arc::clone(&world), claim));
                }
            }
            Ok(Event::Delete(claim)) => {
                let key = (claim.namespace().unwrap_or_default(), claim.name_any());
                lock(&world.claims).remove(&key);
            }
            Ok(Event::InitDone) => {}
            Err(error) => tracing::warn!(%error, "the watch of claims broke off"),
        }
        world.bump();
    }
}

async fn volumes(world: Arc<World>) {
    let api: Api<PersistentVolume> = Api::all(world.client.clone());
    let mut seen = pin!(watcher(api, watcher::Config::default()).default_backoff().applied_objects());
    while let Some(event) = seen.next().await {
        let Ok(volume) = event else { continue };
        let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
        if let Some(uid) = reference.and_then(|reference| reference.uid.as_deref()) {
            world.account().reserved(&volume.name_any(), uid);
        }
        if provisioner::is_abandoned(&volume) {
            tokio::spawn(provisioner::delete(world.client.clone(), volume));
        }
    }
}

async fn pods(world: Arc<World>) {
    let api: Api<Pod> = Api::all(world.client.clone());
    let mut seen = pin!(watcher(api, watcher::Config::default()).default_backoff());
    while let Some(event) = seen.next().await {
        match event {
            Ok(Event::Init) => lock(&world.pods).clear(),
            Ok(Event::InitApply(pod) | Event::Apply(pod)) => {
                let uid = pod.uid().unwrap_or_default();
                let pod = Arc::new(pod);
                if lock(&world.pods).insert(uid, Arc::clone(&pod)).is_none() {
                    tokio::spawn(kubelet::run(Arc::clone(&world), pod));
                }
            }
            Ok(Event::Delete(pod)) => {
                lock(&world.pods).remove(&pod.uid().unwrap_or_default());
            }
            Ok(Event::InitDone) => {}
            Err(error) => tracing::warn!(%error, "the watch of pods broke off"),
        }
        world.bump();
    }
}

/// Asks until the API server answers for good: nobody who is played gives up because the machine is busy.
///
/// # Errors
/// What it answers with.
pub async fn persist<T, F: Future<Output = kube::Result<T>>>(mut call: impl FnMut() -> F) -> kube::Result<T> {
    const PAUSE: Duration = Duration::from_millis(100);
    loop {
        match call().await {
            Err(kube::Error::Api(status)) if status.code < 500 && status.code != 429 => {
                return Err(kube::Error::Api(status));
            }
            Err(error) => tracing::debug!(%error, "the API server does not answer; asking again"),
            answer => return answer,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
