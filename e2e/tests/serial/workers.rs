//! The watches from which the gate's ledger is written: every change counts, however short it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource, ResourceExt};
use populator_crd::VMDiskSync;
use populator_crd::names::{CLAIM_NAME_ANNOTATION, CLAIM_UID_LABEL, COMPONENT_LABEL, WORKER_COMPONENT};
use populator_crd::v1alpha1::SyncPhase;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use vmdisk_e2e::testing::Scene;

use crate::ledger::{Entry, What};
use crate::policy;

/// Watches what the gate does in one namespace, until it is asked what it saw.
pub(crate) struct Witness {
    policies: Tape<ConfigMap>,
    syncs: Tape<VMDiskSync>,
    primes: Tape<PersistentVolumeClaim>,
    workers: Tape<Pod>,
}

impl Witness {
    /// Begins to watch; nothing that happens from now on is missed. The test has set its policy, and has no claim yet.
    pub(crate) async fn start(scene: &Scene) -> Result<Self> {
        let ours = ListParams::default().labels(CLAIM_UID_LABEL);
        let workers = ListParams::default().labels(&format!("{COMPONENT_LABEL}={WORKER_COMPONENT}"));
        let (maps, policy) = policy::in_force(&scene.bed.client);
        Ok(Self {
            policies: Tape::start(maps, policy).await?,
            syncs: Tape::start(scene.api(), ListParams::default()).await?,
            primes: Tape::start(scene.api(), ours).await?,
            workers: Tape::start(scene.api(), workers).await?,
        })
    }

    /// Ends the watches and tells what they saw.
    pub(crate) async fn finish(self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for (policy, _) in self.policies.stop().await? {
            let limit = policy.data.iter().flatten().find(|(key, _)| *key == "concurrency");
            let (_, limit) = limit.context("the test's policy has a concurrency")?;
            entries.push(entry(&policy, What::Limit(limit.parse()?))?);
        }
        let mut phases = BTreeMap::<String, SyncPhase>::new();
        for (sync, _) in self.syncs.stop().await? {
            let name = sync.spec.claim.name.clone();
            // One that was just created joins the queue, whether its record says so yet or not.
            let phase = sync.status.as_ref().and_then(|status| status.phase).unwrap_or(SyncPhase::Queued);
            if phases.insert(name.clone(), phase) == Some(phase) {
                continue;
            }
            let what = match phase {
                SyncPhase::Queued => What::Queued(name),
                SyncPhase::Syncing => What::Admitted(name),
                _ => What::Over(name),
            };
            entries.push(entry(&sync, what)?);
        }
        let mut seen = BTreeSet::new();
        for (prime, gone) in self.primes.stop().await? {
            if !gone && seen.insert(prime.uid()) {
                entries.push(entry(&prime, What::Prime(claim_of(&prime)?))?);
            }
        }
        let mut ended = BTreeSet::new();
        for (pod, gone) in self.workers.stop().await? {
            if seen.insert(pod.uid()) {
                entries.push(entry(&pod, What::Worker(claim_of(&pod)?))?);
            }
            if (gone || has_ended(&pod)) && ended.insert(pod.uid()) {
                entries.push(entry(&pod, What::Ended(claim_of(&pod)?))?);
            }
        }
        Ok(entries)
    }
}

fn entry(object: &impl ResourceExt, what: What) -> Result<Entry> {
    let version = object.resource_version().context("what the API server stores has a version")?;
    let revision = version.parse().with_context(|| format!("the version {version} is no revision"))?;
    Ok(Entry { revision, what })
}

/// The claim that an object of ours exists for.
fn claim_of(object: &impl ResourceExt) -> Result<String> {
    let name = object.annotations().get(CLAIM_NAME_ANNOTATION).cloned();
    name.with_context(|| format!("{} does not say for which claim it is", object.name_any()))
}

/// The kubelet calls the pod finished some time after its one container has ended.
fn has_ended(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_ref());
    matches!(status.and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
        || containers.into_iter().flatten().any(|c| c.state.as_ref().is_some_and(|s| s.terminated.is_some()))
}

/// The objects of one kind as they were when the watch began, and each change since; `true`: it is gone.
struct Tape<K> {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Vec<(K, bool)>>>,
}

impl<K> Tape<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    async fn start(api: Api<K>, which: ListParams) -> Result<Self> {
        let listed = api.list(&which).await?;
        let version = listed.metadata.resource_version.clone().context("a list has a version")?;
        let (stop, stopped) = oneshot::channel();
        // Longer than any test; a watch that ends earlier is an error, because it would miss something.
        let params = WatchParams {
            label_selector: which.label_selector,
            field_selector: which.field_selector,
            ..WatchParams::default().timeout(290)
        };
        let task = tokio::spawn(async move {
            let mut changes: Vec<(K, bool)> = listed.items.into_iter().map(|object| (object, false)).collect();
            let mut events = api.watch(&params, &version).await?.take_until(stopped).boxed();
            while let Some(event) = events.try_next().await? {
                match event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => changes.push((object, false)),
                    WatchEvent::Deleted(object) => changes.push((object, true)),
                    WatchEvent::Bookmark(_) => {}
                    WatchEvent::Error(status) => anyhow::bail!("the watch of {} broke: {status:?}", K::plural(&())),
                }
            }
            Ok(changes)
        });
        Ok(Self { stop, task })
    }

    async fn stop(self) -> Result<Vec<(K, bool)>> {
        let ended = || format!("the watch of {} ended before the test", K::plural(&()));
        self.stop.send(()).ok().with_context(ended)?;
        self.task.await.with_context(|| format!("the watch of {} panicked", K::plural(&())))?
    }
}
