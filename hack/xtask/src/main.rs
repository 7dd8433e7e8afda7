//! The project's own commands: `cargo xtask --help`.

mod bench;
mod cluster;
mod demo;
mod deploy;
mod fuzz;
mod generate;
mod test;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Commands of the project", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Launch a VM before its disk exists, and see it boot from a populated claim
    Demo(demo::Options),
    /// Run a real Kubernetes cluster on this machine
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Build the images and put the project onto the cluster
    Deploy(deploy::Options),
    /// Run every check, or the tests whose name contains FILTER
    Test(test::Options),
    /// Measure, and compare with the targets
    Bench(bench::Bench),
    /// Run the fuzz targets, each for a while
    Fuzz(fuzz::Options),
    /// The servers beside the cluster, as the launcher starts them
    #[command(hide = true)]
    Serve {
        /// What to serve
        config: PathBuf,
    },
    /// Write what is generated: CRDs, API reference, install.yaml
    Gen(generate::Options),
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Demo(options) => demo::run(&options),
        Command::Cluster(command) => cluster::run(&command),
        Command::Deploy(options) => deploy::run(options.profile()),
        Command::Test(options) => test::run(&options),
        Command::Bench(bench) => bench::run(&bench),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Serve { config } => vmdisk_e2e::servers::run(&config),
        Command::Gen(options) => generate::run(&options),
    }
}
