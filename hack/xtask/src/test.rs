//! `cargo xtask test`: everything that must hold, in the order in which it is quickest to hear of a fault.

mod listing;
mod qemu;
mod suites;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use vmdisk_e2e::environment::Environment;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::launcher;
use vmdisk_e2e::say::say;

use crate::deploy::{self, Profile};
use crate::generate;
use suites::Lane;

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run only the tests whose name contains this, and no lints; `chaos` alone is that test at its full length
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
    report.stage("crates to publish", || suites::publishable(instance))?;
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
    let crash = report.stage("end-to-end tests that match", || {
        let mut matches = Vec::new();
        for lane in lanes.drain(..) {
            if lane.matches(instance, filter)? {
                matches.push(lane);
            }
        }
        lanes = matches;
        let crash = suites::crash_matches(instance, filter)?;
        // Unit tests have run by now; only when nothing else matches does it matter whether there were any.
        let some = crash || !lanes.is_empty() || suites::unit_matches(instance, filter)?;
        listing::ensure_some(filter, some)?;
        Ok(crash)
    })?;
    if crash {
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
        .and_then(|()| report.stage("images and deployment", || deploy::run(Profile::Images)))
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
        let took = start.elapsed();
        // Told at once, too: whoever ends the run never sees the table.
        say(&format!("=== {title}: {}", minutes(took)));
        self.0.push((title.to_owned(), took, outcome.is_ok()));
        outcome.with_context(|| format!("{title} failed"))
    }

    fn print(&self) {
        say(&format!("\n{}", self.table()));
    }

    /// A line for each stage, and one for all of them.
    fn table(&self) -> String {
        let line = |verdict: &str, took: Duration, title: &str| format!("{verdict}  {:>11}  {title}", minutes(took));
        let verdict = |passed: bool| if passed { "passed" } else { "FAILED" };
        let mut lines: Vec<String> =
            self.0.iter().map(|(title, took, passed)| line(verdict(*passed), *took, title)).collect();
        let total = self.0.iter().map(|(_, took, _)| *took).sum();
        lines.push(line(verdict(self.0.iter().all(|(.., passed)| *passed)), total, "in all"));
        lines.join("\n")
    }
}

/// A time as humans read it.
fn minutes(time: Duration) -> String {
    format!("{}:{:02} min", time.as_secs() / 60, time.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn every_stage_is_told_with_its_time_and_all_of_them_in_one_line() {
        let mut report = Report::default();
        let stages = [("lints", 61, true), ("end-to-end tests", 3599, true), ("audit", 0, false)];
        report
            .0
            .extend(stages.map(|(title, seconds, passed)| (title.to_owned(), Duration::from_secs(seconds), passed)));
        assert_eq!(
            report.table(),
            "passed     1:01 min  lints\n\
             passed    59:59 min  end-to-end tests\n\
             FAILED     0:00 min  audit\n\
             FAILED    61:00 min  in all"
        );
    }

    #[test]
    fn a_stage_that_fails_is_told_too() {
        let mut report = Report::default();
        assert_eq!(report.stage("one", || Ok(1)).ok(), Some(1));
        let failed: Result<()> = report.stage("two", || bail!("why"));
        assert_eq!(format!("{:#}", failed.unwrap_err()), "two failed: why");
        let stages: Vec<_> = report.0.iter().map(|(title, _, passed)| (title.as_str(), *passed)).collect();
        assert_eq!(stages, [("one", true), ("two", false)]);
    }
}
