//! What the controller costs where much was done before: memory, requests, and the time after a restart, with 100, 1,000
//! and 10,000 filled claims behind it and 1,000 before it. `cargo xtask bench scale` runs it on a stage (`stage`), with the
//! release build; with `--json` it prints rows for machines.

mod stock;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use populator_crd::v1alpha1::SyncPhase;
use vmdisk_e2e::bench;
use vmdisk_e2e::figures::Figure;
use vmdisk_e2e::say::say;
use vmdisk_e2e::stage::{Controller, RARE_RESYNC, Stage};
use vmdisk_e2e::testing::until;

use stock::Stock;

/// How many claims wait.
const WAITING: usize = 1_000;
/// How many of them are filled in each round.
const FILLED: usize = 100;
/// How many at once.
const CONCURRENCY: &str = "4";
/// Against hanging.
const LONG: Duration = Duration::from_mins(15);
/// The controller gathers changes of images for less than this.
const QUIET: Duration = Duration::from_secs(7);

/// How many filled claims there are, and what the figures of that round are called.
struct Level {
    filled: usize,
    names: [(&'static str, &'static str); 5],
}

const LEVELS: [Level; 3] = [
    Level {
        filled: 100,
        names: [
            ("memory_100", "100 filled: peak memory"),
            ("restart_100", "100 filled: from start to the first admission"),
            ("queue_requests_100", "100 filled: requests to queue a claim"),
            ("fill_requests_100", "100 filled: requests to fill a claim, a restart included"),
            ("fill_writes_100", "100 filled: writes to fill a claim"),
        ],
    },
    Level {
        filled: 1_000,
        names: [
            ("memory_1000", "1,000 filled: peak memory"),
            ("restart_1000", "1,000 filled: from start to the first admission"),
            ("queue_requests_1000", "1,000 filled: requests to queue a claim"),
            ("fill_requests_1000", "1,000 filled: requests to fill a claim, a restart included"),
            ("fill_writes_1000", "1,000 filled: writes to fill a claim"),
        ],
    },
    Level {
        filled: 10_000,
        names: [
            ("memory_10000", "10,000 filled: peak memory"),
            ("restart_10000", "10,000 filled: from start to the first admission"),
            ("queue_requests_10000", "10,000 filled: requests to queue a claim"),
            ("fill_requests_10000", "10,000 filled: requests to fill a claim, a restart included"),
            ("fill_writes_10000", "10,000 filled: writes to fill a claim"),
        ],
    },
];

/// The growth from the first level to the last, of each figure of a level.
const GROWTH: [(&str, &str); 5] = [
    ("memory_growth", "100 → 10,000 filled: memory grows"),
    ("restart_growth", "100 → 10,000 filled: the time to the first admission grows"),
    ("queue_requests_growth", "100 → 10,000 filled: requests to queue grow"),
    ("fill_requests_growth", "100 → 10,000 filled: requests to fill grow"),
    ("fill_writes_growth", "100 → 10,000 filled: writes to fill grow"),
];

const UNITS: [&str; 5] = ["MiB", "s", "", "", ""];
const TARGETS: [Option<f64>; 5] = [Some(64.0), None, None, None, None];

fn main() -> Result<()> {
    bench::run("reference", "", bench())
}

async fn bench() -> Result<Vec<Figure>> {
    let stage = Stage::start(RARE_RESYNC).await?;
    stage.policy(&[("concurrency", "4")]).await?;
    say(&format!("making {} images", stock::IMAGES));
    let mut stock = Stock::new(&stage).await?;
    let mut figures = Vec::new();
    let mut measured = Vec::new();
    let mut by_controller = 0;
    for level in &LEVELS {
        say(&format!("with {} filled claims", level.filled));
        stock.fill_up_to(level.filled, by_controller).await?;
        let values = round(&stage, &stock).await?;
        by_controller = FILLED;
        for (index, (name, what)) in level.names.iter().enumerate() {
            figures.push(Figure::new(name, what, values[index], UNITS[index], TARGETS[index], None));
        }
        measured.push(values);
    }
    let (Some(first), Some(last)) = (measured.first(), measured.last()) else { bail!("nothing was measured") };
    for (index, (name, what)) in GROWTH.iter().enumerate() {
        let times = last[index] / first[index].max(f64::MIN_POSITIVE);
        figures.push(Figure::new(name, what, times, "times", None, None));
    }
    Ok(figures)
}

/// One round: claims queue while nothing may run, and then, after a restart, some of them are filled.
async fn round(stage: &Stage, stock: &Stock) -> Result<[f64; 5]> {
    stage.policy(&[("concurrency", "0")]).await?;
    let mut first = stage.controller().await?;
    first.ready().await?;
    quiet(&first).await?;
    let missing = WAITING - stock.syncs(SyncPhase::Queued).await?;
    let before = first.tap.requests();
    stock.add_waiting(missing).await?;
    until::probed("all of them are queued", LONG, async || {
        Ok((stock.syncs(SyncPhase::Queued).await? >= WAITING).then_some(()))
    })
    .await?;
    quiet(&first).await?;
    let queue_requests = per(first.tap.requests() - before, missing);
    let peak_of_first = first.peak_memory()?;
    first.stop().await?;

    stage.policy(&[("concurrency", CONCURRENCY)]).await?;
    let filled = stock.syncs(SyncPhase::Succeeded).await?;
    let start = Instant::now();
    let mut second = stage.controller().await?;
    let admission = first_admission(&second, start).await?;
    until::probed("some of them are filled", LONG, async || {
        second.check()?;
        Ok((stock.syncs(SyncPhase::Succeeded).await? >= filled + FILLED).then_some(()))
    })
    .await?;
    let done = stock.syncs(SyncPhase::Succeeded).await? - filled;
    let (requests, writes) = (second.tap.requests(), second.tap.writes().len());
    let peak = second.peak_memory()?.max(peak_of_first);
    second.stop().await?;
    #[expect(clippy::cast_precision_loss, reason = "KiB of a process")]
    let memory = peak as f64 / 1024.0;
    say(&format!("  peak {memory:.1} MiB, first admission after {:.2} s, {done} filled", admission.as_secs_f64()));
    Ok([memory, admission.as_secs_f64(), queue_requests, per(requests, done), per(writes, done)])
}

/// Waits until the controller has written nothing for a while: it has told what it had to tell.
async fn quiet(controller: &Controller) -> Result<()> {
    until::probed("the controller writes nothing", LONG, async || {
        let last = controller.tap.writes().last().map(|write| write.at);
        Ok(last.is_none_or(|at| at.elapsed() > QUIET).then_some(()))
    })
    .await
}

/// The time until the first prime was asked for: what an admitted claim needs first.
async fn first_admission(controller: &Controller, start: Instant) -> Result<Duration> {
    until::probed("a claim is admitted", LONG, async || {
        let writes = controller.tap.writes();
        let prime = writes
            .iter()
            .find(|write| write.seen.resource == "persistentvolumeclaims" && write.seen.method.as_str() == "POST");
        Ok(prime.map(|write| write.at.duration_since(start)))
    })
    .await
}

#[expect(clippy::cast_precision_loss, reason = "some thousand requests")]
fn per(count: usize, claims: usize) -> f64 {
    count as f64 / claims.max(1) as f64
}
