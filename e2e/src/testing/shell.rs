//! A pod that runs a script with some claims and ends.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::LogParams;
use serde_json::json;

use super::objects::Mode;
use super::{Scene, bed, until};

/// Where the script finds the disk of a claim: `disk.img` at the root of the file system, or the device.
#[must_use]
pub fn disk(claim: &str, mode: Mode) -> String {
    match mode {
        Mode::Filesystem => format!("{}/disk.img", directory(claim)),
        Mode::Block => format!("/dev/{claim}"),
    }
}

/// Where the script finds the file system of a claim.
#[must_use]
pub fn directory(claim: &str) -> String {
    format!("/volumes/{claim}")
}

/// Runs a script in a pod that has all these claims, and gives what it printed. The pod is gone afterwards, so that the
/// next one does not find the claims in use. The deadline is that of each step.
///
/// # Errors
/// When the script fails, or the pod does not end.
pub async fn run(scene: &Scene, claims: &[(&str, Mode)], script: &str, deadline: Duration) -> Result<String> {
    let pod = scene.create(&pod(claims, script)?).await?;
    let name = pod.name_any();
    let pods = scene.api::<Pod>();
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
    let ends = |pod: &Pod| matches!(phase(pod).as_str(), "Succeeded" | "Failed");
    let ended = until::holds(&pods, &name, "ends", deadline, ends).await?;
    let log = pods.logs(&name, &LogParams::default()).await?;
    ensure!(phase(&ended) == "Succeeded", "the pod failed: {log}");
    scene.delete::<Pod>(&name, deadline).await?;
    Ok(log)
}

fn pod(claims: &[(&str, Mode)], script: &str) -> Result<Pod> {
    let of = |wanted: Mode| claims.iter().filter(move |(_, mode)| *mode == wanted).map(|(claim, _)| *claim);
    let mounts: Vec<_> =
        of(Mode::Filesystem).map(|claim| json!({"name": claim, "mountPath": directory(claim)})).collect();
    let devices: Vec<_> =
        of(Mode::Block).map(|claim| json!({"name": claim, "devicePath": disk(claim, Mode::Block)})).collect();
    let volumes: Vec<_> =
        claims.iter().map(|(claim, _)| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}})).collect();
    let pod = json!({
        "metadata": {"generateName": "shell-"},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            // QEMU's ids, as virt-launcher has them.
            "securityContext": {
                "runAsUser": 107, "runAsGroup": 107, "fsGroup": 107, "runAsNonRoot": true,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "shell",
                "image": bed::variable("BASE_IMAGE")?,
                "command": ["bash", "-euc", script],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": mounts,
                "volumeDevices": devices,
            }],
            "volumes": volumes,
        },
    });
    serde_json::from_value(pod).context("a pod")
}
