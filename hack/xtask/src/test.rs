//! `cargo xtask test`: everything that must hold, in the order in which it is quickest to hear of a fault.

mod qemu;
mod suites;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use vmdisk_e2e::environment::Environment;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::launcher;
use vmdisk_e2e::say::say;

use crate::{deploy, generate};
use suites::Lane;

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run only the tests whose name contains this, and no lints
    filter: Option<String>,
    /// Leave the cluster up afterwards, for a look or for the next run
    #[arg(long)]
    keep: bool,
    /// Let the controller meet everything at each of its writes: more lives, API faults, stale views, a second leader
    /// (half an hour more)
    #[arg(long)]
    long: bool,
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<()> {
    let instance = Instance::current()?;
    let mut report = Report::default();
    launcher::packages()?;
    let outcome = match &options.filter {
        None => everything(&instance, options, &mut report),
        Some(filter) => matching(&instance, filter, options, &mut report),
    };
    report.print();
    outcome
}

fn everything(instance: &Instance, options: &Options, report: &mut Report) -> Result<()> {
    report.stage("format", || suites::cargo(instance, &["fmt", "--all", "--", "--check"]))?;
    report.stage("lints", || suites::lints(instance))?;
    report.stage("generated files", || generate::run(&generate::Options { check: true }))?;
    report.stage("dependencies", || suites::dependencies(instance))?;
    report.stage("unit tests", || suites::unit(instance, None))?;
    report.stage("CSI driver", || suites::csi_driver(instance))?;
    report.stage("crash at every write", || suites::crash(instance, None, options.long))?;
    on_cluster(instance, options, report, |instance, report| {
        report.stage("CSI driver on this machine", || suites::csi_driver_live(instance))?;
        for lane in Lane::all(instance)? {
            report.stage(lane.title(), || lane.run(instance, None))?;
        }
        Ok(())
    })
}

fn matching(instance: &Instance, filter: &str, options: &Options, report: &mut Report) -> Result<()> {
    report.stage("unit tests", || suites::unit(instance, Some(filter)))?;
    let mut lanes = Lane::all(instance)?;
    // Compiling them tells whether the cluster is needed.
    report.stage("end-to-end tests that match", || {
        let mut matches = Vec::new();
        for lane in lanes.drain(..) {
            if lane.matches(instance, filter)? {
                matches.push(lane);
            }
        }
        lanes = matches;
        Ok(())
    })?;
    if suites::crash_matches(instance, filter)? {
        report.stage("crash at every write", || suites::crash(instance, Some(filter), options.long))?;
    }
    if lanes.is_empty() {
        return Ok(());
    }
    on_cluster(instance, options, report, |instance, report| {
        for lane in &lanes {
            report.stage(lane.title(), || lane.run(instance, Some(filter)))?;
        }
        Ok(())
    })
}

/// Runs `tests` on a cluster with the project on it, and leaves the cluster as it was found: a cluster that was not up
/// is taken down again.
fn on_cluster(
    instance: &Instance,
    options: &Options,
    report: &mut Report,
    tests: impl FnOnce(&Instance, &mut Report) -> Result<()>,
) -> Result<()> {
    let was_up = Environment::load(instance).is_ok();
    let outcome = report
        .stage("cluster", || launcher::up(instance))
        .and_then(|()| report.stage("deployment", deploy::run))
        .and_then(|()| tests(instance, report));
    if outcome.is_err() {
        let logs = launcher::save_logs(instance).context("the cluster's logs cannot be saved")?;
        say(&format!("the cluster's logs are in {}", logs.display()));
    }
    if was_up || options.keep {
        return outcome;
    }
    // A failed test is the news, not what it kept from being cleaned up.
    outcome.and(report.stage("clean-up", || launcher::down(instance)))
}

/// How long everything took.
#[derive(Default)]
struct Report(Vec<(String, Duration, bool)>);

impl Report {
    fn stage<T>(&mut self, title: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
        say(&format!("\n=== {title}"));
        let start = Instant::now();
        let outcome = run();
        self.0.push((title.to_owned(), start.elapsed(), outcome.is_ok()));
        outcome.with_context(|| format!("{title} failed"))
    }

    fn print(&self) {
        say("");
        for (title, took, passed) in &self.0 {
            let verdict = if *passed { "passed" } else { "FAILED" };
            say(&format!("{verdict}  {:>6.1} s  {title}", took.as_secs_f64()));
        }
    }
}
