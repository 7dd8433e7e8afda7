//! Forgets finished syncs: `syncHistory` after their end, and not before their claim is gone.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Api, Client, ResourceExt};
use populator_crd::v1alpha1::{SyncPhase, VMDiskSync};
use tokio::time::{MissedTickBehavior, interval};

use super::records::Records;
use crate::policy::PolicyReceiver;

/// How often to look. What is kept too long costs a few hundred bytes.
const INTERVAL: Duration = Duration::from_mins(10);

/// Looks for syncs to forget, for as long as the process lives.
pub async fn run(client: Client, records: Records, policy: PolicyReceiver) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let keep = policy.borrow().sync_history;
        let old: Vec<_> = records.all().into_iter().filter(|sync| is_old(sync, keep, Timestamp::now())).collect();
        for sync in old {
            if let Err(error) = forget(&client, &records, &sync).await {
                tracing::warn!(%error, sync = sync.name_any(), "failed to delete an old sync");
            }
        }
    }
}

async fn forget(
    client: &Client,
    records: &Records,
    sync: &Arc<VMDiskSync>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let claim = &sync.spec.claim;
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &claim.namespace);
    let found = api.get_metadata_opt(&claim.name).await?;
    if found.is_some_and(|found| found.metadata.uid.as_deref() == Some(claim.uid.as_str())) {
        return Ok(());
    }
    records.delete(sync).await?;
    Ok(())
}

/// Whether a sync ended so long ago that it may be forgotten.
fn is_old(sync: &VMDiskSync, keep: Duration, now: Timestamp) -> bool {
    let Some(status) = &sync.status else { return false };
    let Some(finished) = &status.finished_at else { return false };
    let keep = SignedDuration::try_from(keep).unwrap_or(SignedDuration::MAX);
    status.phase.is_some_and(SyncPhase::is_final) && now.duration_since(finished.0) > keep
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
