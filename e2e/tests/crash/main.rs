//! The controller is ended before and after each of its writes, in every life that a claim can have; and meets API faults,
//! stale views and a second leader at each. After each of them the claim must be filled or clearly failed, with one volume,
//! nothing left, and no fetch that was not counted.
//!
//! Not a libtest: the lives share a stage, and the result is a table. `cargo test --test crash -- [FILTER] [--long]
//! [--stages N]`.

mod judge;
mod lives;
mod options;
mod point;
mod scene;
mod table;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use vmdisk_e2e::say::{say, say_out};
use vmdisk_e2e::stage::tap::{Disturbance, Plan, Strike};
use vmdisk_e2e::stage::{QUICK_RESYNC, Stage};

use lives::{LIVES, Life};
use options::{Kind, Options};
use point::{Trial, Tried};
use table::Row;

/// How much a lagging watch is behind: long against a pass, short against everybody's patience.
const LAG: Duration = Duration::from_millis(700);

/// The resources whose views may be stale.
const VIEWS: [&str; 5] = ["persistentvolumeclaims", "persistentvolumes", "pods", "vmdisksyncs", "vmdiskimages"];

fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    if options.list {
        let names: Vec<String> = LIVES.iter().map(|life| format!("{}: test", life.name)).collect();
        return say_out(&names.join("\n"));
    }
    tokio::runtime::Runtime::new().context("cannot start the asynchronous runtime")?.block_on(run(&options))
}

async fn run(options: &Options) -> Result<()> {
    let wanted: VecDeque<&'static Life> = LIVES.iter().filter(|life| options.wants(life)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let lives = Arc::new(Mutex::new(wanted));
    let stages = (0..options.stages).map(|_| worker(Arc::clone(&lives), options));
    let outcomes = futures::future::try_join_all(stages).await?;
    let (rows, failures): (Vec<_>, Vec<_>) = outcomes.into_iter().flatten().unzip();
    let failures: Vec<String> = failures.into_iter().flatten().collect();
    say_out(&table::table(&rows))?;
    if failures.is_empty() {
        return Ok(());
    }
    for failure in &failures {
        say(&format!("FAILED: {failure}"));
    }
    bail!("{} of {} tries failed", failures.len(), rows.iter().map(|row| row.tried).sum::<usize>())
}

/// Tries lives on a stage of its own until there are none left.
async fn worker(lives: Arc<Mutex<VecDeque<&'static Life>>>, options: &Options) -> Result<Vec<(Row, Vec<String>)>> {
    let stage = Stage::start(QUICK_RESYNC).await?;
    scene::prepare(&stage).await?;
    // What a controller writes once for a cluster is no part of a claim's life.
    let mut warm = stage.controller().await?;
    warm.ready().await?;
    warm.stop().await?;
    let mut rows = Vec::new();
    loop {
        let life = lives.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(life) = life else { return Ok(rows) };
        rows.push(all_of(&stage, life, options).await?);
    }
}

/// Tries everything in one life.
async fn all_of(stage: &Stage, life: &'static Life, options: &Options) -> Result<(Row, Vec<String>)> {
    let row = Row { life: life.name.to_owned(), ..Row::default() };
    let mut series = Series { stage, life, row, failures: Vec::new(), number: 0 };
    let Some(calm) = series.one(&Trial::Calm, "calm").await else {
        return Ok((series.row, series.failures));
    };
    series.row.writes = calm.writes.len();
    series.row.calm = calm.took;
    for _ in 1..options.calm {
        series.one(&Trial::Calm, "calm").await;
    }
    for kind in &options.kinds {
        series.kind(*kind, calm.writes.len()).await;
    }
    let Row { writes, tried, failed, most_fetches, .. } = series.row;
    say(&format!("{}: {writes} writes, {tried} tried, {failed} failed, {most_fetches} fetches at most", life.name));
    Ok((series.row, series.failures))
}

struct Series<'a> {
    stage: &'a Stage,
    life: &'static Life,
    row: Row,
    failures: Vec<String>,
    /// Tells the claims of one life apart.
    number: usize,
}

impl Series<'_> {
    async fn kind(&mut self, kind: Kind, writes: usize) {
        let strikes: &[Strike] = match kind {
            Kind::Kills => &Strike::KILLS,
            Kind::Faults => &Strike::FAULTS,
            Kind::Leaders => &[Strike::Parked],
            Kind::Views => &[],
        };
        for strike in strikes {
            // A life that was disturbed may have more writes than one that was not.
            let mut at = 1;
            while let Some(true) = self.strike(Plan { at, strike: *strike }, writes).await {
                at += 1;
            }
        }
        match kind {
            Kind::Views => {
                for view in VIEWS {
                    for disturbance in [Disturbance::Lag(LAG), Disturbance::Expires] {
                        self.one(&Trial::Disturbed(view, disturbance), &format!("{view} {disturbance:?}")).await;
                    }
                }
            }
            Kind::Leaders => drop(self.one(&Trial::Twins, "two leaders").await),
            Kind::Kills | Kind::Faults => {}
        }
    }

    /// Tries a strike; whether there is a next one to try.
    async fn strike(&mut self, plan: Plan, writes: usize) -> Option<bool> {
        let tried = self.one(&Trial::Struck(plan), &format!("{} write {}", plan.strike, plan.at)).await;
        Some(match tried {
            Some(tried) => tried.struck,
            None => plan.at < writes,
        })
    }

    async fn one(&mut self, trial: &Trial, what: &str) -> Option<Tried> {
        self.number += 1;
        let name = format!("{}-{}", self.life.name, self.number);
        match point::attempt(self.stage, self.life, &name, trial).await {
            Ok(tried) => {
                self.row.most_fetches = self.row.most_fetches.max(tried.fetches);
                if tried.took > self.row.longest.0 {
                    self.row.longest = (tried.took, what.to_owned());
                }
                let happened = tried.struck || !matches!(trial, Trial::Struck(_));
                self.row.tried += usize::from(happened);
                Some(tried)
            }
            Err(error) => {
                self.row.tried += 1;
                self.row.failed += 1;
                let kept =
                    self.keep_log(&name).map_or_else(|error| format!("{error:#}"), |path| path.display().to_string());
                let failure = format!("{}, {what}: {error:#} (log: {kept})", self.life.name);
                say(&format!("failed: {failure}"));
                self.failures.push(failure);
                None
            }
        }
    }

    /// Keeps what the controllers of a try that failed have logged.
    fn keep_log(&self, name: &str) -> Result<std::path::PathBuf> {
        let place = std::env::temp_dir().join(format!("vmdisk-crash-{name}.log"));
        std::fs::copy(self.stage.log(), &place).context("the controller's log cannot be kept")?;
        Ok(place)
    }
}
