//! Runs what is measured: everything under the same limits, with the servers' CPU-seconds told apart, and with nothing
//! left to be written from the run before.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use vmdisk_e2e::cache;

use super::limits::{self, Limits};
use super::process::{self, Usage};
use super::rows::Disk;
use super::source::Source;
use super::verdict::Cpus;
use super::volume::Volume;

/// Joins the cgroups in `GROUPS_TO_JOIN`, then becomes the program.
const JOIN: &str = r#"for group in $GROUPS_TO_JOIN; do echo $$ > "$group"; done; unset GROUPS_TO_JOIN; exec "$@""#;

/// What all rows share.
pub(super) struct Bench {
    pub(super) source: Source,
    limits: Option<Limits>,
    /// The directory for everything that is written.
    dir: PathBuf,
    /// Two benches at once would measure each other.
    _lock: File,
}

impl Bench {
    /// A bench that writes to `dir`, which is removed with everything in it in the end.
    pub(super) fn new(source: Source, dir: PathBuf, limits: Option<Limits>) -> Result<Self> {
        let cache = cache::root()?;
        fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
        let lock = cache::lock(&cache.join("bench.lock"))?;
        Volume::clean_up(&dir)?;
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        clear(&dir)?;
        Ok(Self { source, limits, dir, _lock: lock })
    }

    /// The CPUs that a floor is made of.
    pub(super) fn cpus(&self) -> Result<Cpus> {
        #[expect(clippy::cast_precision_loss, reason = "processors of a machine")]
        let machine =
            std::thread::available_parallelism().context("the machine's CPUs cannot be counted")?.get() as f64;
        let limit = if self.limits.is_some() { limits::CPUS.min(machine) } else { machine };
        Ok(Cpus { machine, limit })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // What stays is removed by the next run.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Where and under what to run.
pub(super) struct Runner<'a> {
    bench: &'a Bench,
    /// The directory for what is written; it is emptied between runs.
    dir: PathBuf,
    /// Where `dir` lies, when the bench's own file system is too small.
    _volume: Option<Volume>,
}

impl<'a> Runner<'a> {
    /// A runner that has room for this disk, and whose commands write to an empty directory.
    pub(super) fn new(bench: &'a Bench, disk: Disk) -> Result<Self> {
        let volume = match disk {
            Disk::Standard => None,
            Disk::Huge => Some(Volume::new(&bench.dir, disk.size())?),
        };
        let dir = volume.as_ref().map_or_else(|| bench.dir.join("work"), Volume::dir);
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Self { bench, dir, _volume: volume })
    }

    /// A path that is free until the next run.
    pub(super) fn scratch(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A command that will run under the limits, and that no setting of the user's disturbs (a proxy, say).
    pub(super) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = match &self.bench.limits {
            None => Command::new(program.as_ref()),
            Some(limits) => {
                let groups: Vec<_> = limits.procs().map(|procs| procs.display().to_string()).collect();
                let mut command = Command::new("sh");
                command.args(["-ec", JOIN, "sh"]).arg(program.as_ref()).env("GROUPS_TO_JOIN", groups.join(" "));
                command
            }
        };
        let kept = ["GROUPS_TO_JOIN", "PATH", "HOME"];
        let joined: Vec<_> =
            command.get_envs().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))).collect();
        let inherited = std::env::vars_os().filter(|(key, _)| kept.iter().any(|kept| key == kept));
        command.env_clear().envs(inherited).envs(joined).env("TMPDIR", &self.dir).current_dir(&self.dir);
        command
    }

    /// A script of bash's that fails with the first of its commands that does.
    pub(super) fn shell(&self, script: &str) -> Command {
        let mut command = self.command("bash");
        command.args(["-o", "pipefail", "-euc", script]);
        command
    }

    /// Runs a command on a quiet file system. Gives what it used, what the servers used meanwhile, and what it printed.
    pub(super) fn run(&self, command: &mut Command) -> Result<(Usage, f64, String)> {
        clear(&self.dir)?;
        rustix::fs::sync();
        let before = self.bench.source.cpu_seconds()?;
        let (usage, printed) = process::run(command)?;
        Ok((usage, self.bench.source.cpu_seconds()? - before, printed))
    }
}

impl Drop for Runner<'_> {
    fn drop(&mut self) {
        // What stays is removed with the bench's directory.
        let _ = clear(&self.dir);
    }
}

/// Removes everything in a directory.
fn clear(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}
