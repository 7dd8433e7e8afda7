//! The project's own commands: `cargo xtask --help`.

mod cluster;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Commands of the project",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a real Kubernetes cluster on this machine
    #[command(subcommand)]
    Cluster(cluster::Command),
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Cluster(command) => cluster::run(&command),
    }
}
