//! Finds, every few minutes, what no event told: claims that anything is left to do for, and volumes that nobody will
//! come back for.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::StorageClass,
};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams},
    core::PartialObjectMeta,
    runtime::reflector::Store,
};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    build,
    cache::Cache,
    config::Config,
    error::{Error, Trying},
    names::{Keys, annotation, prime_name},
    observed::{name, namespace, reclaim_policy},
    places::source_namespace,
    populator::ClaimRef,
    streams::Wake,
};

/// How often to look for the volumes of retired primes, as long as there are any.
const RETIRED_INTERVAL: Duration = Duration::from_secs(10);
/// How many volumes are read at once. What follows one that is none of ours is little, and what is kept of it nothing.
const VOLUMES_A_PAGE: u32 = 200;
/// How long a provisioner may still be busy with a claim that is gone.
const RETIREMENT: Duration = Duration::from_mins(15);

/// The primes that this process deleted before they had a volume. Their provisioner may have been at work, and its
/// volume then comes into a world where nothing else tells whose it was.
#[derive(Default)]
pub(crate) struct Retired(Mutex<HashMap<String, (Instant, ClaimRef, String)>>);

impl Retired {
    pub(crate) fn add(&self, claim: &ClaimRef, prime_namespace: &str) {
        self.primes().insert(claim.uid.clone(), (Instant::now(), claim.clone(), prime_namespace.into()));
    }

    /// The claim of a prime in that namespace.
    fn get(&self, claim_uid: &str, prime_namespace: &str) -> Option<ClaimRef> {
        let primes = self.primes();
        let (_, claim, namespace) = primes.get(claim_uid)?;
        (namespace == prime_namespace).then(|| claim.clone())
    }

    fn has_any(&self) -> bool {
        let mut primes = self.primes();
        primes.retain(|_, (since, ..)| since.elapsed() < RETIREMENT);
        !primes.is_empty()
    }

    fn primes(&self) -> MutexGuard<'_, HashMap<String, (Instant, ClaimRef, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What there is to sweep.
pub(crate) struct Sweep {
    pub(crate) client: Client,
    pub(crate) config: Arc<Config>,
    pub(crate) primes: Arc<Cache<PersistentVolumeClaim>>,
    pub(crate) pods: Arc<Cache<PartialObjectMeta<Pod>>>,
    pub(crate) volumes: Arc<Cache<PersistentVolume>>,
    pub(crate) classes: Store<StorageClass>,
    pub(crate) retired: Arc<Retired>,
    pub(crate) wake: Wake,
}

impl Sweep {
    pub(crate) async fn run(self) {
        let mut ticks = interval(self.config.sweep_interval.clamp(Duration::from_secs(1), RETIRED_INTERVAL));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = None::<Instant>;
        loop {
            ticks.tick().await;
            if last.is_none_or(|last| last.elapsed() >= self.config.sweep_interval) {
                last = Some(Instant::now());
                let unfinished = self.unfinished();
                tracing::debug!(claims = unfinished.len(), "sweep");
                self.wake.all(unfinished);
            } else if !self.retired.has_any() {
                continue;
            }
            if let Err(error) = self.reclaim_orphans().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "failed to look for orphaned volumes");
            }
        }
    }

    /// Claims that wait for a volume, and those, living or gone, that something was made for and not cleaned up.
    fn unfinished(&self) -> BTreeSet<ClaimRef> {
        let keys = &self.wake.keys;
        let mut unfinished = self.wake.claims.claims(|_| true);
        unfinished.extend(self.primes.claims(|_| true));
        unfinished.extend(self.pods.claims(|_| true));
        unfinished.extend(self.volumes.claims(|volume| annotation(&volume.metadata, &keys.rebound_at).is_none()));
        unfinished
    }

    /// Lets volumes go that a class would keep, whose prime vanished before they could be marked as ours. Only where the
    /// claim lives, or this process deleted the prime: another populator's primes are called the same.
    pub(crate) async fn reclaim_orphans(&self) -> Result<(), Error> {
        let keeps = |class: &StorageClass| class.reclaim_policy.as_deref().is_some_and(|policy| policy != "Delete");
        if self.classes.find(keeps).is_none() {
            return Ok(());
        }
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        let mut page = ListParams::default().limit(VOLUMES_A_PAGE);
        loop {
            let volumes = api.list(&page).await.trying("list the volumes")?;
            for volume in &volumes.items {
                if let Some(claim) = self.orphaned_by(volume) {
                    self.reclaim(&api, volume, &claim).await?;
                }
            }
            match volumes.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(()),
            }
        }
    }

    async fn reclaim(
        &self,
        api: &Api<PersistentVolume>,
        volume: &PersistentVolume,
        claim: &ClaimRef,
    ) -> Result<(), Error> {
        tracing::info!(volume = name(&volume.metadata), uid = claim.uid, "letting an orphaned volume go");
        let patch = Patch::Merge(build::reclaim(&self.wake.keys, claim, volume));
        let params = PatchParams { field_manager: Some(self.config.field_manager.clone()), ..PatchParams::default() };
        api.patch(name(&volume.metadata), &params, &patch).await.trying("set a volume's reclaim policy")?;
        Ok(())
    }

    /// The claim for whose prime a volume was made that is nobody's now.
    fn orphaned_by(&self, volume: &PersistentVolume) -> Option<ClaimRef> {
        let (prime_namespace, claim_uid) = orphan(&self.wake.keys, volume)?;
        if let Some(claim) = self.retired.get(claim_uid, prime_namespace) {
            return Some(claim);
        }
        let claim = self.wake.claims.of_claim(claim_uid).into_iter().next()?;
        // A prime that lives may have lost it too, and its next pass sees to that.
        let alone = self.primes.of_claim(claim_uid).is_empty()
            && source_namespace(&self.wake.keys, &claim).is_ok_and(|namespace| namespace == prime_namespace);
        alone.then(|| ClaimRef {
            namespace: namespace(&claim.metadata).into(),
            name: name(&claim.metadata).into(),
            uid: claim_uid.into(),
        })
    }
}

/// The namespace of the prime and the UID of the claim that a released volume tells, if it looks like one of ours that
/// was never marked.
fn orphan<'a>(keys: &Keys, volume: &'a PersistentVolume) -> Option<(&'a str, &'a str)> {
    let phase = volume.status.as_ref()?.phase.as_deref();
    let reference = volume.spec.as_ref()?.claim_ref.as_ref()?;
    let prime = reference.name.as_deref()?;
    let claim_uid = prime.strip_prefix(&prime_name(""))?;
    let orphaned = phase == Some("Released")
        && reclaim_policy(volume) != "Delete"
        && keys.claim_of(&volume.metadata).is_none()
        && volume.metadata.deletion_timestamp.is_none();
    orphaned.then_some((reference.namespace.as_deref()?, claim_uid))
}

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;
