//! A pod that runs a VM the way KubeVirt's virt-launcher does.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

/// The user that QEMU runs as in KubeVirt's pods, and that owns a populated disk.
pub const QEMU_UID: i64 = 107;

/// Where the claim is mounted: KubeVirt's directory of the disks of one VM.
const DISKS: &str = "/var/run/kubevirt-private/vmi-disks";

/// A virtual machine: which image runs it, and which claim it boots from.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The pod's name.
    pub name: String,
    /// The pod's namespace.
    pub namespace: String,
    /// An image with QEMU (`hack/cluster/images/vm`).
    pub image: String,
    /// A Filesystem claim with `disk.img`.
    pub claim: String,
}

impl Machine {
    /// The pod: user 107, restricted Pod Security, no token, a root that cannot be written, QEMU with the claim's raw disk
    /// past the page cache. It emulates the processor, because a restricted pod has no `/dev/kvm`.
    ///
    /// The guest's serial console is the pod's log. When the guest switches itself off, the pod is done.
    ///
    /// # Errors
    /// Never; the compiler cannot see that the literal below is a pod.
    pub fn pod(&self) -> Result<Pod> {
        let mount = format!("{DISKS}/{}", self.claim);
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "labels": {"app.kubernetes.io/name": "vm", "app.kubernetes.io/instance": self.name},
            },
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "terminationGracePeriodSeconds": 0,
                "securityContext": {
                    "runAsNonRoot": true,
                    "runAsUser": QEMU_UID,
                    "runAsGroup": QEMU_UID,
                    "fsGroup": QEMU_UID,
                    "fsGroupChangePolicy": "OnRootMismatch",
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [{
                    "name": "compute",
                    "image": self.image,
                    "command": ["qemu-system-x86_64"],
                    "args": machine(&format!("{mount}/disk.img")),
                    "securityContext": {
                        "allowPrivilegeEscalation": false,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": true,
                    },
                    "resources": {
                        "requests": {"cpu": "100m", "memory": "256Mi"},
                        "limits": {"memory": "768Mi"},
                    },
                    "volumeMounts": [{"name": "disk", "mountPath": mount}],
                }],
                "volumes": [{"name": "disk", "persistentVolumeClaim": {"claimName": self.claim}}],
            },
        });
        serde_json::from_value(pod).context("a pod of the API's shape")
    }
}

/// QEMU's arguments for a small machine that boots the raw disk at `path`, with its serial line on standard output.
#[must_use]
pub(super) fn machine(path: &str) -> Vec<String> {
    let drive = format!("file={path},format=raw,cache=none,discard=unmap,if=virtio");
    [
        "-accel",
        "tcg",
        "-m",
        "256",
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
        "-serial",
        "stdio",
        "-drive",
        &drive,
    ]
    .map(str::to_owned)
    .to_vec()
}
