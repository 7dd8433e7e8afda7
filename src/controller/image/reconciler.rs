//! Writes the images' statuses: seldom, and only what differs.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use jiff::Timestamp;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::watcher::{self, Event},
};
use populator_crd::{
    names,
    v1alpha1::{VMDiskImage, VMDiskImageStatus},
};
use serde_json::json;
use tokio::{
    select,
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{ImageKey, status};
use crate::{cache::watch, policy::PolicyReceiver, runtime::deadline::within, world::World};

/// How soon after a change of its spec, or of the policy, an image's status follows.
const SOON: Duration = Duration::from_millis(20);

/// How long changes of an image's syncs are gathered: the whole of a small sync is one write. Never shorter than the
/// second that is the least time between two writes.
const GATHER: Duration = Duration::from_secs(5);

/// How long what only counts claims that wait or have just begun may be behind. Of many claims each would cost a write for
/// each step on its way, and none of these steps says anything of the image.
const BEHIND: Duration = Duration::from_mins(3);

/// How soon to try again where the account may not write: in a narrow installation an administrator has to bind
/// `vmdisk-images` in the image's namespace first, and until then every image there would be a request each time.
const FORBIDDEN: Duration = Duration::from_mins(5);

/// What the statuses are written from.
pub struct Statuses {
    /// The one client of the process.
    pub client: Client,
    /// Our own objects.
    pub world: World,
    /// The policy in force.
    pub policy: PolicyReceiver,
    /// The images whose syncs changed.
    pub changed: mpsc::UnboundedReceiver<ImageKey>,
}

/// Keeps the statuses of all images up to date, until nobody tells of changes any more.
pub async fn run(mut statuses: Statuses) {
    let mut watch = watch(statuses.client.clone(), watcher::Config::default(), prune).boxed();
    let mut images: HashMap<ImageKey, Arc<VMDiskImage>> = HashMap::new();
    let mut listed: HashMap<ImageKey, Arc<VMDiskImage>> = HashMap::new();
    let mut due: BTreeMap<ImageKey, Instant> = BTreeMap::new();
    // The images of which only counts differ, and since when.
    let mut behind: HashMap<ImageKey, Instant> = HashMap::new();
    loop {
        let next = due.values().min().copied();
        select! {
            event = watch.next() => match event {
                Some(Event::Init) => listed.clear(),
                Some(Event::InitApply(image)) => {
                    due.entry(key(&image)).or_insert(Instant::now() + SOON);
                    listed.insert(key(&image), Arc::new(image));
                }
                Some(Event::InitDone) => images = std::mem::take(&mut listed),
                Some(Event::Apply(image)) => {
                    if observed(&image) != image.metadata.generation {
                        plan(&mut due, key(&image), SOON);
                    }
                    images.insert(key(&image), Arc::new(image));
                }
                Some(Event::Delete(image)) => {
                    due.remove(&key(&image));
                    behind.remove(&key(&image));
                    images.remove(&key(&image));
                    statuses.world.preloads.forget(image.metadata.uid.as_deref().unwrap_or_default());
                }
                None => return,
            },
            changed = statuses.changed.recv() => match changed {
                Some(key) => plan(&mut due, key, GATHER),
                None => return,
            },
            changed = statuses.policy.changed() => match changed {
                Ok(()) => images.keys().for_each(|key| plan(&mut due, key.clone(), SOON)),
                Err(_) => return,
            },
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                let now = Instant::now();
                let keys: Vec<ImageKey> = due.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
                for key in keys {
                    due.remove(&key);
                    let Some(image) = images.get(&key).map(Arc::clone) else { continue };
                    let computed = compute(&statuses, &image);
                    let only_counts = image.status.as_ref().is_some_and(|status| status::counts_alone(status, &computed));
                    let since = *behind.entry(key.clone()).or_insert(now);
                    if only_counts && now < since + BEHIND {
                        due.insert(key, since + BEHIND);
                        continue;
                    }
                    behind.remove(&key);
                    match write(&statuses, &image, &computed).await {
                        Ok(Some(stored)) => {
                            images.insert(key, Arc::new(stored));
                        }
                        Ok(None) => {}
                        Err(error) => {
                            tracing::warn!(%error, namespace = key.namespace, name = key.name, "failed to write an image's status; trying again");
                            plan(&mut due, key, retry_delay(&error));
                        }
                    }
                }
            }
        }
    }
}

fn retry_delay(error: &kube::Error) -> Duration {
    match error {
        kube::Error::Api(status) if status.code == 403 => FORBIDDEN,
        _ => GATHER,
    }
}

/// The earlier of two plans counts, and a first one is kept: gathering must not put a write off for ever.
fn plan(due: &mut BTreeMap<ImageKey, Instant>, key: ImageKey, delay: Duration) {
    let at = Instant::now() + delay;
    due.entry(key).and_modify(|planned| *planned = (*planned).min(at)).or_insert(at);
}

fn compute(statuses: &Statuses, image: &VMDiskImage) -> VMDiskImageStatus {
    let uid = image.uid().unwrap_or_default();
    let (syncs, done) = (statuses.world.of_image(&uid), statuses.world.ledger.of_image(&uid));
    let policy = Arc::clone(&statuses.policy.borrow());
    let told = statuses.world.preloads.of(&uid);
    status::compute(image, &syncs, &done, told.as_ref(), &policy, Timestamp::now())
}

async fn write(
    statuses: &Statuses,
    image: &VMDiskImage,
    computed: &VMDiskImageStatus,
) -> Result<Option<VMDiskImage>, kube::Error> {
    if image.status.as_ref() == Some(computed) {
        return Ok(None);
    }
    let uid = image.uid().unwrap_or_default();
    let namespace = image.namespace().unwrap_or_default();
    let api: Api<VMDiskImage> = Api::namespaced(statuses.client.clone(), &namespace);
    // No resourceVersion: nobody else writes the status, and the spec may change meanwhile. The UID keeps it from a new
    // image of the same name.
    let patch = json!({
        "apiVersion": VMDiskImage::api_version(&()),
        "kind": VMDiskImage::kind(&()),
        "metadata": {"uid": uid},
        "status": computed,
    });
    let params = PatchParams::apply(names::MANAGER).force();
    match within(api.patch_status(&image.name_any(), &params, &Patch::Apply(&patch))).await {
        Ok(mut stored) => {
            prune(&mut stored);
            Ok(Some(stored))
        }
        // Gone, or made anew: the watch tells.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(None),
        Err(error) => Err(error),
    }
}

fn key(image: &VMDiskImage) -> ImageKey {
    ImageKey { namespace: image.namespace().unwrap_or_default(), name: image.name_any() }
}

fn observed(image: &VMDiskImage) -> Option<i64> {
    image.status.as_ref().and_then(|status: &VMDiskImageStatus| status.observed_generation)
}

fn prune(image: &mut VMDiskImage) {
    image.metadata.managed_fields = None;
    image.metadata.annotations = None;
}

#[cfg(test)]
#[path = "reconciler_tests.rs"]
mod tests;
