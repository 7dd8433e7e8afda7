//! The pod that a claim is for: it uses the disk, as a VM does, until it is deleted.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::json;

use super::objects::Mode;
use super::{Scene, bed, until};

/// A pod that is named after the claim it uses.
#[derive(Clone, Copy, Debug)]
pub struct Consumer<'a> {
    /// The claim.
    pub claim: &'a str,
    /// How it is used.
    pub mode: Mode,
    /// The one node that will do.
    pub node: Option<&'a str>,
}

impl Consumer<'_> {
    /// Creates the pod.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn create(&self, scene: &Scene) -> Result<()> {
        scene.create(&self.pod()?).await.map(drop)
    }

    /// Waits until the pod runs, and tells on which node.
    ///
    /// # Errors
    /// When the deadline passes.
    pub async fn runs(&self, scene: &Scene, deadline: Duration) -> Result<String> {
        let runs = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
        let pod = until::holds(&scene.api::<Pod>(), self.claim, "runs", deadline, runs).await?;
        pod.spec.and_then(|spec| spec.node_name).context("a pod that runs has a node")
    }

    /// Deletes the pod and waits until it is gone.
    ///
    /// # Errors
    /// When the deadline passes.
    pub async fn delete(&self, scene: &Scene, deadline: Duration) -> Result<()> {
        let pods = scene.api::<Pod>();
        pods.delete(self.claim, &DeleteParams::default()).await?;
        until::gone(&pods, self.claim, deadline).await
    }

    fn pod(&self) -> Result<Pod> {
        let mut container = json!({
            "name": "shell",
            "image": bed::variable("BASE_IMAGE")?,
            "command": ["sleep", "infinity"],
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        });
        match self.mode {
            Mode::Filesystem => container["volumeMounts"] = json!([{"name": "disk", "mountPath": "/disk"}]),
            Mode::Block => container["volumeDevices"] = json!([{"name": "disk", "devicePath": "/dev/disk"}]),
        }
        let selector = self.node.map(|node| json!({"kubernetes.io/hostname": node}));
        let pod = json!({
            "metadata": {"name": self.claim},
            "spec": {
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 0,
                "nodeSelector": selector,
                // QEMU's ids, as virt-launcher has them.
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": 107, "runAsGroup": 107, "fsGroup": 107,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [container],
                "volumes": [{"name": "disk", "persistentVolumeClaim": {"claimName": self.claim}}],
            },
        });
        serde_json::from_value(pod).context("a pod")
    }
}
