//! An adversary who may edit the images' own namespace. There, he can keep a claim from being filled, as he could by
//! deleting its image. But nothing that he made is taken for ours, no place in the queue is kept by it, the claim is
//! told what stands in its way, and is filled once that is gone. design.md, section 4, points 8 and 13 to 16.
//!
//! What bears our names and labels is forged from behind the admission policies, as in the suite `adversary`.

mod consumers;
mod deletions;
mod names_taken;
mod permits;

use anyhow::{Result, ensure};
use populator_crd::v1alpha1::SyncPhase;
use vmdisk_e2e::testing::Scene;
use vmdisk_e2e::testing::objects;
use vmdisk_e2e::testing::victim::Victim;

use crate::policy::Policy;

/// Two places, so that three claims that each keep one are seen; and short waits.
const SHORT: [(&str, &str); 4] =
    [("concurrency", "2"), ("startTimeout", "15s"), ("retryBackoffDuration", "1s"), ("retryBackoffMax", "2s")];

/// Has the short policy in force.
async fn in_short(scene: &Scene, work: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    Policy::during(&scene.bed.client, &SHORT, async |_| work().await).await
}

/// A claim that nobody attacks is filled.
async fn bystander(scene: &Scene) -> Result<()> {
    let bystander = Victim::plan(scene, "bystander", false).await?;
    bystander.image().await?;
    bystander.claim().await?;
    bystander.unharmed().await
}

/// Something stands in its way: it is neither filled nor given up.
async fn waits(victim: &Victim) -> Result<()> {
    ensure!(!objects::is_bound(&victim.object().await?), "{} was handed a volume all the same", victim.name);
    let status = victim.status().await?.unwrap_or_default();
    ensure!(status.phase != Some(SyncPhase::Failed), "{} was given up: {:?}", victim.name, status.last_failure);
    Ok(())
}
