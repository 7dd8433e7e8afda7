//! Bringing the embedded cluster up and taking it down.
//!
//! A real API server, scheduler, controller manager and DNS; two nodes with containerd and kubelet; a CSI driver with its
//! sidecars; a registry, an S3 server and an HTTP server with faults. All are processes of this machine inside one network
//! namespace and one cgroup, so that `down` finds whatever is left, also after a crash.

mod addons;
mod cgroup;
mod controlplane;
mod deploy;
pub(crate) mod images;
mod network;
mod node;
pub mod packages;
pub(crate) mod pki;
mod process;
mod services;
mod snapshots;
mod status;
mod storage;
mod teardown;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Pid;

use crate::cache;
use crate::command::cmd;
use crate::environment::Environment;
use crate::instance::Instance;
use crate::say::{say, step};
use cgroup::Cgroup;
use pki::Pki;
use process::Supervisor;
use services::ports;

pub use deploy::deploy;
pub use status::status;
pub use teardown::remains;

/// What the steps of bringing a cluster up share.
struct Launcher {
    instance: Instance,
    state: PathBuf,
    tools: PathBuf,
    pki: Pki,
    supervisor: Supervisor,
}

/// Brings the cluster of this checkout up, or completes one that is half up. Up twice is up once.
///
/// # Errors
/// When a step fails; what is up stays up for inspection, and the next `up` continues from there.
pub fn up(instance: &Instance) -> Result<()> {
    require_root()?;
    let _lock = lock(instance)?;
    let start = Instant::now();
    say(&format!("cluster {}: bringing it up", instance.name()));
    packages::ensure()?;
    let tools = tools::ensure(instance.checkout())?;
    forget_other_boots(instance)?;

    let state = instance.state();
    fs::create_dir_all(&state).with_context(|| format!("cannot create {}", state.display()))?;
    share(&state)?;
    let cgroup = Cgroup::of(instance)?;
    cgroup.create()?;
    network::ensure(instance)?;
    let pki = Pki::ensure(instance, state.join("pki"))?;
    let supervisor = Supervisor::new(instance, &cgroup)?;
    let launcher = Launcher { instance: instance.clone(), state, tools, pki, supervisor };
    launcher.up()?;
    say(&format!("cluster {}: up after {:.0} s", instance.name(), start.elapsed().as_secs_f64()));
    Ok(())
}

/// Installs the Debian packages that the cluster and the tests need, when root; names them otherwise.
///
/// # Errors
/// When something is missing and cannot be installed.
pub fn packages() -> Result<()> {
    packages::ensure()
}

/// The directory with the Go tools of the embedded cluster, built when they are not in the cache.
///
/// # Errors
/// When they cannot be built.
pub fn tools(instance: &Instance) -> Result<PathBuf> {
    tools::ensure(instance.checkout())
}

/// The processes of a container, by its `containerID` in the pod's status; none when there is no such container.
///
/// # Errors
/// When cgroups cannot be read.
pub fn container_processes(instance: &Instance, id: &str) -> Result<Vec<Pid>> {
    // The runtime's name comes first: containerd://…
    let id = id.rsplit("//").next().unwrap_or(id);
    Ok(Cgroup::of(instance)?.container(id))
}

/// Kills a component by its name (`status` lists them), as the kernel's OOM killer would.
///
/// # Errors
/// When it does not run, or survives.
pub fn kill(instance: &Instance, component: &str) -> Result<()> {
    Supervisor::new(instance, &Cgroup::of(instance)?)?.kill(component)
}

/// Starts every component that has ended again as it was, as an init system would; gives their names.
///
/// # Errors
/// When one cannot be started.
pub fn revive(instance: &Instance) -> Result<Vec<String>> {
    let supervisor = Supervisor::new(instance, &Cgroup::of(instance)?)?;
    let mut revived = Vec::new();
    for name in supervisor.names() {
        if supervisor.revive(&name)? {
            revived.push(name);
        }
    }
    Ok(revived)
}

/// Copies the logs of a cluster to a place that outlives it, and says where that is.
///
/// # Errors
/// When they cannot be copied.
pub fn save_logs(instance: &Instance) -> Result<PathBuf> {
    let place = instance.checkout().join("target/cluster/logs");
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| format!("cannot remove {}", place.display()))?;
    }
    fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
    cmd("cp").arg("--recursive").arg(instance.logs().join(".")).arg(&place).run()?;
    Ok(place)
}

/// Takes the cluster of this checkout down; nothing of it is left afterwards.
///
/// # Errors
/// When something cannot be removed.
pub fn down(instance: &Instance) -> Result<()> {
    require_root()?;
    let _lock = lock(instance)?;
    step(&format!("cluster {}: taking it down", instance.name()), || teardown::down(instance))
}

