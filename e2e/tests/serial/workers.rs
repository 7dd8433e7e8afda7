//! The watches from which the gate's ledger is written: every change counts, however short it was.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::ListParams;
use populator_crd::VMDiskSync;
use populator_crd::names::{CLAIM_NAME_ANNOTATION, CLAIM_UID_LABEL, COMPONENT_LABEL, WORKER_COMPONENT};
use populator_crd::v1alpha1::SyncPhase;
use vmdisk_e2e::testing::Scene;
use vmdisk_e2e::testing::tape::Tape;

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
