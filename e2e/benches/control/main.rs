//! How fast and how quiet the controller is with images so small that only the protocol counts.
//! `cargo xtask bench control` runs it on a cluster with the project on it; with `--json` it prints rows for machines.

mod measure;

use anyhow::{Context as _, Result};
use vmdisk_e2e::bench;
use vmdisk_e2e::figures::{self, Figure};
use vmdisk_e2e::say::say;
use vmdisk_e2e::testing::policy::Policy;
use vmdisk_e2e::testing::{Scene, operator};

use measure::Round;

/// How many claims are measured one after the other.
const SINGLES: usize = 10;

/// How many claims are created at once.
const BURST: usize = 30;

fn main() -> Result<()> {
    bench::run("Kubernetes' volume populator library", "; is the machine busy with something else?", bench())
}

async fn bench() -> Result<Vec<Figure>> {
    let scene = Scene::open("bench").await?;
    let measured = measured(&scene).await;
    let closed = scene.close().await;
    measured.and_then(|figures| closed.map(|()| figures))
}

async fn measured(scene: &Scene) -> Result<Vec<Figure>> {
    let client = &scene.bed.client;
    operator::complete(client).await?;
    operator::leader(client).await?;

    say(&format!("{SINGLES} claims, one after the other"));
    let mut singles = Vec::new();
    for number in 0..SINGLES {
        let round = Round::of(scene, &format!("single-{number}"), 1).await?;
        say(&format!("  bound after {:.2} s, {} writes", round.last_bound.as_secs_f64(), round.writes_per_claim()));
        singles.push(round);
    }

    say(&format!("{BURST} claims at once"));
    let all_at_once = [("concurrency", &*BURST.to_string())];
    let burst = Policy::during(client, &all_at_once, async |_| Round::of(scene, "burst", BURST).await).await?;
    say(&format!("  all bound after {:.2} s", burst.last_bound.as_secs_f64()));

    let bound: Vec<f64> = singles.iter().map(|round| round.last_bound.as_secs_f64()).collect();
    let single_bound = figures::median(&bound).context("nothing was measured")?;
    let most = |count: fn(&Round) -> f64| singles.iter().map(count).fold(0.0, f64::max);
    #[expect(clippy::cast_precision_loss, reason = "KiB of a process")]
    let peak = operator::leader_peak_memory(client).await? as f64 / 1024.0;
    let single_writes = most(Round::writes_per_claim);
    let single_events = most(Round::events_per_claim);
    let (burst_bound, burst_writes) = (burst.last_bound.as_secs_f64(), burst.writes_per_claim());
    let figure = Figure::new;
    Ok(vec![
        figure("single_bound_s", "one claim: Bound, median of 10", single_bound, "s", Some(2.5), Some(3.4)),
        figure("single_writes", "one claim: API writes, most of 10", single_writes, "", Some(9.0), Some(16.0)),
        figure("single_events", "one claim: events, most of 10", single_events, "", Some(1.0), None),
        figure("burst_bound_s", "30 claims at once: the last Bound", burst_bound, "s", Some(20.0), Some(37.0)),
        figure("burst_writes", "30 claims at once: API writes each", burst_writes, "", Some(9.0), Some(10.0)),
        figure("peak_rss_mib", "leader: peak resident memory", peak, "MiB", Some(32.0), Some(44.0)),
    ])
}
