//! One round: claims that are created together, until everything about them is at rest.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use populator_crd::VMDiskImage;
use populator_crd::names::CLAIM_UID_LABEL;
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::traces::primes_and_workers;
use vmdisk_e2e::testing::writes::Writes;
use vmdisk_e2e::testing::{Scene, audit, files, until};

/// Long enough for everything that a round of so many claims waits for.
pub(crate) fn long(claims: usize) -> Duration {
    const BASE: Duration = Duration::from_mins(5);
    const EACH: Duration = Duration::from_secs(3);
    BASE + EACH * u32::try_from(claims).unwrap_or(u32::MAX)
}

/// What one round brought.
pub(crate) struct Round {
    /// From the first create request to the sight of the last claim that is Bound.
    pub(crate) last_bound: Duration,
    /// How many claims there were.
    claims: usize,
    /// What the controller wrote for them.
    writes: Writes,
}

impl Round {
    /// Fills `count` claims at once, an image each.
    pub(crate) async fn of(scene: &Scene, name: &str, count: usize) -> Result<Self> {
        let disk = files::publish(scene, &format!("{name}.img"), &vec![7; 1 << 20])?;
        let names: Vec<String> = (0..count).map(|number| format!("{name}-{number}")).collect();
        let images = names.iter().map(|name| objects::image(name, &disk.url)).collect::<Vec<_>>();
        try_join_all(images.iter().map(|image| scene.create(image))).await?;
        // The controller has seen them, and has said so: what follows is about the claims alone.
        let seen =
            |image: &VMDiskImage| image.status.as_ref().is_some_and(|status| status.observed_generation.is_some());
        let api = scene.api::<VMDiskImage>();
        until::all_hold(&api, names.clone(), "the controller has seen it", long(count), seen).await?;

        let before = at_rest(count).await?.len();
        let claims: Vec<_> =
            names.iter().map(|name| objects::claim(name, name, "16Mi", Mode::Filesystem)).collect::<Result<_>>()?;
        let start = Instant::now();
        let ((), last_bound) = tokio::try_join!(
            async { try_join_all(claims.iter().map(|claim| scene.create(claim))).await.map(drop) },
            async {
                let bound = scene.api::<PersistentVolumeClaim>();
                until::all_hold(&bound, names.clone(), "is bound", long(count), objects::is_bound).await?;
                Ok(start.elapsed())
            },
        )?;

        let told = |image: &VMDiskImage| {
            let claims = image.status.as_ref().and_then(|status| status.claims.as_ref());
            claims.is_some_and(|claims| claims.succeeded == 1 && claims.syncing == 0)
        };
        until::all_hold(&api, names, "its claim is counted", long(count), told).await?;
        nothing_of_ours(scene, count).await?;
        let requests = at_rest(count).await?;
        let since = requests.get(before..).context("the audit log has become shorter")?;
        Ok(Self { last_bound, claims: count, writes: Writes::of(since) })
    }

    /// API writes of one claim, on the average.
    pub(crate) fn writes_per_claim(&self) -> f64 {
        average(self.writes.all, self.claims)
    }

    /// Events of one claim, on the average.
    pub(crate) fn events_per_claim(&self) -> f64 {
        average(self.writes.events, self.claims)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few hundred requests")]
fn average(writes: usize, claims: usize) -> f64 {
    writes as f64 / claims as f64
}

/// Waits until primes and workers are gone.
async fn nothing_of_ours(scene: &Scene, claims: usize) -> Result<()> {
    until::probed("primes and workers are gone", long(claims), async || {
        Ok(primes_and_workers(scene, CLAIM_UID_LABEL).await?.is_empty().then_some(()))
    })
    .await
}

/// The controller's requests, read again until no more are written: the log is a moment behind the answers.
async fn at_rest(claims: usize) -> Result<Vec<audit::Event>> {
    let mut last = None;
    until::probed("the controller writes nothing", long(claims), async || {
        let events = audit::of(audit::CONTROLLER)?;
        let writes = events.iter().filter(|event| event.is_write()).count();
        Ok((last.replace(writes) == Some(writes)).then_some(events))
    })
    .await
}
