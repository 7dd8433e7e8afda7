//! Wakes, every few minutes, every claim that anything is left to do for: what no event told, this finds.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{PersistentVolume, Pod};
use kube::core::PartialObjectMeta;
use tokio::time::{MissedTickBehavior, interval};

use crate::{cache::Cache, names::annotation, observed::volume_name, populator::ClaimRef, streams::Wake};

/// What there is to sweep.
pub(crate) struct Sweep {
    pub(crate) pods: Arc<Cache<PartialObjectMeta<Pod>>>,
    pub(crate) volumes: Arc<Cache<PersistentVolume>>,
    pub(crate) wake: Wake,
}

impl Sweep {
    pub(crate) async fn run(self, every: Duration) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let unfinished = self.unfinished().await;
            tracing::debug!(claims = unfinished.len(), "sweep");
            self.wake.all(unfinished);
        }
    }

    /// Claims that wait for a volume, and those, living or gone, that something was made for and not cleaned up.
    async fn unfinished(&self) -> BTreeSet<ClaimRef> {
        let keys = &self.wake.keys;
        let mut unfinished = self
            .wake
            .claims
            .claims(|claim| volume_name(claim).is_none() || keys.claim_of(&claim.metadata).is_some())
            .await;
        unfinished.extend(self.pods.claims(|_| true).await);
        unfinished.extend(self.volumes.claims(|volume| annotation(&volume.metadata, &keys.rebound_at).is_none()).await);
        unfinished
    }
}
