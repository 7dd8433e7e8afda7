//! Everything that a user can delete, deleted at every stage of a claim: soon nothing is left but what is still wanted,
//! and other claims go on meanwhile.
//!
//! All objects of a stage are deleted at once, each of them another claim's: so a stage is reached, and left, once.

mod case;
mod stage;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use vmdisk_e2e::testing::scene::delete_namespace;
use vmdisk_e2e::testing::{Scene, scenario};

use crate::policy::Policy;
use case::Case;
use stage::{Held, Stage};

/// A limit for what hangs. That nothing waits for a filling that is not wanted any more is seen by its source, which stalls
/// until all of it is gone.
const GONE: Duration = Duration::from_mins(3);

/// What is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Object {
    Claim,
    Image,
    Namespace,
    Worker,
    Prime,
}

impl Object {
    const ALL: [Self; 5] = [Self::Claim, Self::Image, Self::Namespace, Self::Worker, Self::Prime];
}

/// What must come of the claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Nothing of it is left.
    Gone,
    /// It stays, without anything that was made for it, and is filled once there is an image of that name again.
    Waits,
    /// It is filled.
    Filled,
}

/// What must come of a claim when the object is deleted at that stage; `None`: there is no such object then.
const fn outcome(object: Object, stage: Stage) -> Option<Outcome> {
    match (object, stage) {
        (Object::Claim | Object::Namespace, _) => Some(Outcome::Gone),
        // The gate comes before the prime, so a queued claim has neither.
        (Object::Worker | Object::Prime, Stage::Queued) => None,
        // Made again; and needed no more, like the image, once the volume was handed over.
        (Object::Worker | Object::Prime, _) | (Object::Image, Stage::Rebinding) => Some(Outcome::Filled),
        // A filling whose image has gone is given up.
        (Object::Image, _) => Some(Outcome::Waits),
    }
}

#[tokio::test]
async fn deleted_while_queued() {
    deleted_at(Stage::Queued).await;
}

#[tokio::test]
async fn deleted_while_the_volume_is_provisioned() {
    deleted_at(Stage::Provisioning).await;
}

#[tokio::test]
async fn deleted_while_the_worker_fills() {
    deleted_at(Stage::Filling).await;
}

#[tokio::test]
async fn deleted_while_the_volume_is_bound_again() {
    deleted_at(Stage::Rebinding).await;
}

async fn deleted_at(stage: Stage) {
    scenario("deletion", async |scene| {
        // All are at the stage at once, unless it is the queue; and an attempt that was interrupted starts again soon.
        let concurrency = if stage == Stage::Queued { "1" } else { "16" };
        let keys = [("concurrency", concurrency), ("retryBackoffDuration", "1s")];
        let doomed = Scene { namespace: scene.another_namespace("doomed").await?, ..scene.clone() };
        let client = &scene.bed.client;
        let outcome = Policy::during(client, &keys, async |_| delete_all(scene, &doomed, stage).await).await;
        delete_namespace(&scene.bed, &doomed.namespace).await?;
        outcome
    })
    .await;
}

async fn delete_all(scene: &Scene, doomed: &Scene, stage: Stage) -> Result<()> {
    let mut held = Held::prepare(scene, stage).await?;
    let mut cases = Vec::new();
    for object in Object::ALL {
        if let Some(outcome) = outcome(object, stage) {
            let scene = if object == Object::Namespace { doomed } else { scene };
            cases.push(Case::create(scene, object, outcome, &held).await?);
        }
    }
    held.reach(&cases).await?;
    let other = held.other().await?;

    let deleted = try_join_all(cases.iter().map(Case::delete)).await?;
    let since = Instant::now();
    // The driver and the binder have to do their part; a source may stall as long as it likes.
    held.let_machinery_go();
    let left = || GONE.saturating_sub(since.elapsed());
    for (case, uid) in cases.iter().zip(&deleted) {
        case.until_gone(uid, left()).await.with_context(|| format!("{:?} deleted", case.object))?;
    }

    held.let_sources_go(&cases, &other).await?;
    // Not one claim has to wait for another.
    let (others, cases) = tokio::join!(other.judge(scene), try_join_all(cases.iter().map(Case::judge)));
    others.context("the claim of which nothing was deleted")?;
    cases?;
    held.clean_up().await
}
