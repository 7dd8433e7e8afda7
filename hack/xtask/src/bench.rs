//! `cargo xtask bench …`: what it costs, measured against what it may cost. Timings are judged here and never by tests.

mod control;
mod data;
mod scale;

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
    ///
    /// On a cluster, with the release build: claims one after the other, 30 and 200 at once, 30 syncs at a time. Each is set
    /// against the floor of the same run, as many claims and pods of the same shape that nobody looks after; at most 1.3
    /// times that is the target, and 9 writes a claim.
    Control(control::Options),
    /// The worker: time, memory and bytes for every kind of image; fails when a target is missed
    ///
    /// Every image is 2 GiB of disk, half of it real files and half holes, made once into the cache; it comes from servers
    /// on this machine, out of the page cache. A round of a row is: each stage alone by the fastest independent tool there
    /// is (curl, openssl, igzip, zstd, xz -T0, qemu-img, fio with `O_DIRECT`), the worker from the release build, and what a
    /// user would write (skopeo, tar, curl, gzip, qemu-img). Every disk that is written is compared with the original.
    ///
    /// The floor of a round is the larger of the slowest stage alone and the CPU-seconds of all stages and of the servers
    /// divided by the CPUs. Stages are those that the image needs: transfer, the hash of what is fetched, decompress, the
    /// hash of the unpacked layer (if the worker refuses one that is wrong), decode, and the write of the disk's data. Ratios are made within a round; shown are medians, of memory and fetched bytes the worst.
    ///
    /// Targets: at most 1.15 times the floor; layers with gzip at least 4 times faster than what a user would write (without
    /// --relay, where both wait for the line); less than 128 MiB of memory; each byte fetched once.
    Data(data::Options),
    /// The controller behind 10,000 filled claims and before 1,000: memory, requests, restart; fails when a target is missed
    ///
    /// On a control plane of its own, whose storage and workers are played, with the release build. Fills some hundred claims
    /// with 100, 1,000 and 10,000 filled ones behind it, and shows how each figure grows.
    Scale(scale::Options),
    /// The servers that images are fetched from, in a process of their own
    #[command(hide = true)]
    Source(data::SourceOptions),
}

/// Runs a bench.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    match &bench.command {
        Some(Command::Control(options)) => control::run(options),
        Some(Command::Data(options)) => data::run(options),
        Some(Command::Scale(options)) => scale::run(options),
        Some(Command::Source(options)) => data::serve(options),
        None => data::run(&bench.data),
    }
}
