//! What is done, image by image: how many claims were filled, and when last from which bytes. The records of these syncs
//! stay in the cluster as long as the policy says; in memory each is a number of sixteen bytes.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use kube::{ResourceExt, runtime::watcher::Event};
use populator_crd::v1alpha1::{Purpose, SourceFacts, SyncPhase, VMDiskSync};

use crate::world::phase;

/// The success that was last for an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Success {
    /// The generation of the image that was used.
    pub generation: Option<i64>,
    /// When its attempt began.
    pub started_at: Option<Timestamp>,
    /// When the claim was bound.
    pub finished_at: Option<Timestamp>,
    /// What the source turned out to be.
    pub source: Option<SourceFacts>,
}

/// What is done for one image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Done {
    /// The claims that were filled, as far as there are records of them.
    pub succeeded: usize,
    /// The last of them.
    pub latest: Option<Success>,
}

/// What is done for all images.
#[derive(Default)]
pub struct Ledger(Mutex<Books>);

#[derive(Default)]
struct Books {
    current: HashMap<String, Page>,
    /// What a list that is under way has told so far.
    listed: Option<HashMap<String, Page>>,
}

#[derive(Default)]
struct Page {
    syncs: HashSet<u128>,
    /// Of masters, which are nobody's claims.
    masters: HashSet<u128>,
    latest: Option<Success>,
}

impl Page {
    fn add(&mut self, sync: &VMDiskSync) {
        if sync.spec.purpose == Purpose::Master {
            self.masters.insert(id(sync));
        } else {
            self.syncs.insert(id(sync));
        }
        let success = success(sync);
        if self.latest.as_ref().is_none_or(|latest| latest.finished_at <= success.finished_at) {
            self.latest = Some(success);
        }
    }
}

impl Ledger {
    /// Takes in one event of the watch of records.
    pub fn apply(&self, event: &Event<VMDiskSync>) {
        let mut books = self.books();
        match event {
            Event::Init => books.listed = Some(HashMap::new()),
            Event::InitApply(sync) if phase(sync) == Some(SyncPhase::Succeeded) => {
                let listed = books.listed.get_or_insert_default();
                listed.entry(sync.spec.image.uid.clone()).or_default().add(sync);
            }
            Event::InitDone => books.current = mem::take(&mut books.listed).unwrap_or_default(),
            Event::Apply(sync) if phase(sync) == Some(SyncPhase::Succeeded) => books.add(sync),
            Event::Delete(sync) => books.remove(sync),
            Event::InitApply(_) | Event::Apply(_) => {}
        }
    }

    /// Takes in a success that we wrote ourselves; the watch tells it again, and then it is known.
    pub fn wrote(&self, sync: &VMDiskSync) {
        if phase(sync) == Some(SyncPhase::Succeeded) {
            self.books().add(sync);
        }
    }

    /// What is done for an image.
    #[must_use]
    pub fn of_image(&self, image_uid: &str) -> Done {
        let books = self.books();
        let page = books.current.get(image_uid);
        page.map_or_else(Done::default, |page| Done { succeeded: page.syncs.len(), latest: page.latest.clone() })
    }

    /// Whether a claim was ever filled from this generation of an image: then its bytes can be had, and are whole.
    #[must_use]
    pub fn is_proven(&self, image_uid: &str, generation: i64) -> bool {
        let books = self.books();
        let latest = books.current.get(image_uid).and_then(|page| page.latest.as_ref());
        latest.is_some_and(|latest| latest.generation == Some(generation))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn add(&mut self, sync: &VMDiskSync) {
        self.current.entry(sync.spec.image.uid.clone()).or_default().add(sync);
    }

    fn remove(&mut self, sync: &VMDiskSync) {
        if let Some(page) = self.current.get_mut(&sync.spec.image.uid) {
            page.syncs.remove(&id(sync));
            page.masters.remove(&id(sync));
            if page.syncs.is_empty() && page.masters.is_empty() {
                self.current.remove(&sync.spec.image.uid);
            }
        }
    }
}

fn success(sync: &VMDiskSync) -> Success {
    let status = sync.status.as_ref();
    let time = |time: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| time.map(|time| time.0);
    Success {
        generation: status.and_then(|status| status.image_generation),
        started_at: time(status.and_then(|status| status.started_at.as_ref())),
        finished_at: time(status.and_then(|status| status.finished_at.as_ref())),
        source: status.and_then(|status| status.source.clone()),
    }
}

/// A UID as a number; what is no UUID is hashed, since all that matters is that two differ.
fn id(sync: &VMDiskSync) -> u128 {
    let uid = sync.uid().unwrap_or_default();
    u128::from_str_radix(&uid.replace('-', ""), 16).unwrap_or_else(|_| {
        let mut hasher = DefaultHasher::new();
        uid.hash(&mut hasher);
        hasher.finish().into()
    })
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
