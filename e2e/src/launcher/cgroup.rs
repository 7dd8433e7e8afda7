//! The cgroup that holds every process of one cluster, containers included, so that `down` can find them all by id, also
//! after a crash of the launcher.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::instance::{Instance, NODES};
use crate::poll;

/// The cgroup of one instance in every hierarchy of this machine.
pub(crate) struct Cgroup {
    /// The instance's directory in each hierarchy: one with cgroup v2, one a controller with v1.
    dirs: Vec<PathBuf>,
    /// Where something may have made one beside these: runc uses the v2 hierarchy of a hybrid machine too.
    strays: Vec<PathBuf>,
    /// The one in which membership counts.
    members: PathBuf,
    unified: bool,
}

impl Cgroup {
    /// Finds the hierarchies; makes nothing.
    ///
    /// # Errors
    /// When the machine mounts no cgroup hierarchy.
    pub(crate) fn of(instance: &Instance) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
        let (roots, unified) = hierarchies(&mounts);
        let below = |roots: &[PathBuf]| roots.iter().map(|root| root.join(instance.cgroup())).collect::<Vec<_>>();
        let dirs = below(&roots);
        let strays = below(&mounted(&mounts, "cgroup2"));
        // With v1, runc puts a container into every hierarchy; any of them knows all members.
        let members = dirs
            .iter()
            .find(|dir| dir.parent().is_some_and(|root| root.ends_with("pids")))
            .or(dirs.first())
            .context("no cgroup hierarchy is mounted; expected cgroup or cgroup2 in /proc/self/mounts")?
            .clone();
        Ok(Self { dirs, strays, members, unified })
    }

    /// Makes the groups: `system` for the components, one for each node's pods.
    ///
    /// # Errors
    /// When they cannot be made.
    pub(crate) fn create(&self) -> Result<()> {
        for dir in &self.dirs {
            let leaves = NODES.iter().map(|node| dir.join(node.name)).chain([dir.join("system")]);
            for path in leaves {
                fs::create_dir_all(&path).with_context(|| format!("cannot create the cgroup {}", path.display()))?;
                if dir.parent().is_some_and(|root| root.ends_with("cpuset")) {
                    inherit_cpuset(dir)?;
                    inherit_cpuset(&path)?;
                }
            }
            if self.unified {
                enable_controllers(dir)?;
            }
        }
        Ok(())
    }

    /// The file to write a process id to, so that it (and all that it starts) belongs to the cluster.
    #[must_use]
    pub(crate) fn system_procs(&self) -> PathBuf {
        self.members.join("system/cgroup.procs")
    }

    /// A node's group as the kubelet's `cgroupRoot` wants it.
    #[must_use]
    pub(crate) fn node_root(instance: &Instance, node: &str) -> String {
        format!("/{}/{node}", instance.cgroup())
    }

    /// Every process of the cluster.
    #[must_use]
    pub(crate) fn members(&self) -> Vec<Pid> {
        let mut pids = Vec::new();
        collect(&self.members, &mut pids);
        pids
    }

    /// The processes of one container, by the id that its runtime gave it; empty when there is no such container.
    #[must_use]
    pub(crate) fn container(&self, id: &str) -> Vec<Pid> {
        let mut pids = Vec::new();
        if let Some(dir) = find(&self.members, id) {
            collect(&dir, &mut pids);
        }
        pids
    }

    /// Kills every process of the cluster and waits until all are gone. New ones may appear while others die (a shim
    /// starts its clean-up), so it looks again until the group is empty.
    ///
    /// # Errors
    /// When some do not end within a minute.
    pub(crate) fn kill_all(&self) -> Result<()> {
        poll::until_true("every process of the cluster to be gone", Duration::from_mins(1), || {
            let pids = self.members();
            for pid in &pids {
                // It may have ended by itself since the group was read.
                let _ = kill_process(*pid, Signal::KILL);
            }
            pids.is_empty()
        })
    }

    /// Removes the groups.
    ///
    /// # Errors
    /// When one does not become empty within ten seconds.
    pub(crate) fn remove(&self) -> Result<()> {
        for dir in self.dirs.iter().chain(&self.strays) {
            // A group stays busy for a moment after its last process was reaped.
            poll::until(&format!("the cgroup {} to be removed", dir.display()), Duration::from_mins(1), || {
                remove_tree(dir).map(Some)
            })?;
        }
        Ok(())
    }
}

/// The mount points to use, and whether they are cgroup v2. A hybrid machine is used by its v1 controllers.
fn hierarchies(mounts: &str) -> (Vec<PathBuf>, bool) {
    let v1 = mounted(mounts, "cgroup");
    if v1.is_empty() { (mounted(mounts, "cgroup2").into_iter().take(1).collect(), true) } else { (v1, false) }
}

/// Where file systems of this kind are mounted.
fn mounted(mounts: &str, kind: &str) -> Vec<PathBuf> {
    let lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    lines.filter(|fields| fields.get(2) == Some(&kind)).filter_map(|fields| fields.get(1).map(PathBuf::from)).collect()
}

/// With v1 a new cpuset is empty, and nothing can be put into it before it names processors and memory nodes.
fn inherit_cpuset(dir: &Path) -> Result<()> {
    let parent = dir.parent().context("a cgroup has a parent")?;
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let value =
            fs::read_to_string(parent.join(file)).with_context(|| format!("cannot read the parent's {file}"))?;
        fs::write(dir.join(file), value.trim()).with_context(|| format!("cannot set {file} of {}", dir.display()))?;
    }
    Ok(())
}

/// With v2 a group's children have the controllers that it hands down.
fn enable_controllers(dir: &Path) -> Result<()> {
    let root = dir.parent().context("a cgroup has a parent")?;
    let nodes = NODES.iter().map(|node| dir.join(node.name));
    for group in [root.to_path_buf(), dir.to_path_buf()].into_iter().chain(nodes) {
        let controllers = fs::read_to_string(group.join("cgroup.controllers"))
            .with_context(|| format!("cannot read the controllers of {}", group.display()))?;
        let wanted: Vec<String> = controllers.split_whitespace().map(|name| format!("+{name}")).collect();
        fs::write(group.join("cgroup.subtree_control"), wanted.join(" "))
            .with_context(|| format!("cannot hand controllers down from {}", group.display()))?;
    }
    Ok(())
}

fn subgroups(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn collect(dir: &Path, pids: &mut Vec<Pid>) {
    let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    pids.extend(procs.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::from_raw));
    for child in subgroups(dir) {
        collect(&child, pids);
    }
}

fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    let children = subgroups(dir);
    children.iter().find(|child| child.ends_with(name)).cloned().or_else(|| children.iter().find_map(|c| find(c, name)))
}

fn remove_tree(dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    for child in subgroups(dir) {
        remove_tree(&child)?;
    }
    fs::remove_dir(dir).with_context(|| format!("cannot remove the cgroup {}", dir.display()))
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
