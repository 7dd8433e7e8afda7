//! Storage: a pool of loop-backed volumes, the CSI driver on it, and the sidecars that speak for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::process::Component;
use super::{Launcher, tools};
use crate::cache;
use crate::command::cmd;
use crate::instance::{NODES, Node};

/// The driver's name in Kubernetes.
pub(super) const DRIVER: &str = "loop.csi.vmdisk.dev";

/// The class whose volumes are made at once.
pub(super) const CLASS_IMMEDIATE: &str = "loop-immediate";
/// The class whose volumes wait for a pod.
pub(super) const CLASS_WFFC: &str = "loop-wffc";

/// The class whose volumes every node reaches.
pub(super) const CLASS_SHARED: &str = "loop-shared";

/// The class whose claims are copied by the driver's clone.
pub(super) const CLASS_CLONE: &str = "loop-clone";

/// The pool's size on paper: its file is sparse, and takes what volumes take.
const POOL_SIZE: &str = "200G";

const READY: Duration = Duration::from_mins(1);

impl Launcher {
    /// Brings pool, driver and sidecars up.
    pub(super) fn storage(&self) -> Result<()> {
        self.pool()?;
        let driver = tools::csi_driver(self.instance.checkout(), &self.state)?;
        // Built anew at every `up`: the processes are replaced when its content has changed.
        let version = cache::key(&[&fs::read(&driver).context("cannot read the CSI driver")?]);
        self.controller_plugin(&driver, &version)?;
        for node in NODES {
            self.node_plugin(&driver, &version, node)?;
        }
        self.snapshot_types()?;
        self.sidecars()?;
        self.snapshots()
    }

    /// Waits until both kubelets have registered the driver: nodes without it do not get volumes.
    pub(super) fn storage_ready(&self) -> Result<()> {
        for node in NODES {
            self.supervisor.ready(&format!("{}-csi", node.name), READY, || {
                let drivers = "jsonpath={.spec.drivers[*].name}";
                let listed = self.kubectl().args(["get", "csinode", node.name, "-o", drivers]).output();
                listed.is_ok_and(|listed| listed.split(' ').any(|name| name == DRIVER))
            })?;
        }
        Ok(())
    }

    /// Where tests steer the driver: holds and capacity.
    pub(super) fn csi_state(&self) -> PathBuf {
        self.state.join("csi")
    }

    /// Where the driver's volumes lie.
    pub(super) fn csi_pool(&self) -> PathBuf {
        self.state.join("pool")
    }

    /// The pool: an xfs on a loop file, because the root file system may know no reflinks.
    fn pool(&self) -> Result<()> {
        let (file, dir) = (self.state.join("pool.xfs"), self.csi_pool());
        if cmd("mountpoint").arg("--quiet").arg(&dir).succeeds() {
            return Ok(());
        }
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let partial = self.state.join("pool.partial");
        if !file.exists() {
            cmd("truncate").args(["--size", POOL_SIZE]).arg(&partial).run()?;
            cmd("mkfs.xfs").args(["-q", "-f", "-m", "reflink=1"]).arg(&partial).run()?;
            fs::rename(&partial, &file).context("cannot put the pool in its place")?;
        }
        cmd("mount").args(["-o", "loop,discard"]).arg(&file).arg(&dir).run()
    }

    fn controller_socket(&self) -> PathBuf {
        self.state.join("csi.sock")
    }

    fn serve(&self, name: &str, program: &Path, version: &str) -> Component {
        Component::new(name, program.to_path_buf()).config(version).args([
            "serve".to_owned(),
            format!("--pool={}", self.csi_pool().display()),
            format!("--state={}", self.csi_state().display()),
        ])
    }

    fn controller_plugin(&self, program: &Path, version: &str) -> Result<()> {
        let nodes: Vec<&str> = NODES.iter().map(|node| node.name).collect();
        let socket = self.controller_socket();
        let component = self.serve("csi-controller", program, version).args([
            "--mode=controller".to_owned(),
            format!("--nodes={}", nodes.join(",")),
            format!("--endpoint=unix://{}", socket.display()),
        ]);
        self.supervisor.ensure(&component)?;
        self.supervisor.ready("csi-controller", READY, || socket.exists())
    }

    fn node_plugin(&self, program: &Path, version: &str, node: Node) -> Result<()> {
        let kubelet = self.kubelet_dir(node);
        let socket = kubelet.join("plugins").join(DRIVER).join("csi.sock");
        let component = self.serve(&format!("{}-csi", node.name), program, version).args([
            "--mode=node".to_owned(),
            format!("--node-id={}", node.name),
            format!("--endpoint=unix://{}", socket.display()),
            format!("--kubelet-registration-dir={}", kubelet.join("plugins_registry").display()),
        ]);
        self.supervisor.ensure(&component)
    }

    /// A sidecar of the controller's part of the driver, with what all of them are told.
    pub(super) fn sidecar(&self, name: &str) -> Component {
        Component::new(name, self.tool(name)).args([
            format!("--csi-address={}", self.controller_socket().display()),
            format!("--kubeconfig={}", self.pki.kubeconfig(name).display()),
            // At the defaults they, not the populator, would be what a burst of claims measures.
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
            // A held call ends with its hold, not with the sidecar's patience.
            "--timeout=10m".to_owned(),
            "--retry-interval-start=200ms".to_owned(),
            "--retry-interval-max=2s".to_owned(),
        ])
    }

    fn sidecars(&self) -> Result<()> {
        self.supervisor.ensure(
            &self
                .sidecar("csi-provisioner")
                // Where the capacity objects live, and nobody who owns them.
                .env("NAMESPACE", "kube-system")
                .args([
                    // Where a claim waits for its consumer, no other node than the scheduler's will do.
                    "--strict-topology",
                    "--extra-create-metadata",
                    "--default-fstype=ext4",
                    "--enable-capacity",
                    "--capacity-ownerref-level=-1",
                    "--capacity-poll-interval=2s",
                    "--kube-api-capacity-qps=50",
                    "--kube-api-capacity-burst=100",
                    // A restore that failed leaves a finalizer on its snapshot, and with it a namespace that does not go.
                    "--snapshot-orphan-sweep-interval=2s",
                ]),
        )?;
        self.supervisor.ensure(&self.sidecar("csi-resizer").args(["--handle-volume-inuse-error=false"]))
    }
}
