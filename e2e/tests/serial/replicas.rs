//! Two controllers: one leads, the other takes over.

use std::time::{Duration, Instant};

use anyhow::ensure;
use kube::api::DeleteParams;
use vmdisk_e2e::testing::scenario;

use crate::operator;

/// Design: what leads next must not wait for more than a lease and its retries.
const HAND_OVER: Duration = Duration::from_secs(20);

#[tokio::test]
async fn killing_the_leader_hands_over() {
    scenario("replicas", async |scene| {
        let client = &scene.bed.client;
        operator::complete(client).await?;
        let former = operator::leader(client).await?;
        let killed = Instant::now();
        operator::pods(client).delete(&former, &DeleteParams::default().grace_period(0)).await?;
        let next = operator::next_leader(client, &former, HAND_OVER * 2).await?;
        let took = killed.elapsed();
        ensure!(took < HAND_OVER, "{next} led {took:?} after {former} was killed, expected less than {HAND_OVER:?}");
        operator::complete(client).await
    })
    .await;
}
