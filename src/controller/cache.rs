//! What the watches have seen of our own objects, kept by the claim that they serve.
//!
//! A pass that follows a write of ours must see what it wrote, though the watch may not have told yet: so the answers of
//! our own writes go in here too, and the newer of two versions wins (resource versions of one kind are ordered:
//! Kubernetes API concepts, "Resource versions").

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Debug,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{Stream, TryStreamExt};
use kube::{
    Client, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use volume_populator::watch_readable;

/// The claim's UID, the object's namespace and name.
type Key = (String, String, String);

/// How many deleted objects are remembered, so that the answer to a write that raced with a deletion does not bring one
/// back.
const REMEMBERED_DELETIONS: usize = 256;

/// Says which claim an object serves, by the claim's UID; `None`: it is not ours.
pub type ClaimOf<K> = fn(&K) -> Option<&str>;

/// Says whether an object is worth keeping. One that is not any more leaves the cache; its last state is told all the same.
pub type Worth<K> = Box<dyn Fn(&K) -> bool + Send + Sync>;

/// Objects of one kind by the claim's UID.
pub struct Cache<K> {
    claim_of: ClaimOf<K>,
    worth: Worth<K>,
    objects: Mutex<Objects<K>>,
    ready: watch::Sender<bool>,
    changes: mpsc::UnboundedSender<Change<K>>,
}

/// One object that changed: as it is now, or was last.
#[derive(Clone, Debug)]
pub struct Change<K> {
    /// The object.
    pub object: Arc<K>,
    /// Whether it was our own write: then whoever wrote knows already.
    pub ours: bool,
}

struct Objects<K> {
    by_key: BTreeMap<Key, Arc<K>>,
    /// Keys that a list that is under way has not confirmed yet.
    unconfirmed: BTreeSet<Key>,
    deleted: VecDeque<String>,
    /// UID and version of what left because it was not worth keeping any more: older versions bring it back no more than
    /// a late answer does what was deleted.
    left: VecDeque<(String, u64)>,
}

impl<K> Cache<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    /// An empty cache, and what will change in it.
    #[must_use]
    pub fn new(claim_of: ClaimOf<K>, worth: Worth<K>) -> (Self, mpsc::UnboundedReceiver<Change<K>>) {
        let (changes, receiver) = mpsc::unbounded_channel();
        let objects = Objects {
            by_key: BTreeMap::new(),
            unconfirmed: BTreeSet::new(),
            deleted: VecDeque::new(),
            left: VecDeque::new(),
        };
        let cache = Self { claim_of, worth, objects: Mutex::new(objects), ready: watch::Sender::new(false), changes };
        (cache, receiver)
    }

    /// Everything that serves the claim with this UID.
    #[must_use]
    pub fn of_claim(&self, uid: &str) -> Vec<Arc<K>> {
        let first = (uid.to_owned(), String::new(), String::new());
        self.lock()
            .by_key
            .range(first..)
            .take_while(|((claim, _, _), _)| claim == uid)
            .map(|(_, object)| Arc::clone(object))
            .collect()
    }

    /// Everything.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<K>> {
        self.lock().by_key.values().map(Arc::clone).collect()
    }

    /// Takes in the answer of a write of ours.
    pub fn wrote(&self, object: K) {
        let worth = (self.worth)(&object);
        let changed = self.lock().insert(self.claim_of, object, false, worth);
        self.tell(changed, true);
    }

    /// Takes in one event of the watch.
    pub fn apply(&self, event: Event<K>) {
        // Outside the lock: what is worth keeping may depend on other caches.
        let worth = match &event {
            Event::InitApply(object) | Event::Apply(object) => (self.worth)(object),
            Event::Init | Event::InitDone | Event::Delete(_) => false,
        };
        let mut objects = self.lock();
        match event {
            Event::Init => objects.unconfirmed = objects.by_key.keys().cloned().collect(),
            Event::InitApply(object) | Event::Apply(object) => {
                let changed = objects.insert(self.claim_of, object, true, worth);
                self.tell(changed, false);
            }
            Event::Delete(object) => {
                let gone = objects.remove(self.claim_of, &object);
                self.tell(gone, false);
            }
            Event::InitDone => {
                for key in mem::take(&mut objects.unconfirmed) {
                    let gone = objects.by_key.remove(&key);
                    self.tell(gone, false);
                }
                self.ready.send_replace(true);
            }
        }
    }

    fn tell(&self, object: Option<Arc<K>>, ours: bool) {
        if let Some(object) = object {
            // No receiver: the process is going down.
            let _ = self.changes.send(Change { object, ours });
        }
    }

    /// Waits for the end of the first list: what is absent from then on is absent.
    pub async fn ready(&self) {
        // The sender lives in self, so the wait can only end with success.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    fn lock(&self) -> MutexGuard<'_, Objects<K>> {
        // Nothing panics while it holds the lock.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Resource<DynamicType = ()>> Objects<K> {
    fn insert(&mut self, claim_of: ClaimOf<K>, object: K, seen: bool, worth: bool) -> Option<Arc<K>> {
        let key = key_of(claim_of, &object)?;
        if seen {
            self.unconfirmed.remove(&key);
        }
        let uid = object.meta().uid.clone().unwrap_or_default();
        if self.deleted.contains(&uid) {
            return None;
        }
        let version = version(&object);
        if self.left.iter().any(|(left, at)| *left == uid && version <= *at) {
            return None;
        }
        let known = self.by_key.get(&key);
        // Of two objects of one name the older UID is gone; of one object the newer version counts.
        let newer = known.is_none_or(|known| version > self::version(&**known));
        if !newer {
            return None;
        }
        let object = Arc::new(object);
        if worth {
            self.by_key.insert(key, Arc::clone(&object));
            return Some(object);
        }
        // Told once, when it leaves; what was never kept is no news.
        self.by_key.remove(&key)?;
        self.left.push_back((uid, version));
        if self.left.len() > REMEMBERED_DELETIONS {
            self.left.pop_front();
        }
        Some(object)
    }

    fn remove(&mut self, claim_of: ClaimOf<K>, object: &K) -> Option<Arc<K>> {
        let key = key_of(claim_of, object)?;
        let uid = object.meta().uid.clone().unwrap_or_default();
        self.deleted.push_back(uid.clone());
        if self.deleted.len() > REMEMBERED_DELETIONS {
            self.deleted.pop_front();
        }
        // A later object of the same name is another one.
        let same = self.by_key.get(&key).is_some_and(|known| known.meta().uid.as_deref() == Some(uid.as_str()));
        if same { self.by_key.remove(&key) } else { None }
    }
}

fn key_of<K: Resource<DynamicType = ()>>(claim_of: ClaimOf<K>, object: &K) -> Option<Key> {
    let claim = claim_of(object)?.to_owned();
    Some((claim, object.namespace().unwrap_or_default(), object.name_any()))
}

fn version(object: &impl Resource) -> u64 {
    let version = object.meta().resource_version.as_deref();
    version.and_then(|version| version.parse().ok()).unwrap_or_default()
}

/// The events of a watch that never ends: errors are retried with back-off and logged.
pub fn watch<K>(client: Client, config: watcher::Config, prune: fn(&mut K)) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    use futures::StreamExt;

    watch_readable(client, config)
        .default_backoff()
        .modify(prune)
        .inspect_err(|error| tracing::warn!(kind = %K::kind(&()), %error, "the watch was interrupted and goes on"))
        .filter_map(|event| std::future::ready(event.ok()))
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
