//! What tests do to the machine under the cluster: kill a container, stop a component, hold the CSI driver; and what
//! they find left on it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use crate::command::cmd;
use crate::environment::Environment;
use crate::instance::Instance;
use crate::launcher::container_processes;

/// Sends `signal` to every process of a container. `id` is its `containerID` in the pod's status. Gives how many there were.
///
/// # Errors
/// When the container has no process on this machine.
pub fn signal_container(instance: &Instance, id: &str, signal: Signal) -> Result<usize> {
    let processes = container_processes(instance, id)?;
    ensure!(!processes.is_empty(), "the container {id} has no processes");
    for pid in &processes {
        match kill_process(*pid, signal) {
            // One that ended meanwhile has what a signal would have given it.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot signal process {pid:?}")),
        }
    }
    Ok(processes.len())
}

/// Kills a container as the kernel's OOM killer would: no signal that it could catch.
///
/// # Errors
/// As [`signal_container`].
pub fn kill_container(instance: &Instance, id: &str) -> Result<()> {
    signal_container(instance, id, Signal::KILL).map(drop)
}

/// What a container has written as its termination message so far.
///
/// # Errors
/// When it has written none, or the kubelet made no place for one.
pub fn termination_message(instance: &Instance, node: &str, pod_uid: &str, container: &str) -> Result<String> {
    let pod = instance.state().join(node).join("kubelet/pods").join(pod_uid);
    let dir = pod.join("containers").join(container);
    // One file for each start of the container; ours start once.
    let mut files = fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let file = files.next().context("the container has not been started")??.path();
    fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
}

/// A component of the control plane or a node that is stopped (SIGSTOP) for as long as this value lives.
#[must_use = "the component goes on when this is dropped"]
pub struct Stopped(Pid);

impl Stopped {
    /// Stops a component by its name: `kube-controller-manager`, `csi-provisioner`, `node-1-kubelet`, …
    /// (`cargo xtask cluster status` lists them).
    ///
    /// # Errors
    /// When no such component runs.
    pub fn new(instance: &Instance, component: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Record {
            pid: i32,
        }
        let file = instance.state().join("pids").join(format!("{component}.json"));
        let text = fs::read(&file).with_context(|| format!("there is no component {component}"))?;
        let record: Record = serde_json::from_slice(&text)?;
        let pid = Pid::from_raw(record.pid).context("a process id is not 0")?;
        kill_process(pid, Signal::STOP).with_context(|| format!("cannot stop {component}"))?;
        Ok(Self(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // A component that has ended needs no more.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// A hold of the CSI driver: calls for volumes of classes that name it wait for as long as this value lives.
#[must_use = "the driver goes on when this is dropped"]
pub struct Hold {
    file: PathBuf,
    held: PathBuf,
}

impl Hold {
    /// Sets a hold; a class of volumes or snapshots refers to it by this name (`hold`, `holdStage`, `holdReady`, …).
    ///
    /// # Errors
    /// When there is one of this name.
    pub fn new(instance: &Instance, name: &str) -> Result<Self> {
        let state = Environment::load(instance)?.path("CSI_STATE")?;
        let file = state.join("holds").join(name);
        let parent = file.parent().context("a hold lies in a directory")?;
        fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        fs::File::create_new(&file).with_context(|| format!("cannot create the hold {}", file.display()))?;
        Ok(Self { file, held: state.join("holding").join(name) })
    }

    /// How many volumes and snapshots wait for it now; what `holdReady` keeps from being ready is not among them.
    #[must_use]
    pub fn waiting(&self) -> usize {
        fs::read_dir(&self.held).map_or(0, Iterator::count)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

/// One volume that the CSI driver has, whether Kubernetes knows it or not.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// The volume's handle.
    pub id: String,
    /// The namespace of the claim that it was made for.
    #[serde(default)]
    pub namespace: String,
    /// The claim that it was made for: the prime's name, for volumes of ours.
    #[serde(default)]
    pub claim: String,
    /// Where it is mounted.
    #[serde(default)]
    pub mounts: Vec<String>,
    /// Its loop device, and those that a kubelet keeps on top of that.
    #[serde(default)]
    pub loop_devices: Vec<LoopDevice>,
    /// What it is a copy of.
    #[serde(default)]
    pub source: Source,
}

/// A loop device.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoopDevice {
    /// `/dev/loopN`
    pub path: String,
    /// The file or device that it shows.
    pub backing_file: String,
}

/// What a volume is a copy of: a snapshot, a volume, or neither.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Source {
    /// The snapshot's handle.
    pub snapshot: String,
    /// The volume's handle.
    pub volume: String,
}

/// One snapshot that the CSI driver has, whether Kubernetes knows it or not.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// The snapshot's handle.
    pub id: String,
    /// The namespace of the `VolumeSnapshot` that it was made for.
    #[serde(default)]
    pub namespace: String,
    /// The `VolumeSnapshot` that it was made for.
    #[serde(default)]
    pub volume_snapshot: String,
    /// The handle of the volume that it is of, which may be gone.
    pub volume: String,
}

/// What storage holds on this machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Every volume.
    pub volumes: Vec<Volume>,
    /// Every snapshot.
    pub snapshots: Vec<Snapshot>,
    /// Loop devices of volumes that are gone.
    pub stray_loop_devices: Vec<serde_json::Value>,
    /// Mounts of volumes that are gone.
    pub stray_mounts: Vec<serde_json::Value>,
}

impl Storage {
    /// Asks the driver's files and the kernel; needs no running driver.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read(instance: &Instance) -> Result<Self> {
        let environment = Environment::load(instance)?;
        let directory =
            |flag: &str, name: &str| -> Result<String> { Ok(format!("--{flag}={}", environment.get(name)?)) };
        let status = cmd(environment.path("CSI_BINARY")?)
            .args(["status", &directory("pool", "CSI_POOL")?, &directory("state", "CSI_STATE")?])
            .output()?;
        serde_json::from_str(&status).context("the CSI driver's status is not what was expected")
    }

    /// The volumes that were made for claims of a namespace.
    #[must_use]
    pub fn of_namespace(&self, namespace: &str) -> Vec<&Volume> {
        self.volumes.iter().filter(|volume| volume.namespace == namespace).collect()
    }

    /// The snapshots that were made for a namespace.
    #[must_use]
    pub fn snapshots_of_namespace(&self, namespace: &str) -> Vec<&Snapshot> {
        self.snapshots.iter().filter(|snapshot| snapshot.namespace == namespace).collect()
    }

    /// Fails when the kernel holds anything of a volume that is gone.
    ///
    /// # Errors
    /// When it does.
    pub fn assert_clean(&self) -> Result<()> {
        if self.stray_loop_devices.is_empty() && self.stray_mounts.is_empty() {
            return Ok(());
        }
        bail!("left behind: loop devices {:?}, mounts {:?}", self.stray_loop_devices, self.stray_mounts)
    }
}

/// Whether a path is mounted on this machine.
///
/// # Errors
/// When the mount table cannot be read.
pub fn is_mounted(path: &Path) -> Result<bool> {
    let table = fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    Ok(table.lines().any(|line| line.split(' ').nth(1).is_some_and(|mount| Path::new(mount) == path)))
}
