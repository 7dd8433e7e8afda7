//! Taking a cluster down, whatever state it is in: what it left is found by its cgroup, its directory and its names, not
//! by what a launcher remembers.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::mount::UnmountFlags;

use super::cgroup::Cgroup;
use super::network;
use super::node::PRIVATE_DIRS;
use super::process::Supervisor;
use crate::command::cmd;
use crate::instance::Instance;

/// How long components may take to end by themselves; what they would still save is deleted anyway.
const GRACE: Duration = Duration::from_secs(2);

/// Removes everything that belongs to `instance`: processes, mounts, loop devices, links, cgroups, files.
///
/// # Errors
/// When something cannot be removed; another call continues where this one stopped.
pub(crate) fn down(instance: &Instance) -> Result<()> {
    let state = instance.state();
    let cgroup = Cgroup::of(instance)?;
    if state.exists() {
        let supervisor = Supervisor::new(instance, &cgroup)?;
        let names = supervisor.names();
        // kubelets first: they start again what others end.
        let (kubelets, others): (Vec<String>, Vec<String>) =
            names.into_iter().partition(|name| name.ends_with("kubelet"));
        supervisor.stop_all(&kubelets, GRACE)?;
        supervisor.stop_all(&others, GRACE)?;
    }
    cgroup.kill_all()?;
    release(&state)?;
    PRIVATE_DIRS.iter().for_each(|dir| remove_empty(Path::new(dir)));
    network::remove(instance)?;
    cgroup.remove()?;
    if state.exists() {
        ensure!(
            mounts_below(&state)?.is_empty(),
            "mounts are left below {}; nothing was deleted there",
            state.display()
        );
        fs::remove_dir_all(&state).with_context(|| format!("cannot remove {}", state.display()))?;
    }
    remove(&instance.env_file())
}

/// What of `instance` is still there, as lines for a person; empty after a complete [`down`].
///
/// # Errors
/// When the machine cannot be inspected.
pub fn remains(instance: &Instance) -> Result<Vec<String>> {
    let state = instance.state();
    let cgroup = Cgroup::of(instance)?;
    let mut remains: Vec<String> =
        cgroup.members().iter().map(|pid| format!("process {}", pid.as_raw_nonzero())).collect();
    remains.extend(mounts_below(&state)?.iter().map(|path| format!("mount {}", path.display())));
    remains.extend(loops_below(&state)?.iter().map(|device| format!("loop device {}", device.display())));
    if network::netns_file(instance).exists() {
        remains.push(format!("network namespace {}", instance.netns()));
    }
    if Path::new("/sys/class/net").join(instance.link()).exists() {
        remains.push(format!("link {}", instance.link()));
    }
    if state.exists() {
        remains.push(format!("directory {}", state.display()));
    }
    Ok(remains)
}

/// Removes a file; one that is gone already is fine.
fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file.display()))
        }
        _ => Ok(()),
    }
}

/// Removes a directory and its parents for as long as they are empty: mount points that the cluster had to make.
fn remove_empty(dir: &Path) {
    for dir in dir.ancestors() {
        if fs::remove_dir(dir).is_err() {
            return;
        }
    }
}

/// Unmounts and detaches everything below `dir`. Loop devices lie on files of mounted pools, and file systems on loop
/// devices, so rounds of both go on for as long as they get on.
fn release(dir: &Path) -> Result<()> {
    loop {
        let before = (mounts_below(dir)?, loops_below(dir)?);
        if before.0.is_empty() && before.1.is_empty() {
            return Ok(());
        }
        for mount in &before.0 {
            // A busy one is tried again once its loop devices are gone.
            let _ = rustix::mount::unmount(mount, UnmountFlags::empty());
        }
        for device in &before.1 {
            let _ = cmd("losetup").arg("--detach").arg(device).run();
        }
        if (mounts_below(dir)?, loops_below(dir)?) != before {
            continue;
        }
        // Nobody of ours is alive; who else holds a file here keeps it, but the tree is free.
        for mount in mounts_below(dir)? {
            rustix::mount::unmount(&mount, UnmountFlags::DETACH)
                .with_context(|| format!("cannot unmount {}", mount.display()))?;
        }
        let left = loops_below(dir)?;
        ensure!(left.is_empty(), "loop devices cannot be detached: {left:?}");
    }
}

/// Mount points below `dir`, the last mounted first.
fn mounts_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    let mut mounts: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(unescape(path)))
        .filter(|path| path.starts_with(dir))
        .collect();
    mounts.reverse();
    Ok(mounts)
}

/// Loop devices whose file lies (or lay) below `dir`.
pub(super) fn loops_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut devices = Vec::new();
    for entry in fs::read_dir("/sys/block").context("cannot read /sys/block")?.flatten() {
        let backing = fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
        if Path::new(backing.trim_end()).starts_with(dir) {
            devices.push(Path::new("/dev").join(entry.file_name()));
        }
    }
    Ok(devices)
}

/// Undoes the octal escapes of the mount table.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        match rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            None => {
                plain.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
#[path = "teardown_tests.rs"]
mod tests;
