//! `cargo xtask bench control`: the controller on a cluster of its own.

use anyhow::{Context as _, Result};
use vmdisk_e2e::command::cmd;
use vmdisk_e2e::environment::Environment;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::launcher;

use crate::deploy::{self, Profile};

/// How a bench is asked.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print the figures as a list of JSON objects
    #[arg(long)]
    json: bool,
    /// Take a thousand claims at once, too; that takes half an hour
    #[arg(long)]
    large: bool,
    /// Leave the cluster up afterwards
    #[arg(long)]
    keep: bool,
}

/// Runs a bench on a cluster with the project on it, and leaves the cluster as it was found.
pub(crate) fn run(options: &Options) -> Result<()> {
    let instance = Instance::current()?;
    let was_up = Environment::load(&instance).is_ok();
    launcher::up(&instance)?;
    let measured = deploy::run(Profile::Release).and_then(|()| measure(&instance, options));
    if was_up || options.keep {
        return measured;
    }
    // A missed target is the news, not what keeps the cluster from going.
    measured.and(launcher::down(&instance))
}

fn measure(instance: &Instance, options: &Options) -> Result<()> {
    // The dev profile is what the tests have compiled already; what is measured runs on the cluster, as it is released.
    let package = ["bench", "--quiet", "--profile", "dev", "--package", "vmdisk-e2e", "--features", "cluster"];
    cmd("cargo")
        .dir(instance.checkout())
        .args(package)
        .args(["--bench", "control", "--"])
        .args(options.json.then_some("--json"))
        .args(options.large.then_some("--large"))
        .run_visibly()
        .context("the bench control failed")
}
