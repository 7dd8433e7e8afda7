//! Follows the logs of running workers, and writes their progress into the records: seldom, and not at all for a sync
//! that is over before the first time.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt, api::LogParams};
use populator_crd::v1alpha1::{Progress, Stage, SyncPhase, VMDiskSync, VMDiskSyncStatus};
use tokio::time::{Instant, sleep, timeout};
use vmdisk_wire as wire;

use super::{lines::Lines, records::Records};
use crate::{
    runtime::tasks::Tasks,
    worker::{CONTAINER, Worker, node_of},
    world::{World, phase},
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
    tasks: Tasks,
    followed: Arc<Mutex<HashSet<String>>>,
}

impl Progresses {
    /// No followers yet.
    #[must_use]
    pub fn new(client: Client, world: World, records: Records, tasks: Tasks) -> Self {
        Self { client, world, records, tasks, followed: Arc::default() }
    }

    /// The worker of a sync changed: if it runs, its log is followed from now on, and its node is noted with the first
    /// progress.
    pub fn observe(&self, pod: &Arc<Pod>, sync: &VMDiskSync) {
        let Some(uid) = pod.uid() else { return };
        let runs = Worker::observe(Some(pod), Timestamp::now()) == Worker::Running;
        if !runs || phase(sync) != Some(SyncPhase::Syncing) || !self.follow(&uid) {
            return;
        }
        let (this, pod) = (self.clone(), Arc::clone(pod));
        let of = Followed { claim_uid: sync.spec.claim.uid.clone(), sync_uid: sync.uid().unwrap_or_default() };
        self.tasks.once("progress of a worker", async move {
            this.run(&pod, &of).await;
            this.followed.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
        });
    }

    fn follow(&self, pod_uid: &str) -> bool {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner).insert(pod_uid.to_owned())
    }

    async fn run(&self, pod: &Pod, of: &Followed) {
        // Most small syncs end within the first interval, and then nobody need open their log at all.
        sleep(INTERVAL).await;
        let mut meter = Meter::new(Instant::now());
        while self.is_running(pod, of) {
            if let Err(error) = self.read(pod, of, &mut meter).await {
                tracing::debug!(%error, pod = pod.name_any(), "the log of a worker broke off");
            }
            sleep(RECONNECT).await;
        }
    }

    async fn read(
        &self,
        pod: &Pod,
        of: &Followed,
        meter: &mut Meter,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let container = Some(CONTAINER.to_owned());
        let params = LogParams { container, follow: true, tail_lines: Some(1), ..LogParams::default() };
        let mut log = Lines::new(api.log_stream(&pod.name_any(), &params).await?);
        // A node that is lost ends no stream; whether its pod still runs is asked again after a silence.
        while let Some(line) = timeout(SILENCE, log.next()).await?? {
            let Some(said) = wire::Progress::parse(&line) else { continue };
            if let Some(progress) = meter.take(said, Instant::now())
                && !self.write(pod, of, progress).await
            {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Writes the progress; false if the sync is not at it any more.
    async fn write(&self, pod: &Pod, of: &Followed, progress: Progress) -> bool {
        let syncs = self.records.of_claim(&of.claim_uid);
        let Some(sync) = syncs.into_iter().find(|sync| sync.metadata.uid.as_ref() == Some(&of.sync_uid)) else {
            return false;
        };
        let Some(status) = sync.status.as_ref().filter(|status| status.phase == Some(SyncPhase::Syncing)) else {
            return false;
        };
        let next = VMDiskSyncStatus { progress: Some(progress), node: self.node_of(pod, of), ..status.clone() };
        if let Err(error) = self.records.write(&sync, &next).await {
            tracing::debug!(%error, "failed to write progress; the next line tells more");
        }
        true
    }

    fn current(&self, pod: &Pod, of: &Followed) -> Option<Arc<Pod>> {
        self.world.worker_of(&of.claim_uid, &of.sync_uid).filter(|other| other.uid() == pod.uid())
    }

    fn is_running(&self, pod: &Pod, of: &Followed) -> bool {
        Worker::observe(self.current(pod, of).as_deref(), Timestamp::now()) == Worker::Running
    }

    fn node_of(&self, pod: &Pod, of: &Followed) -> Option<String> {
        let current = self.current(pod, of)?;
        node_of(&current).map(str::to_owned)
    }
}

/// Whose worker is followed.
struct Followed {
    claim_uid: String,
    sync_uid: String,
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
