//! Reads what there is of one image's golden data: live, object by object. Nothing is kept between two looks but which
//! inspectors are ours, and which of them are at work.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::StorageClass,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
};
use populator_crd::{
    names,
    v1alpha1::{GoldenPhase, VMDiskImage, VMDiskSync},
};
use volume_populator::pods_naming;

use super::{
    decide::Seen,
    plan::{self, Classes, Plan},
    resolve::{self, Inspector, Resolution},
    snapshot::{self, SnapshotClass, VolumeSnapshot},
};
use crate::{
    policy::Policy,
    runtime::deadline::{within, within_time},
    worker::{CONTAINER, Worker},
    world::{World, golden},
};

/// Annotation on an inspector: the generation of the image that it asks for.
pub const GENERATION_ANNOTATION: &str = "pelotech.ot/generation";

/// How long reading the pods of a namespace may take, all pages of it.
const ALL_PODS: Duration = Duration::from_mins(2);

/// The inspectors of this process, by the image's UID. One that is not here was made by an earlier process, or forged, and
/// is believed by nobody: to ask once more costs a request.
#[derive(Default)]
pub struct Inspectors(Mutex<HashMap<String, (String, bool)>>);

impl Inspectors {
    /// One was made.
    pub fn made(&self, image_uid: &str, pod_uid: String) {
        self.all().insert(image_uid.to_owned(), (pod_uid, true));
    }

    /// It is gone, or about to be.
    pub fn forget(&self, image_uid: &str) {
        self.all().remove(image_uid);
    }

    /// How many are on their way or at work.
    #[must_use]
    pub fn at_work(&self) -> usize {
        self.all().values().filter(|(_, live)| *live).count()
    }

    fn sees(&self, image_uid: &str, pod_uid: &str, live: bool) -> bool {
        let mut all = self.all();
        let known = all.get_mut(image_uid).filter(|(uid, _)| uid == pod_uid);
        known.is_some_and(|(_, state)| {
            *state = live;
            true
        })
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, (String, bool)>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where everything is read.
pub struct Observer<'a> {
    /// The one client of the process.
    pub client: &'a Client,
    /// Our own objects.
    pub world: &'a World,
    /// The policy in force.
    pub policy: &'a Policy,
    /// The inspectors of this process.
    pub inspectors: &'a Inspectors,
}

impl Observer<'_> {
    /// One look.
    ///
    /// # Errors
    ///
    /// Those of the API server.
    pub async fn observe(&self, image: &Arc<VMDiskImage>) -> Result<Seen, kube::Error> {
        let now = Timestamp::now();
        let namespace = image.namespace().unwrap_or_default();
        let plan = plan::of(&image.spec, &self.classes(image).await?);
        let records = self.world.masters(&namespace, &image.name_any());
        let mut seen = Seen {
            image: Arc::clone(image),
            plan,
            resolution: Resolution::Asking,
            has_inspector: false,
            records,
            master: None,
            master_sync: None,
            volume: None,
            strangers: Vec::new(),
            snapshot: None,
            claim: None,
            claim_sync: None,
            golden_snapshot: None,
            now,
        };
        if seen.plan == Plan::Nothing {
            return Ok(seen);
        }
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &namespace);
        if let Plan::Cut(_) = seen.plan {
            self.observe_master(&mut seen, &claims, &namespace).await?;
        }
        seen.claim = within(claims.get_opt(image.golden_name())).await?;
        seen.claim_sync = seen.claim.as_ref().and_then(|claim| self.sync_of(claim));
        Ok(seen)
    }

    async fn observe_master(
        &self,
        seen: &mut Seen,
        claims: &Api<PersistentVolumeClaim>,
        namespace: &str,
    ) -> Result<(), kube::Error> {
        let image = Arc::clone(&seen.image);
        let inspector = self.inspector(&image, seen.now).await?;
        seen.has_inspector = inspector.is_some();
        seen.resolution = resolve::of(&image, &seen.records, inspector.as_ref(), self.policy, seen.now);
        let (Resolution::Recorded(key) | Resolution::Found { key, .. }) = &seen.resolution else { return Ok(()) };
        let name = names::master(image.golden_name(), key);
        seen.master = within(claims.get_opt(&name)).await?;
        seen.master_sync = seen.master.as_ref().and_then(|claim| self.sync_of(claim));
        let snapshots: Api<VolumeSnapshot> =
            Api::namespaced_with(self.client.clone(), namespace, &snapshot::resource());
        seen.snapshot = within(snapshots.get_opt(&name)).await?;
        seen.golden_snapshot = within(snapshots.get_opt(image.golden_name())).await?;
        let Some(golden) = seen.master_sync.as_deref().and_then(golden) else { return Ok(()) };
        if golden.phase == GoldenPhase::Filling {
            let volume = seen.master.as_ref().and_then(|master| master.spec.as_ref()?.volume_name.clone());
            if let Some(volume) = volume {
                seen.volume = within(Api::<PersistentVolume>::all(self.client.clone()).get_opt(&volume)).await?;
            }
        }
        if matches!(golden.phase, GoldenPhase::Filling | GoldenPhase::Cutting) {
            let pods = within_time(ALL_PODS, pods_naming(self.client, namespace, &name)).await?;
            seen.strangers = pods.iter().map(ResourceExt::name_any).collect();
        }
        Ok(())
    }

    fn sync_of(&self, claim: &PersistentVolumeClaim) -> Option<Arc<VMDiskSync>> {
        self.world.syncs.of_claim(claim.metadata.uid.as_deref()?).into_iter().next()
    }

    async fn classes(&self, image: &VMDiskImage) -> Result<Classes, kube::Error> {
        let mut classes = Classes::default();
        if let Some(name) = &image.spec.storage_class {
            classes.storage = within(Api::<StorageClass>::all(self.client.clone()).get_opt(name)).await?;
        }
        if let (Some(_), Some(name)) = (&classes.storage, &image.spec.snapshot_class) {
            let kind = GroupVersionKind::gvk(snapshot::GROUP, "v1", "VolumeSnapshotClass");
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &ApiResource::from_gvk(&kind));
            let found = within(api.get_opt(name)).await?;
            classes.snapshot = found.and_then(|class| serde_json::from_value::<SnapshotClass>(class.data).ok());
        }
        Ok(classes)
    }

    async fn inspector(&self, image: &VMDiskImage, now: Timestamp) -> Result<Option<Inspector>, kube::Error> {
        let image_uid = image.uid().unwrap_or_default();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &image.namespace().unwrap_or_default());
        let Some(pod) = within(pods.get_opt(&names::inspector(&image_uid))).await? else {
            self.inspectors.forget(&image_uid);
            return Ok(None);
        };
        let worker = Worker::observe(Some(&pod), now);
        let known = self.inspectors.sees(&image_uid, pod.metadata.uid.as_deref().unwrap_or_default(), worker.is_live());
        let generation = pod.annotations().get(GENERATION_ANNOTATION).and_then(|text| text.parse().ok());
        // One that is not known is of no generation: it goes.
        Ok(Some(Inspector { worker, generation: generation.filter(|_| known).unwrap_or(-1), ended_at: ended_at(&pod) }))
    }
}

fn ended_at(pod: &Pod) -> Option<Timestamp> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let worker = statuses.iter().find(|status| status.name == CONTAINER)?;
    Some(worker.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?.0)
}
