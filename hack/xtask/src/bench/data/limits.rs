//! The limits of a modest worker pod, by cgroup: 750m of CPU and 600 MiB.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use vmdisk_e2e::poll;

/// The CPUs that the limit leaves.
pub(super) const CPUS: f64 = 0.75;
const MEMORY: u64 = 600 << 20;

/// The period of the CPU's bandwidth control in microseconds, the kubelet's own.
const PERIOD: u64 = 100_000;
const QUOTA: u64 = 75_000;

/// A group of processes that share the limits; it goes when this is dropped.
pub(super) struct Limits {
    dirs: Vec<PathBuf>,
}

impl Limits {
    /// Makes the group.
    pub(super) fn new() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
        let name = format!("vmdisk-bench-{}", std::process::id());
        let settings = settings(&mounts).context(
            "--limits needs the cgroup controllers cpu and memory; /proc/self/mounts has neither cgroup v2 nor both of v1",
        )?;
        let mut limits = Self { dirs: Vec::new() };
        for Setting { root, files, unified } in settings {
            let dir = root.join(&name);
            if unified {
                let file = root.join("cgroup.subtree_control");
                fs::write(&file, "+cpu +memory").with_context(|| format!("cannot write to {}", file.display()))?;
            }
            fs::create_dir(&dir).with_context(|| format!("cannot make the cgroup {}", dir.display()))?;
            limits.dirs.push(dir.clone());
            for (file, value) in files {
                let file = dir.join(file);
                fs::write(&file, value).with_context(|| format!("cannot write to {}", file.display()))?;
            }
        }
        ensure!(!limits.dirs.is_empty(), "no cgroup was made");
        Ok(limits)
    }

    /// The files to write a process id to.
    pub(super) fn procs(&self) -> impl Iterator<Item = PathBuf> {
        self.dirs.iter().map(|dir| dir.join("cgroup.procs"))
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        for dir in &self.dirs {
            // A group stays busy for a moment after its last process was reaped. Left behind, an empty one costs nothing.
            let _ =
                poll::until_true("the cgroup to be removed", Duration::from_secs(5), || fs::remove_dir(dir).is_ok());
        }
    }
}

/// One hierarchy and what is to be written into a group of it.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    root: PathBuf,
    files: Vec<(&'static str, String)>,
    unified: bool,
}

/// Where the limits are to be set. A hybrid machine has its controllers in v1.
fn settings(mounts: &str) -> Option<Vec<Setting>> {
    let v1 = |controller: &str| {
        mounted(mounts, |kind, options| kind == "cgroup" && options.split(',').any(|option| option == controller))
    };
    if let (Some(cpu), Some(memory)) = (v1("cpu"), v1("memory")) {
        let cpu_files = vec![("cpu.cfs_period_us", PERIOD.to_string()), ("cpu.cfs_quota_us", QUOTA.to_string())];
        let memory_files = vec![("memory.limit_in_bytes", MEMORY.to_string())];
        return Some(vec![
            Setting { root: cpu, files: cpu_files, unified: false },
            Setting { root: memory, files: memory_files, unified: false },
        ]);
    }
    let root = mounted(mounts, |kind, _| kind == "cgroup2")?;
    let files = vec![("cpu.max", format!("{QUOTA} {PERIOD}")), ("memory.max", MEMORY.to_string())];
    Some(vec![Setting { root, files, unified: true }])
}

fn mounted(mounts: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    mounts.lines().find_map(|line| match line.split(' ').collect::<Vec<_>>().as_slice() {
        [_, place, kind, options, ..] if wanted(kind, options) => Some(Path::new(place).to_owned()),
        _ => None,
    })
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
