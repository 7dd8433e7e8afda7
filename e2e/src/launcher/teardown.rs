//! Taking a cluster down, whatever state it is in: what it left is found by its cgroup, its directory and its names, not
//! by what a launcher remembers.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::mount::UnmountFlags;
use serde_json::Value;

use super::cgroup::Cgroup;
use super::network;
use super::node::PRIVATE_DIRS;
use super::process::Supervisor;
use crate::command::cmd;
use crate::instance::Instance;
use crate::poll;

/// How long components may take to end by themselves; what they would still save is deleted anyway.
const GRACE: Duration = Duration::from_secs(2);

/// How long mounts may stay busy after the last process has gone.
const PATIENCE: Duration = Duration::from_secs(10);

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
    for dir in PRIVATE_DIRS {
        remove_empty(Path::new(dir));
    }
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
    let link = instance.env_link();
    if fs::read_link(&link).is_ok_and(|target| target == instance.env_file()) {
        remove(&link)?;
    }
    Ok(())
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

/// Unmounts and detaches everything below `dir`. Loop devices lie on files of mounted pools, on other loop devices even,
/// and file systems on loop devices, so rounds of both go on until nothing is left. Devices are remembered from round to
/// round: one whose file was unmounted no longer says where that was.
fn release(dir: &Path) -> Result<()> {
    let mut devices = BTreeSet::new();
    let mut round = |flags: UnmountFlags| -> Result<bool> {
        devices.extend(loops_below(dir)?);
        for mount in mounts_below(dir)? {
            // A busy one is tried again once its loop devices are gone.
            let _ = rustix::mount::unmount(&mount, flags);
        }
        devices.retain(|device| attached(device));
        for device in &devices {
            let _ = cmd("losetup").arg("--detach").arg(device).run();
        }
        Ok(devices.is_empty() && mounts_below(dir)?.is_empty())
    };
    let what = format!("everything below {} to be unmounted and detached", dir.display());
    let gentle = poll::until(&what, PATIENCE, || round(UnmountFlags::empty()).map(|done| done.then_some(())));
    // Nobody of ours is alive; who else holds a file here keeps it, but the tree is free.
    gentle.or_else(|_| poll::until(&what, PATIENCE, || round(UnmountFlags::DETACH).map(|done| done.then_some(()))))
}

/// Whether a loop device has a file.
fn attached(device: &Path) -> bool {
    device.file_name().is_some_and(|name| Path::new("/sys/block").join(name).join("loop/backing_file").exists())
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

/// Loop devices whose file lies below `dir`, and those on top of such devices: the kubelet puts one on each block volume,
/// by a path of its own mount namespace, which is gone with it.
fn loops_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let columns = "NAME,BACK-MAJ:MIN,BACK-INO,BACK-FILE";
    let listing = cmd("losetup").args(["--list", "--json", "--output", columns]).output()?;
    let loops = parse_loops(&listing)?;
    Ok(ours(&loops, dir, |device| {
        let node = fs::metadata(device).ok()?;
        let (major, minor) = (rustix::fs::major(node.dev()), rustix::fs::minor(node.dev()));
        Some((format!("{major}:{minor}"), node.ino().to_string()))
    }))
}

/// One loop device.
struct Loop {
    device: PathBuf,
    /// The file below, as the device that it lies on and its inode.
    below: (String, String),
    file: PathBuf,
}

/// Reads what `losetup --json` prints, which is nothing at all when there are no loop devices.
fn parse_loops(listing: &str) -> Result<Vec<Loop>> {
    if listing.trim().is_empty() {
        return Ok(Vec::new());
    }
    let listing: Value = serde_json::from_str(listing).context("losetup's list of loop devices is not JSON")?;
    let devices = listing["loopdevices"].as_array().context("losetup's list has no loopdevices")?;
    // Columns are padded, and numbers are text in some versions.
    let text = |value: &Value| match value {
        Value::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    };
    let parse = |entry: &Value| Loop {
        device: text(&entry["name"]).into(),
        below: (text(&entry["back-maj:min"]), text(&entry["back-ino"])),
        file: text(&entry["back-file"]).into(),
    };
    Ok(devices.iter().map(parse).collect())
}

/// The loops below `dir`; `node` tells where a device's own file lies, in the terms of [`Loop::below`].
fn ours(loops: &[Loop], dir: &Path, node: impl Fn(&Path) -> Option<(String, String)>) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = loops.iter().filter(|l| l.file.starts_with(dir)).map(|l| l.device.clone()).collect();
    let mut next = 0;
    while let Some(identity) = found.get(next).map(|device| node(device)) {
        let above = loops.iter().filter(|l| Some(&l.below) == identity.as_ref() && !found.contains(&l.device));
        let above: Vec<PathBuf> = above.map(|l| l.device.clone()).collect();
        found.extend(above);
        next += 1;
    }
    found
}

/// Undoes the octal escapes of the mount table.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        if let Some(byte) = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            plain.push(char::from(byte));
            rest = &rest[at + 4..];
        } else {
            plain.push('\\');
            rest = &rest[at + 1..];
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
#[path = "teardown_tests.rs"]
mod tests;
