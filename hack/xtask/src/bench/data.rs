//! `cargo xtask bench data`: the worker, for every kind of image, against the floor of this machine and against what a
//! user would write.

mod images;
mod limits;
mod pipelines;
mod probe;
mod process;
mod relay;
mod rows;
mod runner;
mod server;
mod source;
mod stages;
mod table;
mod tools;
mod verdict;
mod volume;

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use vmdisk_e2e::command::cmd;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::say::{say, say_out, step};

use limits::Limits;
use rows::{ROWS, Row, Via};
use runner::{Bench, Runner};
use source::Source;
pub(crate) use source::{SourceOptions, serve};
use verdict::{Round, Subject};

/// How the data path is measured.
#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(crate) struct Options {
    /// Print the rows as a list of JSON objects
    #[arg(long)]
    json: bool,
    /// Measure this row alone; may be repeated, or hold several names with commas between
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Print the names of the rows, and measure nothing
    #[arg(long)]
    list: bool,
    /// How many rounds of each row
    #[arg(long, default_value = "3")]
    runs: NonZeroUsize,
    /// Run everything but the servers under 750m of CPU and 600 MiB of memory (needs root)
    #[arg(long)]
    limits: bool,
    /// Fetch through a relay of 1 Gb/s and 20 ms
    #[arg(long)]
    relay: bool,
    /// A directory to write to, on the file system to be measured; by default below the build's target directory
    #[arg(long)]
    dir: Option<PathBuf>,
    /// A worker to measure instead of this checkout's
    #[arg(long)]
    worker: Option<PathBuf>,
}

/// Measures, prints, and fails when a target is missed or a row cannot be measured.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.list {
        let lines: Vec<_> = ROWS.iter().map(|row| format!("{:<26} {}", row.name, row.what())).collect();
        return say_out(&lines.join("\n"));
    }
    let rows = rows::named(&options.only).map_err(|name| {
        let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        anyhow::anyhow!("there is no row {name:?}; there are {}", names.join(", "))
    })?;
    tools::ensure()?;
    let (worker, target) = worker(options)?;
    let dir = std::path::absolute(options.dir.as_ref().unwrap_or(&target))?.join("vmdisk-bench");
    let limits = options.limits.then(Limits::new).transpose()?;
    let bench = Bench::new(Source::start(options.relay)?, dir, limits)?;

    let diff_ids = rows.iter().any(|row| row.via == Via::Registry) && probe::checks_diff_ids(&bench, &worker)?;
    let subject = |row: &Row, image_bytes| Subject {
        name: row.name,
        what: row.what(),
        image_bytes,
        beats_naive: row.must_beat_naive() && !options.relay,
    };

    let (mut summaries, mut failed) = (Vec::new(), Vec::new());
    for row in &rows {
        let measured = measure(&bench, &worker, row, options.runs.get(), diff_ids).and_then(|(bytes, rounds)| {
            subject(row, bytes).summary(&rounds, bench.cpus()?).context("nothing was measured")
        });
        match measured {
            Ok(summary) => {
                failed.extend(summary.missed.iter().map(|missed| format!("{}: {missed}", row.name)));
                summaries.push(summary);
            }
            // The other rows are still worth knowing.
            Err(error) => failed.push(format!("{}: {error:#}", row.name)),
        }
    }
    if options.json {
        say_out(&serde_json::to_string_pretty(&summaries)?)?;
    } else if !summaries.is_empty() {
        say_out(&table::markdown(&summaries))?;
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!("missed (is the machine busy with something else?):\n  {}", failed.join("\n  "))
}

/// Measures a row so many times. Gives the bytes that the source has of the image, and the rounds.
fn measure(bench: &Bench, worker: &Path, row: &Row, runs: usize, diff_ids: bool) -> Result<(u64, Vec<Round>)> {
    say(&format!("{}: {}", row.name, row.what()));
    let offer = bench.source.offer(row)?;
    warm(&offer.made.path)?;
    let runner = Runner::new(bench, row.image.disk)?;
    let mut rounds = Vec::new();
    for _ in 0..runs {
        let stages = stages::measure(&runner, row, &offer, diff_ids)?;
        let ours = pipelines::ours(&runner, worker, row, &offer)?;
        let naive = pipelines::naive(&runner, row, &offer)?;
        say(&format!("  worker {:.2} s, slowest stage {:.2} s, naive {naive:.2} s", ours.wall, slowest(&stages)));
        rounds.push(Round { stages, ours, naive });
    }
    Ok((offer.made.size, rounds))
}

fn slowest(stages: &[verdict::Stage]) -> f64 {
    stages.iter().map(|stage| stage.wall).fold(0.0, f64::max)
}

/// Reads a file, so that it is in the page cache.
fn warm(path: &Path) -> Result<()> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    std::io::copy(&mut file, &mut std::io::sink()).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(())
}

/// The worker to measure, and the target directory of the build.
fn worker(options: &Options) -> Result<(PathBuf, PathBuf)> {
    let target = |worker: &Path| worker.parent().and_then(Path::parent).map(Path::to_owned);
    if let Some(worker) = &options.worker {
        let worker = worker.canonicalize().with_context(|| format!("there is no {}", worker.display()))?;
        let target = target(&worker).context("the worker lies in a directory")?;
        return Ok((worker, target));
    }
    let instance = Instance::current()?;
    let printed = step("building the worker as it is released", || {
        cmd("cargo")
            .dir(instance.checkout())
            .args(["build", "--release", "--package", "vmdisk-worker", "--message-format=json"])
            .output()
    })?;
    let messages = printed.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let worker = messages
        .filter_map(|message| message.get("executable").and_then(Value::as_str).map(PathBuf::from))
        .next_back()
        .context("cargo names no program that it has built")?;
    let target = target(&worker).context("cargo builds into a directory")?;
    Ok((worker, target))
}
