//! Carries out one step: one write, and what it says is written down before anything rests on it.

use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{Api, Client, Resource, ResourceExt, api::PostParams};
use populator_crd::{
    names,
    v1alpha1::{GoldenPhase, GoldenRecord, Origin, VMDiskImage, VMDiskSync, VMDiskSyncStatus},
};

use super::{
    decide::{Seen, Step},
    objects,
    observe::Inspectors,
    plan::{Cut, Plan},
    snapshot::{self, VolumeSnapshot},
};
use crate::{
    pod,
    policy::Policy,
    runtime::{deadline::within, removal::remove},
    sync::records::{RecordError, Records},
    world::golden,
};

/// How many pods may ask sources at once.
const INSPECTORS: usize = 2;

/// How soon to look again for room for another one, or for the end of what is being deleted.
const SOON: Duration = Duration::from_secs(3);

/// Why a step could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or did not answer.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// A record could not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The image does not say what to do.
    #[error(transparent)]
    Spec(#[from] populator_crd::v1alpha1::SpecError),
}

/// Where is written.
pub struct Applier<'a> {
    /// The one client of the process.
    pub client: &'a Client,
    /// The records.
    pub records: &'a Records,
    /// The policy in force.
    pub policy: &'a Policy,
    /// The inspectors of this process.
    pub inspectors: &'a Inspectors,
    /// The worker's container image.
    pub worker_image: &'a str,
}

impl Applier<'_> {
    /// Takes a step. `None`: look again at once; otherwise when to look again, if nothing tells.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub async fn apply(&self, seen: &Seen, step: Step) -> Result<Option<Option<Duration>>, Error> {
        let image = &*seen.image;
        let namespace = image.namespace().unwrap_or_default();
        match step {
            Step::Rest(wait) => return Ok(Some(wait)),
            Step::Ask => return self.ask(image, &namespace).await,
            Step::RemoveInspector => {
                let uid = image.uid().unwrap_or_default();
                self.inspectors.forget(&uid);
                if !remove::<Pod>(&self.namespaced(&namespace), &names::inspector(&uid), None).await? {
                    return Ok(Some(Some(SOON)));
                }
            }
            Step::CreateMaster(key) => self.create(&namespace, &objects::master(image, &key)).await?,
            Step::CreateClaim => self.create(&namespace, &objects::golden_claim(image)).await?,
            Step::Record(record, golden) => self.write(&record, *golden).await?,
            Step::TakeSnapshot(record) => return self.take_snapshot(seen, &record).await,
            Step::TakeGoldenSnapshot(key) => {
                if let Plan::Cut(Cut::Snapshot(class)) = &seen.plan {
                    let snapshot = objects::golden_snapshot(image, class, &key);
                    taken_by_others(
                        within(self.snapshots(&namespace).create(&PostParams::default(), &snapshot)).await,
                    )?;
                }
            }
            Step::RemoveSnapshot(Origin { name, uid }) => {
                if !remove(&self.snapshots(&namespace), &name, Some(uid)).await? {
                    return Ok(Some(Some(SOON)));
                }
            }
            Step::RemoveMaster(Origin { name, uid }) => {
                if !remove::<PersistentVolumeClaim>(&self.namespaced(&namespace), &name, Some(uid)).await? {
                    return Ok(Some(Some(SOON)));
                }
            }
            Step::Prune(record) => return self.prune(&record, &namespace).await,
        }
        Ok(None)
    }

    async fn ask(&self, image: &VMDiskImage, namespace: &str) -> Result<Option<Option<Duration>>, Error> {
        if self.inspectors.at_work() >= INSPECTORS {
            return Ok(Some(Some(SOON)));
        }
        let pod = pod::inspector(image, self.policy, self.worker_image)?;
        match within(self.namespaced::<Pod>(namespace).create(&PostParams::default(), &pod)).await {
            Ok(stored) => self.inspectors.made(&image.uid().unwrap_or_default(), stored.uid().unwrap_or_default()),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Some(Some(SOON)))
    }

    /// The UID of the snapshot is in the API server's own answer, and goes into the record before anything rests on it.
    async fn take_snapshot(&self, seen: &Seen, record: &VMDiskSync) -> Result<Option<Option<Duration>>, Error> {
        let Plan::Cut(Cut::Snapshot(class)) = &seen.plan else { return Ok(None) };
        let golden = golden(record).cloned().unwrap_or_default();
        let snapshot = objects::cut(&seen.image, class, &golden.key, record);
        let namespace = seen.image.namespace().unwrap_or_default();
        match within(self.snapshots(&namespace).create(&PostParams::default(), &snapshot)).await {
            Ok(stored) => {
                let taken = Origin { name: stored.name_any(), uid: stored.metadata.uid.unwrap_or_default() };
                self.write(record, GoldenRecord { snapshot: Some(taken), ..golden }).await?;
            }
            answer => taken_by_others(answer)?,
        }
        Ok(None)
    }

    /// The snapshot first: many a driver refuses to delete a volume that has one.
    async fn prune(&self, record: &VMDiskSync, namespace: &str) -> Result<Option<Option<Duration>>, Error> {
        let golden = golden(record).cloned().unwrap_or_default();
        if golden.phase != GoldenPhase::Pruning {
            self.write(record, GoldenRecord { phase: GoldenPhase::Pruning, ..golden }).await?;
            return Ok(None);
        }
        let claim = &record.spec.claim;
        // By its owner, too: one that was taken and never written down.
        let snapshots = self.snapshots(namespace);
        let found = within(snapshots.get_opt(&claim.name)).await?.filter(|snapshot| {
            let recorded =
                golden.snapshot.as_ref().is_some_and(|known| Some(&known.uid) == snapshot.metadata.uid.as_ref());
            recorded || objects::is_of(snapshot, record)
        });
        if let Some(snapshot) = found {
            remove(&snapshots, &claim.name, snapshot.metadata.uid).await?;
            return Ok(Some(Some(SOON)));
        }
        if !remove::<PersistentVolumeClaim>(&self.namespaced(namespace), &claim.name, Some(claim.uid.clone())).await? {
            return Ok(Some(Some(SOON)));
        }
        self.write(record, GoldenRecord { phase: GoldenPhase::Pruned, snapshot: None, ..golden }).await?;
        Ok(None)
    }

    async fn write(&self, record: &VMDiskSync, golden: GoldenRecord) -> Result<(), RecordError> {
        let status = record.status.clone().unwrap_or_default();
        self.records.write(record, &VMDiskSyncStatus { golden: Some(Box::new(golden)), ..status }).await
    }

    async fn create(&self, namespace: &str, claim: &PersistentVolumeClaim) -> Result<(), Error> {
        taken_by_others(within(self.namespaced(namespace).create(&PostParams::default(), claim)).await)
    }

    fn namespaced<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn snapshots(&self, namespace: &str) -> Api<VolumeSnapshot> {
        Api::namespaced_with(self.client.clone(), namespace, &snapshot::resource())
    }
}

/// Whether a name was taken in the meantime: the next look sees by what.
fn taken_by_others<T>(answer: Result<T, kube::Error>) -> Result<(), Error> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        answer => Ok(answer.map(drop)?),
    }
}
