//! Follows our own objects, syncs and workers, and tells everybody whom a change concerns: the machinery (another pass
//! over the claim), the gate (a permit may be free), the image's status, and the follower of the worker's log.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use populator_crd::v1alpha1::VMDiskSync;
use tokio::{
    select,
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use volume_populator::ClaimRef;

use crate::{
    cache::Change,
    gate::{self, Gate},
    image::ImageKey,
    sync::{progress::Progresses, records::claim_of},
    worker::Worker,
    world::{Changes, World, claim_of_pod, owner_of, phase},
};

/// Whom changes are told.
pub struct Audience {
    /// The machinery.
    pub wake: mpsc::UnboundedSender<ClaimRef>,
    /// The gate.
    pub gate: Gate,
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
pub async fn run(world: World, mut changes: Changes, audience: Audience) {
    loop {
        let settled = select! {
            change = changes.syncs.recv() => match change {
                Some(change) => sync_changed(&world, &audience, &change).await,
                None => return,
            },
            change = changes.pods.recv() => match change {
                Some(change) => pod_changed(&world, &audience, &change).await,
                None => return,
            },
        };
        if settled.is_err() {
            return;
        }
    }
}

async fn sync_changed(
    world: &World,
    audience: &Audience,
    change: &Change<VMDiskSync>,
) -> Result<(), gate::actor::Closed> {
    let sync = &change.object;
    let uid = sync.metadata.uid.as_deref().unwrap_or_default();
    let current = world.syncs.of_claim(&sync.spec.claim.uid);
    let going = |sync: &VMDiskSync| sync.metadata.deletion_timestamp.is_some();
    // Nobody but us writes a record, and whoever writes knows. What others do is delete one.
    if !current.iter().any(|sync| sync.metadata.uid.as_deref() == Some(uid) && !going(sync)) {
        // No receiver: the process is going down, here and below.
        let _ = audience.wake.send(claim_of(sync));
    }
    let _ = audience.images.send(ImageKey::of_sync(sync));
    settle(world, &audience.gate, &sync.spec.claim.uid, uid).await
}

async fn pod_changed(world: &World, audience: &Audience, change: &Change<Pod>) -> Result<(), gate::actor::Closed> {
    let pod = &change.object;
    let Some(claim) = claim_of_pod(pod) else {
        return Ok(());
    };
    audience.progress.observe(pod);
    let result = match owner_of(pod) {
        Some(sync_uid) => settle(world, &audience.gate, &claim.uid, sync_uid).await,
        None => Ok(()),
    };
    if !change.ours {
        let _ = audience.wake.send(claim);
    }
    result
}

async fn settle(world: &World, gate: &Gate, claim_uid: &str, sync_uid: &str) -> Result<(), gate::actor::Closed> {
    let sync = world.syncs.of_claim(claim_uid).into_iter().find(|sync| sync.metadata.uid.as_deref() == Some(sync_uid));
    let worker = world.worker_of(claim_uid, sync_uid);
    let worker = Worker::observe(worker.as_deref(), Timestamp::now());
    if sync.is_none() {
        gate.withdraw(sync_uid).await?;
    }
    let phase = sync.as_ref().and_then(|sync| phase(sync));
    gate.settle(sync_uid, gate::still_held(phase, &worker)).await
}