impl Launcher {
    fn up(&self) -> Result<()> {
        step("starting the control plane", || self.control_plane())?;
        step("starting registry, S3 and HTTP servers", || self.services())?;
        self.images()?;
        step("starting two nodes", || self.nodes())?;
        step("starting DNS", || self.dns())?;
        step("starting storage", || self.storage())?;
        step("waiting for the nodes", || {
            self.addons()?;
            self.nodes_ready()?;
            self.storage_ready()?;
            self.accounts()
        })?;
        self.environment().store(&self.instance)
    }

    /// What tests and people need to know to use the cluster.
    fn environment(&self) -> Environment {
        let instance = &self.instance;
        let at = |port| services::authority(instance, port);
        let mut env = Environment::default();
        env.set("KUBECONFIG", self.pki.kubeconfig("admin").display());
        env.set("PATH", self.tools.display());
        env.set("REGISTRY", at(ports::REGISTRY));
        env.set("PRIVATE_REGISTRY", at(ports::PRIVATE_REGISTRY));
        env.set("PRIVATE_REGISTRY_USERNAME", services::PRIVATE_USER);
        env.set("PRIVATE_REGISTRY_PASSWORD", services::PRIVATE_PASSWORD);
        env.set("S3_ENDPOINT", format!("https://{}", at(ports::S3)));
        env.set("S3_ACCESS_KEY", services::S3_ACCESS_KEY);
        env.set("S3_SECRET_KEY", services::S3_SECRET_KEY);
        env.set("HTTP_ROOT", self.http_root().display());
        env.set("HTTP_URL", format!("http://{}", at(ports::HTTP)));
        env.set("HTTPS_URL", format!("https://{}", at(ports::HTTPS)));
        env.set("CONTROL_URL", format!("http://{}", at(ports::CONTROL)));
        env.set("CA_FILE", self.trust_dir().join("ca.crt").display());
        env.set("CLUSTER_RANGE", instance.range());
        env.set("TEST_DOMAIN", pki::DOMAIN);
        env.set("STORAGE_CLASS_IMMEDIATE", storage::CLASS_IMMEDIATE);
        env.set("STORAGE_CLASS_WFFC", storage::CLASS_WFFC);
        env.set("STORAGE_CLASS_SHARED", storage::CLASS_SHARED);
        env.set("CLONE_CLASS", storage::CLASS_CLONE);
        env.set("SNAPSHOT_CLASS", snapshots::SNAPSHOT_CLASS);
        env.set("CSI_DRIVER", storage::DRIVER);
        env.set("CSI_STATE", self.csi_state().display());
        env.set("CSI_BINARY", self.state.join("vmdisk-csi").display());
        env.set("CSI_POOL", self.csi_pool().display());
        env.set("BASE_IMAGE", images::base_name(instance));
        env.set("AUDIT_LOG", self.audit_log().display());
        env.set("KCM_PID_FILE", self.supervisor.pid_file("kube-controller-manager").display());
        env.set("LOG_DIR", instance.logs().display());
        env.set("STATE_DIR", self.state.display());
        env
    }

    /// A Go tool's path.
    fn tool(&self, name: &str) -> PathBuf {
        self.tools.join(name)
    }

    /// `PATH` with the tools in front.
    fn path_variable(&self) -> String {
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
        format!("{}:{path}", self.tools.display())
    }
}

fn require_root() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the embedded cluster mounts file systems and makes network namespaces: run this command as root"
    );
    Ok(())
}

fn lock(instance: &Instance) -> Result<fs::File> {
    let path = instance.lock_file();
    let parent = path.parent().context("the lock has a parent")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    cache::lock(&path)
}

/// A machine that was started again has the files of its clusters, but nothing else of them; and etcd, which does not
/// sync, may have lost some. Such a cluster is made anew.
fn forget_other_boots(instance: &Instance) -> Result<()> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("cannot read the machine's boot id")?;
    let note = instance.state().join("boot-id");
    if instance.state().exists() && !fs::read_to_string(&note).is_ok_and(|noted| noted == boot) {
        step("removing what is left of a cluster from before", || teardown::down(instance))?;
    }
    write(&note, &boot)
}

/// Makes the state directory a mount that mount namespaces share: what a kubelet mounts there, the CSI driver sees.
fn share(state: &Path) -> Result<()> {
    if !cmd("mountpoint").arg("--quiet").arg(state).succeeds() {
        cmd("mount").arg("--bind").arg(state).arg(state).run()?;
    }
    cmd("mount").arg("--make-shared").arg(state).run()
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
