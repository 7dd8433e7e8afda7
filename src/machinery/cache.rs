//! What the watches have seen, kept by claim.
//!
//! A reflector store is keyed by name; a pass needs everything that belongs to one claim's UID, also when the claim and
//! with it the names are gone, and it must hear of objects that vanished while a watch was down. So this store drops
//! what belongs to no claim of ours before it is kept, indexes the rest by the claim's UID, and tells after each event
//! which claims to look at.
//!
//! A pass that follows a write must see what was written, though the watch may not have told yet, or it would write it
//! twice. So the answers to our own writes go in here too, and the newer of two versions wins (the resource versions of
//! one kind are ordered: Kubernetes API concepts, "Resource versions").

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    mem,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use kube::{Resource, runtime::watcher::Event};
use tokio::sync::watch;

use crate::populator::ClaimRef;

/// Namespace and name.
type Key = (String, String);

/// How many deleted objects are remembered, so that the late answer to a write brings none back.
const REMEMBERED_DELETIONS: usize = 1024;

/// Says which claim an object belongs to; `None`: to none of ours.
pub(crate) type OwnerOf<K> = Box<dyn Fn(&K) -> Option<ClaimRef> + Send + Sync>;

/// Says whether an object that is not kept yet is worth it. What is kept already stays until it is deleted or forgotten.
pub(crate) type Worth<K> = Box<dyn Fn(&K) -> bool + Send + Sync>;

/// Takes off an object what nobody here reads.
pub(crate) type Prune<K> = Box<dyn Fn(&mut K) + Send + Sync>;

/// Objects of one kind, by the claim that they belong to.
pub(crate) struct Cache<K> {
    owner_of: OwnerOf<K>,
    worth: Worth<K>,
    prune: Prune<K>,
    objects: RwLock<Objects<K>>,
    ready: watch::Sender<bool>,
}

struct Objects<K> {
    by_key: HashMap<Key, (ClaimRef, Arc<K>)>,
    by_claim: HashMap<String, BTreeSet<Key>>,
    /// The keys that a running list has not confirmed yet.
    unconfirmed: BTreeSet<Key>,
    /// The UIDs of the objects that were deleted last.
    deleted: VecDeque<String>,
}

impl<K: Resource> Cache<K> {
    /// Keeps everything that belongs to a claim.
    #[cfg(test)]
    pub(crate) fn new(owner_of: OwnerOf<K>) -> Self {
        Self::of_those_worth(owner_of, Box::new(|_| true), Box::new(|_| ()))
    }

    pub(crate) fn of_those_worth(owner_of: OwnerOf<K>, worth: Worth<K>, prune: Prune<K>) -> Self {
        let objects = Objects {
            by_key: HashMap::new(),
            by_claim: HashMap::new(),
            unconfirmed: BTreeSet::new(),
            deleted: VecDeque::new(),
        };
        Self { owner_of, worth, prune, objects: RwLock::new(objects), ready: watch::Sender::new(false) }
    }

    /// Takes in one event and returns the claims that it concerns.
    pub(crate) fn apply(&self, event: Event<K>) -> Vec<ClaimRef> {
        let mut objects = self.write();
        match event {
            Event::Init => {
                objects.unconfirmed = objects.by_key.keys().cloned().collect();
                Vec::new()
            }
            Event::InitApply(mut object) | Event::Apply(mut object) => {
                (self.prune)(&mut object);
                let key = key_of(&object);
                objects.unconfirmed.remove(&key);
                let owner = self.owner(&objects, &key, &object);
                if objects.has_newer(&key, &object) {
                    return owner.into_iter().collect();
                }
                let before = objects.remove(&key);
                if let Some(owner) = &owner {
                    objects.insert(key, owner.clone(), Arc::new(object));
                }
                let mut concerned: Vec<_> = before.into_iter().chain(owner).collect();
                concerned.dedup();
                concerned
            }
            Event::Delete(object) => {
                objects.remember_deleted(uid_of(&object));
                objects.remove(&key_of(&object)).into_iter().collect()
            }
            Event::InitDone => {
                let gone = mem::take(&mut objects.unconfirmed);
                let concerned: BTreeSet<_> = gone.iter().filter_map(|key| objects.remove(key)).collect();
                self.ready.send_replace(true);
                concerned.into_iter().collect()
            }
        }
    }

    /// Takes in the answer to a write of ours.
    pub(crate) fn wrote(&self, mut object: K) {
        (self.prune)(&mut object);
        let mut objects = self.write();
        let key = key_of(&object);
        let late = objects.deleted.iter().any(|uid| uid == uid_of(&object)) || objects.has_newer(&key, &object);
        if let (Some(owner), false) = (self.owner(&objects, &key, &object), late) {
            objects.remove(&key);
            objects.insert(key, owner, Arc::new(object));
        }
    }

    /// Everything that belongs to the claim with this UID.
    pub(crate) fn of_claim(&self, uid: &str) -> Vec<Arc<K>> {
        let objects = self.read();
        let keys = objects.by_claim.get(uid).into_iter().flatten();
        keys.filter_map(|key| Some(Arc::clone(&objects.by_key.get(key)?.1))).collect()
    }

    /// The claims that an object exists for of which `wanted` is true.
    pub(crate) fn claims(&self, wanted: impl Fn(&K) -> bool) -> BTreeSet<ClaimRef> {
        let objects = self.read();
        let wanted = objects.by_key.values().filter(|(_, object)| wanted(object));
        wanted.map(|(claim, _)| claim.clone()).collect()
    }

    /// Drops what belongs to a claim of which nothing is left to do: what was once done costs no memory.
    pub(crate) fn forget(&self, uid: &str) {
        let mut objects = self.write();
        for key in objects.by_claim.get(uid).cloned().into_iter().flatten() {
            objects.remove(&key);
        }
    }

    fn owner(&self, objects: &Objects<K>, key: &Key, object: &K) -> Option<ClaimRef> {
        let owner = (self.owner_of)(object)?;
        (objects.by_key.contains_key(key) || (self.worth)(object)).then_some(owner)
    }

    // Nothing panics while it holds the lock, here and below.
    fn read(&self) -> RwLockReadGuard<'_, Objects<K>> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Objects<K>> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end of the first list: what is absent from then on is absent.
    pub(crate) async fn ready(&self) {
        // The sender lives in self, so the wait can only end with success.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }
}

impl<K: Resource> Objects<K> {
    fn has_newer(&self, key: &Key, object: &K) -> bool {
        self.by_key.get(key).is_some_and(|(_, known)| version(&**known) > version(object))
    }

    fn remember_deleted(&mut self, uid: &str) {
        self.deleted.push_back(uid.to_owned());
        if self.deleted.len() > REMEMBERED_DELETIONS {
            self.deleted.pop_front();
        }
    }

    fn insert(&mut self, key: Key, owner: ClaimRef, object: Arc<K>) {
        self.by_claim.entry(owner.uid.clone()).or_default().insert(key.clone());
        self.by_key.insert(key, (owner, object));
    }

    fn remove(&mut self, key: &Key) -> Option<ClaimRef> {
        let (owner, _) = self.by_key.remove(key)?;
        if let Some(keys) = self.by_claim.get_mut(&owner.uid) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_claim.remove(&owner.uid);
            }
        }
        Some(owner)
    }
}

fn key_of(object: &impl Resource) -> Key {
    let meta = object.meta();
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

fn uid_of(object: &impl Resource) -> &str {
    object.meta().uid.as_deref().unwrap_or_default()
}

fn version(object: &impl Resource) -> u64 {
    let version = object.meta().resource_version.as_deref();
    version.and_then(|version| version.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
