//! Follows our own objects, syncs and workers, and tells everybody whom a change concerns: the machinery (another pass
//! over the claim), the gate (a permit may be free), the image's status, and the follower of the worker's log.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use populator_crd::{
    names,
    v1alpha1::{GoldenPhase, SyncPhase, VMDiskSync},
};
use tokio::{
    select,
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use volume_populator::ClaimRef;

use crate::{
    cache::Change,
    gate::{self, Lane, Lanes},
    image::ImageKey,
    policy::PolicyReceiver,
    sync::{progress::Progresses, records::claim_of, transition},
    world::{Changes, World, golden, phase},
};

/// Whom changes are told.
pub struct Audience {
    /// The machinery.
    pub wake: mpsc::UnboundedSender<ClaimRef>,
    /// The gate.
    pub gate: Lanes,
    /// The images' statuses.
    pub images: mpsc::UnboundedSender<ImageKey>,
    /// The followers of logs.
    pub progress: Progresses,
}

/// How often to look for what no event told.
const SWEEP: Duration = Duration::from_mins(2);

/// Wakes every claim that has something unfinished: at the start, and from time to time after it.
pub async fn sweep(world: World, wake: mpsc::UnboundedSender<ClaimRef>) {
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for claim in world.unfinished() {
            if wake.send(claim).is_err() {
                return;
            }
        }
    }
}

/// Passes changes on, until the gate closes.
pub async fn run(world: World, mut changes: Changes, policy: PolicyReceiver, audience: Audience) {
    let mut observer = Observer { world, policy, audience, phases: HashMap::new() };
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let settled = select! {
            change = changes.syncs.recv() => match change {
                Some(change) => observer.sync_changed(&change).await,
                None => return,
            },
            change = changes.pods.recv() => match change {
                Some(change) => observer.pod_changed(&change).await,
                None => return,
            },
            // A permit that is held for a worker to come lapses by time alone, which no event tells.
            _ = ticks.tick() => observer.settle_all().await,
        };
        if settled.is_err() {
            return;
        }
    }
}

struct Observer {
    world: World,
    policy: PolicyReceiver,
    audience: Audience,
    /// The phases in which each sync, and the golden data that it tells of, were seen last.
    phases: HashMap<String, Phases>,
}

type Phases = (Option<SyncPhase>, Option<GoldenPhase>);
type Settled = Result<(), gate::actor::Closed>;

impl Observer {
    async fn sync_changed(&mut self, change: &Change<VMDiskSync>) -> Settled {
        let sync = &change.object;
        let uid = sync.metadata.uid.as_deref().unwrap_or_default();
        let current = self.world.syncs.of_claim(&sync.spec.claim.uid);
        let going = |sync: &VMDiskSync| sync.metadata.deletion_timestamp.is_some();
        let kept = current.iter().any(|sync| sync.metadata.uid.as_deref() == Some(uid) && !going(sync));
        // Nobody but us writes a record, and whoever writes knows. What others do is delete one.
        if !kept {
            self.world.forget_notes(uid);
            // No receiver: the process is going down, here and below.
            let _ = self.audience.wake.send(claim_of(sync));
        }
        let now = kept.then(|| (phase(sync), golden(sync).map(|golden| golden.phase)));
        let before = match now {
            Some(phases) => self.phases.insert(uid.to_owned(), phases).map(Some),
            None => self.phases.remove(uid).map(Some),
        };
        if before != Some(now) {
            self.wake_those_who_wait_for(sync);
        }
        let _ = self.audience.images.send(ImageKey::of_sync(sync));
        self.settle(&sync.spec.claim.uid, uid).await
    }

    /// Others go by what a sync finds out about their image.
    fn wake_those_who_wait_for(&self, sync: &VMDiskSync) {
        for other in self.world.of_image(&sync.spec.image.uid) {
            if other.metadata.uid != sync.metadata.uid && transition::waits_for_others(other.status.as_ref()) {
                let _ = self.audience.wake.send(claim_of(&other));
            }
        }
    }

    async fn pod_changed(&self, change: &Change<Pod>) -> Settled {
        let pod = &change.object;
        let Some(sync_uid) = self.world.sync_of(pod) else {
            self.report_stray(pod);
            return Ok(());
        };
        let claim_uid = pod.labels().get(names::CLAIM_UID_LABEL).map_or("", String::as_str);
        let sync = self.world.sync(claim_uid, &sync_uid);
        if let Some(sync) = &sync {
            self.audience.progress.observe(pod, sync);
            if !change.ours {
                let _ = self.audience.wake.send(claim_of(sync));
            }
        }
        let gone = !self.world.pods.of_claim(claim_uid).iter().any(|other| other.metadata.uid == pod.metadata.uid);
        let settled = self.settle(claim_uid, &sync_uid).await;
        if gone {
            self.world.forget_pod(pod);
        }
        settled
    }

    /// A pod that has the name and the place of a worker, and is none. Its claim is woken, because it may stand in the way.
    fn report_stray(&self, pod: &Pod) {
        let claim_uid = pod.labels().get(names::CLAIM_UID_LABEL).map_or("", String::as_str);
        for sync in self.world.syncs.of_claim(claim_uid) {
            let _ = self.audience.wake.send(claim_of(&sync));
        }
        tracing::debug!(
            namespace = pod.metadata.namespace,
            pod = pod.name_any(),
            uid = pod.metadata.uid,
            "a pod has the name of a worker, and no record knows it"
        );
    }

    async fn settle_all(&self) -> Settled {
        for sync in self.world.syncs.all() {
            self.settle(&sync.spec.claim.uid, sync.metadata.uid.as_deref().unwrap_or_default()).await?;
        }
        Ok(())
    }

    async fn settle(&self, claim_uid: &str, sync_uid: &str) -> Settled {
        let (gate, now) = (&self.audience.gate, Timestamp::now());
        let sync = self.world.sync(claim_uid, sync_uid);
        let worker = self.world.worker(claim_uid, sync_uid, now);
        if sync.is_none() {
            gate.withdraw(sync_uid).await?;
        }
        let status = sync.as_ref().and_then(|sync| sync.status.as_ref());
        let held = gate::still_held(status, &worker, &self.policy.borrow().clone(), now);
        gate.settle(Lane::of_status(status), sync_uid, held).await
    }
}
