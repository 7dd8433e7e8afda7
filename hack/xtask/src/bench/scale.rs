//! `cargo xtask bench scale`: the controller among great numbers, on a stage of its own.

use anyhow::{Context as _, Result};
use vmdisk_e2e::command::cmd;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::launcher;

use crate::deploy;

/// How a bench is asked.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print the figures as a list of JSON objects
    #[arg(long)]
    json: bool,
}

/// Runs the bench with the controller as it is released.
pub(crate) fn run(options: &Options) -> Result<()> {
    let instance = Instance::current()?;
    launcher::tools(&instance)?;
    let programs = deploy::build(&instance, deploy::Profile::Release)?;
    let package = ["bench", "--quiet", "--profile", "dev", "--package", "vmdisk-e2e", "--features", "cluster"];
    cmd("cargo")
        .dir(instance.checkout())
        .env("VMDISK_CONTROLLER", programs.join("vmdisk-controller"))
        .args(package)
        .args(["--bench", "scale"])
        .args(options.json.then_some(["--", "--json"]).into_iter().flatten())
        .run_visibly()
        .context("the bench scale failed")
}
