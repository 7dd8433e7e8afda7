//! How fast and how quiet the controller is with images so small that only the protocol counts, and how near to what the
//! same claims and pods take without a controller. `cargo xtask bench control` runs it on a cluster with the project on
//! it; with `--json` it prints rows for machines, with `--large` it takes a thousand claims at once, too.

mod floor;
mod measure;
mod room;
mod sizes;

use anyhow::{Context as _, Result};
use kube::api::ListParams;
use populator_crd::names::CLAIM_UID_LABEL;
use vmdisk_e2e::bench;
use vmdisk_e2e::figures::{self, Figure};
use vmdisk_e2e::say::say;
use vmdisk_e2e::testing::likeness::Likeness;
use vmdisk_e2e::testing::policy::Policy;
use vmdisk_e2e::testing::tape::Tape;
use vmdisk_e2e::testing::{Bed, Scene, operator};

use measure::Round;
use sizes::{BURSTS, Burst, Measured, SINGLE};

/// How many claims are measured one after the other.
const SINGLES: usize = 10;

/// How many syncs may run at once, and so how many pods of the floor. Two kubelets have room for 220 pods, but what is
/// measured is how fast places are filled again, and that takes fewer of them than claims.
const AT_ONCE: usize = 30;

fn main() -> Result<()> {
    let large = std::env::args().any(|argument| argument == "--large");
    bench::run("Kubernetes' volume populator library", "; is the machine busy with something else?", bench(large))
}

async fn bench(large: bool) -> Result<Vec<Figure>> {
    let bed = Bed::attach().await?;
    operator::complete(&bed.client).await?;
    operator::leader(&bed.client).await?;
    let at_once = AT_ONCE.to_string();
    let mut figures =
        Policy::during(&bed.client, &[("concurrency", &at_once)], async |_| measured(large).await).await?;
    #[expect(clippy::cast_precision_loss, reason = "KiB of a process")]
    let peak = operator::leader_peak_memory(&bed.client).await? as f64 / 1024.0;
    figures.push(Figure::new("peak_rss_mib", "leader: peak resident memory", peak, "MiB", Some(32.0), Some(44.0)));
    Ok(figures)
}

async fn measured(large: bool) -> Result<Vec<Figure>> {
    let likeness = room::with("likeness", likeness).await?;
    say(&format!("{SINGLES} claims, one after the other"));
    let mut figures = room::with("singles", async |scene| singles(scene, &likeness).await).await?;
    for burst in BURSTS.iter().filter(|burst| large || !burst.large) {
        say(&format!("{} claims at once", burst.claims));
        figures.extend(at_once(burst, &likeness).await?);
    }
    Ok(figures)
}

/// Fills one claim, and takes the likeness of what was made for it.
async fn likeness(scene: &Scene) -> Result<Likeness> {
    let ours = || ListParams::default().labels(CLAIM_UID_LABEL);
    let (primes, workers) = tokio::try_join!(Tape::start(scene.api(), ours()), Tape::start(scene.api(), ours()))?;
    Round::of(scene, "likeness", 1).await?;
    let (primes, workers) = tokio::try_join!(primes.stop(), workers.stop())?;
    let (prime, _) = primes.first().context("a claim was filled without a prime")?;
    let (worker, _) = workers.first().context("a claim was filled without a worker")?;
    Likeness::of(prime, worker)
}

async fn singles(scene: &Scene, likeness: &Likeness) -> Result<Vec<Figure>> {
    let (mut rounds, mut floors) = (Vec::new(), Vec::new());
    for number in 0..SINGLES {
        let round = Round::of(scene, &format!("single-{number}"), 1).await?;
        let floor = floor::of(scene, likeness, &format!("bare-{number}"), 1, 1).await?.as_secs_f64();
        let (bound, writes) = (round.last_bound.as_secs_f64(), round.writes_per_claim());
        say(&format!("  bound after {bound:.2} s, {writes} writes; the floor: {floor:.2} s"));
        rounds.push(round);
        floors.push(floor);
    }
    let bound: Vec<f64> = rounds.iter().map(|round| round.last_bound.as_secs_f64()).collect();
    let most = |count: fn(&Round) -> f64| rounds.iter().map(count).fold(0.0, f64::max);
    let measured = Measured {
        bound: figures::median(&bound).context("nothing was measured")?,
        writes: most(Round::writes_per_claim),
        floor: figures::median(&floors).context("nothing was measured")?,
    };
    let events = most(Round::events_per_claim);
    let mut figures = SINGLE.figures(measured);
    figures.push(Figure::new("single_events", "one claim: events, most of 10", events, "", Some(1.0), None));
    Ok(figures)
}

async fn at_once(burst: &Burst, likeness: &Likeness) -> Result<Vec<Figure>> {
    let round = room::with("burst", async |scene| Round::of(scene, "burst", burst.claims).await).await?;
    let (bound, writes) = (round.last_bound.as_secs_f64(), round.writes_per_claim());
    say(&format!("  all bound after {bound:.2} s, {writes:.2} writes each"));
    let floor = async |scene: &Scene| floor::of(scene, likeness, "bare", burst.claims, AT_ONCE).await;
    let floor = room::with("floor", floor).await?.as_secs_f64();
    say(&format!("  the floor: {floor:.2} s"));
    Ok(burst.rows.figures(Measured { bound, writes, floor }))
}
