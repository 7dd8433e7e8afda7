//! Forged workers that never end take no place from anybody, also where the operator has just begun and counts what is
//! at work.

use anyhow::Result;
use vmdisk_e2e::testing::forgery::{Deed, Mark, Owner};
use vmdisk_e2e::testing::operator::kill_leader;
use vmdisk_e2e::testing::scene::delete_namespace;
use vmdisk_e2e::testing::tenant::Tenant;
use vmdisk_e2e::testing::{Scene, scenario};

use super::bystander;

/// Twice the policy's default concurrency.
const COUNT: u32 = 8;

#[tokio::test]
async fn are_not_taken_by_forged_workers() {
    scenario("permits", async |scene| {
        let namespace = scene.another_namespace("adversary").await?;
        let outcome = restarted(scene, &namespace).await;
        delete_namespace(&scene.bed, &namespace).await?;
        outcome
    })
    .await;
}

async fn restarted(scene: &Scene, namespace: &str) -> Result<()> {
    let tenant = Tenant::enter(&scene.bed, namespace).await?;
    for number in 0..COUNT {
        tenant.forge(&Mark::invented(number).worker(Owner::Unresolved, &Deed::Waits)?).await?;
    }
    kill_leader(&scene.bed.client).await?;
    bystander(scene).await
}
