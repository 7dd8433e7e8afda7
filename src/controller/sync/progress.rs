//! Follows the logs of running workers, and writes their progress into the records: seldom, and not at all for a sync
//! that is over before the first time.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{AsyncBufReadExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt, api::LogParams};
use populator_crd::v1alpha1::{Progress, Stage, SyncPhase, VMDiskSyncStatus};
use tokio::time::{Instant, sleep, timeout};
use vmdisk_wire as wire;

use super::records::Records;
use crate::{
    worker::{Worker, node_of},
    world::{World, claim_of_pod, owner_of},
};

/// How often a record is written at most.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long a log may be silent.
const SILENCE: Duration = Duration::from_mins(1);

/// How long to wait before following a log again whose stream broke off.
const RECONNECT: Duration = Duration::from_secs(2);

/// The followers of all running workers.
#[derive(Clone)]
pub struct Progresses {
    client: Client,
    world: World,
    records: Records,
    followed: Arc<Mutex<HashSet<String>>>,
}

impl Progresses {
    /// No followers yet.
    #[must_use]
    pub fn new(client: Client, world: World, records: Records) -> Self {
        Self { client, world, records, followed: Arc::default() }
    }

    /// A worker changed: if it runs, its log is followed from now on, and its node is noted with the first progress.
    pub fn observe(&self, pod: &Arc<Pod>) {
        let Some(uid) = pod.uid() else { return };
        if Worker::observe(Some(pod), Timestamp::now()) != Worker::Running || !self.follow(&uid) {
            return;
        }
        let (this, pod) = (self.clone(), Arc::clone(pod));
        tokio::spawn(async move {
            this.run(&pod).await;
            this.followed.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
        });
    }

    fn follow(&self, pod_uid: &str) -> bool {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner).insert(pod_uid.to_owned())
    }

    async fn run(&self, pod: &Pod) {
        // Most small syncs end within the first interval, and then nobody need open their log at all.
        sleep(INTERVAL).await;
        let mut meter = Meter::new(Instant::now());
        while self.is_running(pod) {
            if let Err(error) = self.read(pod, &mut meter).await {
                tracing::debug!(%error, pod = pod.name_any(), "the log of a worker broke off");
            }
            sleep(RECONNECT).await;
        }
    }

    async fn read(&self, pod: &Pod, meter: &mut Meter) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let params = LogParams { follow: true, tail_lines: Some(1), ..LogParams::default() };
        let mut lines = api.log_stream(&pod.name_any(), &params).await?.lines();
        // A node that is lost ends no stream; whether its pod still runs is asked again after a silence.
        while let Some(line) = timeout(SILENCE, lines.try_next()).await?? {
            let Some(said) = wire::Progress::parse(&line) else { continue };
            if let Some(progress) = meter.take(said, Instant::now())
                && !self.write(pod, progress).await
            {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Writes the progress; false if the sync is not at it any more.
    async fn write(&self, pod: &Pod, progress: Progress) -> bool {
        let (Some(claim), Some(sync_uid)) = (claim_of_pod(pod), owner_of(pod)) else {
            return false;
        };
        let syncs = self.records.of_claim(&claim.uid);
        let Some(sync) = syncs.into_iter().find(|sync| sync.metadata.uid.as_deref() == Some(sync_uid)) else {
            return false;
        };
        let Some(status) = sync.status.as_ref().filter(|status| status.phase == Some(SyncPhase::Syncing)) else {
            return false;
        };
        let next = VMDiskSyncStatus { progress: Some(progress), node: self.node_of(pod), ..status.clone() };
        if let Err(error) = self.records.write(&sync, &next).await {
            tracing::debug!(%error, "failed to write progress; the next line tells more");
        }
        true
    }

    fn current(&self, pod: &Pod) -> Option<Arc<Pod>> {
        let claim = claim_of_pod(pod)?;
        self.world.pods.of_claim(&claim.uid).into_iter().find(|other| other.uid() == pod.uid())
    }

    fn is_running(&self, pod: &Pod) -> bool {
        Worker::observe(self.current(pod).as_deref(), Timestamp::now()) == Worker::Running
    }

    fn node_of(&self, pod: &Pod) -> Option<String> {
        let current = self.current(pod)?;
        node_of(&current).map(str::to_owned)
    }
}

/// Turns a worker's words into records: how fast, and not too often.
struct Meter {
    last: Option<(Instant, u64)>,
    next: Instant,
}

impl Meter {
    fn new(now: Instant) -> Self {
        Self { last: None, next: now }
    }

    /// What to write now; `None`: it is too early.
    fn take(&mut self, said: wire::Progress, now: Instant) -> Option<Progress> {
        if now < self.next {
            return None;
        }
        self.next = now + INTERVAL;
        let rate = self.last.and_then(|(then, bytes)| {
            let seconds = now.duration_since(then).as_secs();
            said.bytes_fetched.checked_sub(bytes)?.checked_div(seconds)
        });
        self.last = Some((now, said.bytes_fetched));
        Some(Progress {
            percent: said.percent.map(|percent| i32::from(percent.min(100))),
            bytes_fetched: signed(said.bytes_fetched),
            bytes_written: signed(said.bytes_written),
            bytes_per_second: rate.map(signed),
            stage: Some(stage(said.stage)),
        })
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

const fn stage(stage: wire::Stage) -> Stage {
    match stage {
        wire::Stage::Connecting => Stage::Connecting,
        wire::Stage::Inspecting => Stage::Inspecting,
        wire::Stage::Fetching => Stage::Fetching,
        wire::Stage::Converting => Stage::Converting,
        wire::Stage::Finalizing => Stage::Finalizing,
    }
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
