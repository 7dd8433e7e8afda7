//! `cargo xtask fuzz`: every fuzz target for a bounded time, from the seeds that the hostile corpus gives.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use vmdisk_corpus::Target;
use vmdisk_e2e::cache;
use vmdisk_e2e::command::cmd;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::say::say;

/// The version of cargo-fuzz that builds the targets.
const CARGO_FUZZ: &str = "0.13.2";

/// What a target may take, in MiB: the worker's bound, and as much again for the fuzzer and its corpus.
const MEMORY: u32 = 512;

/// An input that takes longer than this hangs the worker, in seconds.
const PATIENCE: u32 = 10;

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// One target alone: inspect, a disk format, tar or a compression
    #[arg(value_parser = target)]
    target: Option<Target>,
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

fn target(name: &str) -> Result<Target, String> {
    let found = Target::ALL.into_iter().find(|target| target.name() == name);
    let names = || Target::ALL.map(Target::name).join(", ");
    found.ok_or_else(|| format!("expected one of {}", names()))
}

/// Runs the command: all targets, also when some find something.
pub(crate) fn run(options: &Options) -> Result<()> {
    let instance = Instance::current()?;
    let fuzz = Fuzz { tool: tool()?, dir: instance.checkout().join("fuzz") };
    let targets = options.target.map_or_else(|| Target::ALL.to_vec(), |target| vec![target]);
    fuzz.build(options.target)?;
    let mut found = Vec::new();
    for target in targets {
        say(&format!("\n=== {} for {} s", target.name(), options.seconds));
        let result = fuzz.run(target, options.seconds);
        for reproducer in fuzz.reproducers(target)? {
            found.push(format!("{}: {}", target.name(), reproducer.display()));
        }
        if found.is_empty() {
            result?;
        }
    }
    if !found.is_empty() {
        bail!(
            "inputs that break a target:\n  {}\nrun one again: cd fuzz && cargo fuzz run --sanitizer none TARGET FILE",
            found.join("\n  ")
        );
    }
    Ok(())
}

/// cargo-fuzz, installed into the cache.
fn tool() -> Result<PathBuf> {
    let tool = cache::once("cargo-fuzz", CARGO_FUZZ, |dir| {
        say("  installing cargo-fuzz (once)");
        let args = ["install", "--quiet", "--locked", "--version", CARGO_FUZZ, "cargo-fuzz", "--root"];
        cmd("cargo").args(args).arg(dir).run_visibly()
    })?;
    Ok(tool.join("bin/cargo-fuzz"))
}

struct Fuzz {
    tool: PathBuf,
    dir: PathBuf,
}

impl Fuzz {
    /// A subcommand of cargo-fuzz. Without a sanitizer, the pinned stable toolchain builds it: our own code is safe
    /// Rust, whose overflows and bounds are checked, and the C libraries would need an instrumented build of their own.
    fn cargo_fuzz(&self, subcommand: &str) -> vmdisk_e2e::command::Cmd {
        cmd(&self.tool).dir(&self.dir).args([subcommand, "--fuzz-dir", ".", "--sanitizer", "none"])
    }

    fn build(&self, target: Option<Target>) -> Result<()> {
        self.cargo_fuzz("build").args(target.map(Target::name)).run_visibly().context("the fuzz targets do not build")
    }

    fn run(&self, target: Target, seconds: u32) -> Result<()> {
        let name = target.name();
        let (kept, seeds) = (self.dir.join("corpus").join(name), self.dir.join("corpus/seeds").join(name));
        fs::create_dir_all(&kept).with_context(|| format!("cannot make {}", kept.display()))?;
        target.write_seeds(&seeds).with_context(|| format!("cannot write seeds to {}", seeds.display()))?;
        self.cargo_fuzz("run")
            .arg(name)
            // What is found is kept in the first directory; the seeds stay as they are.
            .args([&kept, &seeds])
            .arg("--")
            .args([format!("-max_total_time={seconds}"), format!("-timeout={PATIENCE}")])
            .args([format!("-rss_limit_mb={MEMORY}"), "-print_final_stats=1".into(), "-verbosity=0".into()])
            .run_visibly()
            .with_context(|| format!("the target {name} failed"))
    }

    /// The inputs that a target kept because they broke it.
    fn reproducers(&self, target: Target) -> Result<Vec<PathBuf>> {
        let dir = self.dir.join("artifacts").join(target.name());
        list(&dir).with_context(|| format!("cannot read {}", dir.display()))
    }
}

fn list(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
}
