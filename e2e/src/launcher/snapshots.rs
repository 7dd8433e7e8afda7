//! Snapshots: the definitions of their types, the controller that binds them, and the CSI driver's sidecar that makes
//! them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::Launcher;
use super::process::Component;
use crate::cache;
use crate::command::cmd;

/// The class of snapshots.
pub(super) const SNAPSHOT_CLASS: &str = "loop-snapshot";

/// The module that holds the definitions, in the version that the tools are pinned to.
const MODULE: &str = "github.com/kubernetes-csi/external-snapshotter/client/v8";

/// Those of its definitions that a cluster without groups of volumes needs.
const DEFINITIONS: [&str; 3] = [
    "snapshot.storage.k8s.io_volumesnapshotclasses.yaml",
    "snapshot.storage.k8s.io_volumesnapshotcontents.yaml",
    "snapshot.storage.k8s.io_volumesnapshots.yaml",
];

impl Launcher {
    /// Applies the definitions of the types. They are not ours to copy into the checkout: they come from the module that
    /// the sidecar is compiled against. csi-provisioner, too, looks for them once, when it starts.
    pub(super) fn snapshot_types(&self) -> Result<()> {
        let tools = self.instance.checkout().join("hack/cluster/tools");
        let pins = fs::read(tools.join("go.mod")).context("cannot read go.mod of the tools")?;
        let key = cache::key(&[&pins]);
        self.apply_all(&cache::once("snapshot-definitions", &key, |dir| collect(&tools, dir))?)?;
        self.types_established()
    }

    /// Starts the controller and the sidecar.
    pub(super) fn snapshots(&self) -> Result<()> {
        let controller = Component::new("snapshot-controller", self.tool("snapshot-controller"));
        self.supervisor.ensure(&controller.args([
            format!("--kubeconfig={}", self.pki.kubeconfig("snapshot-controller").display()),
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
            "--retry-interval-start=200ms".to_owned(),
            "--retry-interval-max=2s".to_owned(),
        ]))?;
        self.supervisor.ensure(&self.sidecar("csi-snapshotter").args(["--extra-create-metadata"]))
    }
}

/// Copies the definitions from Go's module cache into `dir`.
fn collect(tools: &Path, dir: &Path) -> Result<()> {
    /// What is read of go's answer.
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Module {
        dir: PathBuf,
    }
    let answer = cmd("go").dir(tools).args(["mod", "download", "-json", MODULE]).output()?;
    let module: Module = serde_json::from_str(&answer).with_context(|| format!("go does not say where {MODULE} is"))?;
    for name in DEFINITIONS {
        let from = module.dir.join("config/crd").join(name);
        // Not with the permissions of the module cache, in which nothing may be written.
        let text = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        fs::write(dir.join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}
