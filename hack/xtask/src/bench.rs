//! `cargo xtask bench …`: what it costs, measured against what it may cost. Timings are judged here and never by tests.

mod control;
mod data;

use anyhow::Result;

/// What is measured; without a name, the data path.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Bench {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    data: data::Options,
}

#[derive(clap::Subcommand)]
enum Command {
    /// The controller: time to Bound, API writes, memory; fails when a target is missed
    Control(control::Options),
    /// The worker: time, memory and bytes for every kind of image; fails when a target is missed
    Data(data::Options),
    /// The servers that images are fetched from, in a process of their own
    #[command(hide = true)]
    Source(data::SourceOptions),
}

/// Runs a bench.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    match &bench.command {
        Some(Command::Control(options)) => control::run(options),
        Some(Command::Data(options)) => data::run(options),
        Some(Command::Source(options)) => data::serve(options),
        None => data::run(&bench.data),
    }
}
