//! Two controllers: one leads, the other takes over.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::coordination::v1::LeaseSpec;
use kube::api::ListParams;
use populator_crd::VMDiskSync;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::machine::Stopped;
use vmdisk_e2e::servers::Fault;
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::{Scene, scenario};

use crate::disk::Disk;
use crate::operator;

const SOON: Duration = Duration::from_mins(1);
/// A limit for what hangs: how fast this machine is says nothing about the hand-over.
const LONG: Duration = Duration::from_mins(3);
/// Design, in seconds: nobody leads for no longer. The lease takes half of it, and leaves half to those who look at it.
const HAND_OVER: i32 = 20;

#[tokio::test]
async fn killing_the_leader_hands_over_and_work_goes_on() {
    scenario("replicas", async |scene| {
        let client = &scene.bed.client;
        operator::complete(client).await?;
        let running = Disk::publish(scene, "running", Fault::stalling()).await?;
        create_claim(scene, &running).await?;
        running.server.until_held(&running.published.path, SOON).await?;
        let waiting = Disk::publish(scene, "waiting", Fault::default()).await?;

        // Read before the kill: a later renewal makes the wait that is seen below longer, never shorter.
        let before = operator::lease(client).await?;
        let former = before.holder_identity.clone().context("the leader has a name")?;
        let node = operator::pods(client).get(&former).await?.spec.and_then(|spec| spec.node_name);
        let node = node.context("the leader has a node")?;
        // Its kubelet would start it again at once, and it would find its own lease.
        let kubelet = Stopped::new(&Instance::current()?, &format!("{node}-kubelet"))?;
        operator::kill(client, &former).await?;
        create_claim(scene, &waiting).await?;
        let after = operator::next_lease(client, &former, LONG).await?;
        drop(kubelet);
        judge_hand_over(&before, &after).with_context(|| format!("from {before:?} to {after:?}"))?;

        // Nobody touches the worker that was at work; what came while nobody led is filled as well.
        waiting.judge(scene).await?;
        running.server.release(&running.published.path).await?;
        running.judge(scene).await?;
        let syncs = scene.api::<VMDiskSync>().list(&ListParams::default()).await?;
        let once = |sync: &VMDiskSync| sync.status.as_ref().is_some_and(|status| status.attempt == 1);
        ensure!(syncs.iter().all(once), "the hand-over cost an attempt: {syncs:?}");
        operator::complete(client).await
    })
    .await;
}

/// Whether the next leader took the lease as the former one had promised it, by what both wrote into it.
fn judge_hand_over(before: &LeaseSpec, after: &LeaseSpec) -> Result<()> {
    let promised = before.lease_duration_seconds.context("a lease has a duration")?;
    ensure!(promised * 2 <= HAND_OVER, "the lease lasts {promised} s, expected half of {HAND_OVER} s at most");
    let (renewed, acquired) = (before.renew_time.as_ref(), after.acquire_time.as_ref());
    let (renewed, acquired) = renewed.zip(acquired).context("a lease has its times")?;
    // Of one machine's clock, which no load makes run backwards.
    let waited = acquired.0.duration_since(renewed.0).as_secs();
    ensure!(waited >= i64::from(promised), "the lease was taken {waited} s after it was renewed");
    let (then, now) = (before.lease_transitions.unwrap_or(0), after.lease_transitions.unwrap_or(0));
    ensure!(now == then + 1, "the lease went from hand to hand {} times", now - then);
    Ok(())
}

async fn create_claim(scene: &Scene, disk: &Disk) -> Result<()> {
    scene.create(&objects::claim(&disk.name, &disk.name, "64Mi", Mode::Filesystem)?).await.map(drop)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(promised: i32, acquired: &str, transitions: i32) -> bool {
        let before = json!({
            "leaseDurationSeconds": promised, "renewTime": "2026-01-01T00:00:00.000000Z", "leaseTransitions": 3,
        });
        let after = json!({"acquireTime": acquired, "leaseTransitions": transitions});
        let read = |lease| serde_json::from_value(lease).unwrap();
        judge_hand_over(&read(before), &read(after)).is_ok()
    }

    #[test]
    fn a_lease_is_taken_once_and_not_before_it_ran_out() {
        assert!(judged(10, "2026-01-01T00:00:10.000000Z", 4));
        assert!(judged(10, "2026-01-01T00:05:00.000000Z", 4), "slow is not wrong");
        assert!(!judged(10, "2026-01-01T00:00:09.999999Z", 4), "early");
        assert!(!judged(10, "2026-01-01T00:00:10.000000Z", 5), "twice");
        assert!(!judged(11, "2026-01-01T00:01:00.000000Z", 4), "promised for too long");
    }
}
