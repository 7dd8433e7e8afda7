//! Forgets finished syncs: `syncHistory` after their end, and not before their claim is gone.
//!
//! Nothing of what is finished is kept in memory: the API server is asked, page by page, for what has ended, and for the
//! claim of what ended long ago.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{
    Api, Client, Error, ResourceExt,
    api::{ListParams, ObjectList},
};
use populator_crd::v1alpha1::{SyncPhase, VMDiskSync};
use tokio::{
    select,
    time::{Instant, sleep_until},
};

use crate::{
    policy::PolicyReceiver,
    runtime::{deadline::within, removal::remove},
};

/// How often to look. What is kept too long costs the API server's disk a few hundred bytes; a look costs a request for
/// each old sync whose claim still lives, and of those there are as many as there are disks in use.
const INTERVAL: Duration = Duration::from_hours(1);

/// The soonest to look again, however short the history is.
const SHORTEST: Duration = Duration::from_secs(10);

/// The syncs of one page.
const PAGE: u32 = 200;

/// How soon a new leader looks: it has more urgent things to ask for.
const FIRST: Duration = Duration::from_mins(10);

/// The phases of syncs that have ended.
const ENDS: [&str; 3] = ["Succeeded", "Failed", "Cancelled"];

/// Looks for syncs to forget, for as long as anybody has a policy.
pub async fn run(client: Client, mut policy: PolicyReceiver) {
    let mut since = Instant::now();
    let mut longest = FIRST;
    loop {
        let keep = policy.borrow_and_update().sync_history;
        select! {
            changed = policy.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            () = sleep_until(since + pause(keep).min(longest)) => {}
        }
        (since, longest) = (Instant::now(), INTERVAL);
        for phase in ENDS {
            if let Err(error) = walk(&client, phase, keep).await {
                tracing::warn!(%error, phase, "failed to list finished syncs; the next look begins anew");
            }
        }
    }
}

/// How long to wait between two looks: a short history is kept to.
fn pause(keep: Duration) -> Duration {
    keep.clamp(SHORTEST, INTERVAL)
}

/// Forgets what is old of those that ended in this phase.
async fn walk(client: &Client, phase: &str, keep: Duration) -> Result<(), Error> {
    let syncs: Api<VMDiskSync> = Api::all(client.clone());
    let first = ListParams::default().fields(&format!("status.phase={phase}")).limit(PAGE);
    let mut params = first.clone();
    loop {
        let page = match within(syncs.list(&params)).await {
            Err(error) => match resumed(&error) {
                Some(token) => within(syncs.list(&first.clone().continue_token(&token))).await?,
                None => return Err(error),
            },
            Ok(page) => page,
        };
        let next = continued(&page);
        let now = Timestamp::now();
        for sync in page.items.iter().filter(|sync| is_old(sync, keep, now)) {
            if let Err(error) = forget(client, sync).await {
                tracing::warn!(%error, sync = sync.name_any(), "failed to forget an old sync; trying again later");
            }
        }
        match next {
            Some(token) => params = first.clone().continue_token(&token),
            None => return Ok(()),
        }
    }
}

fn continued(page: &ObjectList<VMDiskSync>) -> Option<String> {
    page.metadata.continue_.clone().filter(|token| !token.is_empty())
}

/// Where a walk goes on that took longer than the API server keeps a list (five minutes): its refusal, 410, brings a
/// token for the rest as it is now (Kubernetes API concepts, "Retrieving large results sets in chunks"). Otherwise the
/// tail of a long history would never be reached.
fn resumed(error: &Error) -> Option<String> {
    match error {
        Error::Api(status) if status.code == 410 => {
            status.metadata.as_ref()?.continue_.clone().filter(|token| !token.is_empty())
        }
        _ => None,
    }
}

async fn forget(client: &Client, sync: &VMDiskSync) -> Result<(), Error> {
    let claim = &sync.spec.claim;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &claim.namespace);
    let found = within(claims.get_metadata_opt(&claim.name)).await?;
    if found.is_some_and(|found| found.metadata.uid.as_deref() == Some(claim.uid.as_str())) {
        return Ok(());
    }
    let syncs: Api<VMDiskSync> = Api::namespaced(client.clone(), &sync.namespace().unwrap_or_default());
    remove(&syncs, &sync.name_any(), sync.uid()).await.map(drop)
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
