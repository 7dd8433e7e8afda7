//! `cargo xtask bench …`: what it costs, measured against what it may cost. Timings are judged here and never by tests.

use anyhow::{Context as _, Result};
use vmdisk_e2e::command::cmd;
use vmdisk_e2e::environment::Environment;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::launcher;

use crate::deploy;

/// What is measured.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// The controller: time to Bound, API writes, memory; fails when a target is missed
    Control(Options),
}

/// How a bench is asked.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print the figures as a list of JSON objects
    #[arg(long)]
    json: bool,
    /// Leave the cluster up afterwards
    #[arg(long)]
    keep: bool,
}

/// Runs a bench on a cluster with the project on it, and leaves the cluster as it was found.
pub(crate) fn run(command: &Command) -> Result<()> {
    let (Command::Control(options), bench) = (command, "control");
    let instance = Instance::current()?;
    let was_up = Environment::load(&instance).is_ok();
    launcher::up(&instance)?;
    let measured = deploy::run().and_then(|()| measure(&instance, bench, options));
    if was_up || options.keep {
        return measured;
    }
    // A missed target is the news, not what keeps the cluster from going.
    measured.and(launcher::down(&instance))
}

fn measure(instance: &Instance, bench: &str, options: &Options) -> Result<()> {
    // The dev profile is what the tests have compiled already; what is measured runs on the cluster, from a release.
    let package = ["bench", "--quiet", "--profile", "dev", "--package", "vmdisk-e2e", "--features", "cluster"];
    cmd("cargo")
        .dir(instance.checkout())
        .args(package)
        .args(["--bench", bench])
        .args(options.json.then_some(["--", "--json"]).into_iter().flatten())
        .run_visibly()
        .with_context(|| format!("the bench {bench} failed"))
}
