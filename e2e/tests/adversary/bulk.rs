//! More forgeries than fit into the operator's memory, and logs without an end.

use anyhow::{Context as _, Result, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use populator_crd::names;
use vmdisk_e2e::testing::forgery::{Deed, Mark, Owner, uuid};
use vmdisk_e2e::testing::tenant::Tenant;
use vmdisk_e2e::testing::victim::Victim;
use vmdisk_e2e::testing::{bed, operator};

use crate::lair::{beside, ends, runs};

/// How many of each kind.
const COUNT: u32 = 300;
/// How long the one annotation of each is. All annotations of an object have at most 256 KiB.
const ANNOTATION: usize = 200 << 10;
/// design.md, section 7, and the issue: what the operator may have at most, in KiB.
const MEMORY: u64 = 64 << 10;
/// At once, so that the API server has something else to do as well.
const WRITERS: usize = 8;

/// One line without an end, of many times the bytes that the operator may have, in portions: who follows a log begins
/// some time after its pod.
const ONE_LINE: &str = "for _ in $(seq 64); do head -c 8M /dev/zero | tr '\\0' x; sleep 0.3; done";
/// Many long lines.
const MANY_LINES: &str =
    "line=$(head -c 8000 /dev/zero | tr '\\0' x); for _ in $(seq 64); do yes $line | head -c 8M; sleep 0.3; done";

#[tokio::test]
async fn objects_and_logs_without_number() {
    beside("bulk", async |scene, tenant| {
        let client = &scene.bed.client;
        let before = Life::of(client).await?;
        let victim = Victim::filling(scene, "claim").await?;
        for (number, script) in [(1, ONE_LINE), (2, MANY_LINES)] {
            let pod = Mark::invented(number).worker(Owner::Unresolved, &Deed::Script(script))?;
            tenant.forge(&pod).await?;
            runs(tenant, &names::worker(&uuid(number))).await?;
        }
        crowd(tenant).await?;
        for number in [1, 2] {
            ends(tenant, &names::worker(&uuid(number))).await?;
        }
        victim.noticed().await?;
        let unharmed = victim.unharmed().await;
        let after = Life::of(client).await?;
        ensure!(before.identity == after.identity, "the operator was {before:?} and is {after:?}");
        unharmed?;
        ensure!(after.peak <= MEMORY, "the operator had {} KiB, and may have {MEMORY}: {before:?}", after.peak);
        Ok(())
    })
    .await;
}

/// Who leads, how often it was started, and the most memory that it had in this life.
#[derive(Debug)]
struct Life {
    identity: (String, i32),
    peak: u64,
}

impl Life {
    async fn of(client: &Client) -> Result<Self> {
        let leader = operator::leader(client).await?;
        let pod = operator::pods(client).get(&leader).await?;
        let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
        let restarts = statuses.first().context("the operator has a container")?.restart_count;
        let peak = operator::leader_peak_memory(client).await?;
        Ok(Self { identity: (leader, restarts), peak })
    }
}

/// Pods that are never scheduled and claims that nobody provisions, each with our labels and a large annotation.
async fn crowd(tenant: &Tenant) -> Result<()> {
    let class = serde_json::json!({"storageClassName": bed::variable("STORAGE_CLASS_WFFC")?});
    stream::iter(0..COUNT)
        .map(anyhow::Ok)
        .try_for_each_concurrent(WRITERS, async |number| {
            let mark = Mark::invented(1000 + number);
            let large = || ("adversary.example/noise".to_owned(), "x".repeat(ANNOTATION));
            let mut pod = mark.worker(Owner::Nobody, &Deed::Waits)?;
            pod.metadata.annotations.get_or_insert_default().extend([large()]);
            let mut claim = mark.claim(&names::prime(&mark.claim_uid), Owner::Nobody, &class)?;
            claim.metadata.annotations.get_or_insert_default().extend([large()]);
            // Nobody holds so many.
            claim.metadata.finalizers = None;
            if number == 0 {
                tenant.forge::<Pod>(&pod).await?;
                tenant.forge(&claim).await?;
            } else {
                tenant.forge_again(&pod).await?;
                tenant.forge_again(&claim).await?;
            }
            Ok(())
        })
        .await
}
