//! `cargo xtask cluster …`: the embedded cluster's life.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use clap::Subcommand;
use vmdisk_e2e::environment::Environment;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::launcher;

/// What to do with the cluster of this checkout.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Bring it up, or complete what is half up; the first time compiles Kubernetes (5 to 20 minutes)
    Up,
    /// Take it down and leave nothing behind, also after a crash
    Down,
    /// Say what runs
    Status,
    /// Print shell lines that describe it: eval "$(cargo xtask cluster env)"
    Env,
}

/// Runs the command.
pub(crate) fn run(command: &Command) -> Result<()> {
    let instance = Instance::current()?;
    match command {
        Command::Up => launcher::up(&instance),
        Command::Down => launcher::down(&instance),
        Command::Status => print(&launcher::status(&instance)?),
        Command::Env => print(&Environment::load(&instance)?.to_shell()),
    }
}

fn print(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to the standard output")
}
