//! The sync as it runs.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use kube::Api;
use populator_crd::VMDiskSync;
use populator_crd::v1alpha1::{SyncPhase, VMDiskSyncStatus};

use super::story::Story;
use super::wait;

/// Shows the only sync of the namespace, a line for each change, until it has succeeded.
pub(super) async fn follow(syncs: &Api<VMDiskSync>, story: &Story, deadline: Duration) -> Result<()> {
    let mut last = String::new();
    let succeeded = wait::observed(syncs, |sync| {
        let status = sync.status.clone().unwrap_or_default();
        let line = line(&status);
        if line != last {
            story.quote(&format!("{:6.1} s  {line}", story.seconds()));
            last = line;
        }
        match status.phase.unwrap_or_default() {
            SyncPhase::Succeeded => Ok(Some(())),
            SyncPhase::Queued | SyncPhase::Syncing => Ok(None),
            // A retry would come; the demo has no reason to need one.
            phase => {
                let failure = status.last_failure.map(|failure| format!("{}: {}", failure.reason, failure.message));
                bail!("the sync is {phase:?}: {}", failure.unwrap_or_else(|| "it names no failure".to_owned()))
            }
        }
    });
    tokio::time::timeout(deadline, succeeded)
        .await
        .map_err(|_| anyhow!("no sync succeeded within {} s; the last was: {last}", deadline.as_secs()))?
}

/// A sync in one line.
fn line(status: &VMDiskSyncStatus) -> String {
    let phase = format!("{:?}", status.phase.unwrap_or_default());
    let Some(progress) = status.progress.as_ref().filter(|_| status.phase == Some(SyncPhase::Syncing)) else {
        return phase;
    };
    let percent = progress.percent.map_or_else(String::new, |percent| format!("{percent}%"));
    let stage = progress.stage.map_or_else(String::new, |stage| format!("{stage:?}"));
    let fetched = progress.bytes_fetched >> 20;
    let speed = progress.bytes_per_second.map_or_else(String::new, |rate| format!(", {} MiB/s", rate >> 20));
    format!("{phase}  {percent:>4}  {stage:<10}  {fetched:>4} MiB{speed}")
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
