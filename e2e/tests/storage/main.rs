//! The ground that all other tests stand on: what one pod writes to a volume of the cluster, another pod reads.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::LogParams;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::machine::Storage;
use vmdisk_e2e::testing::objects::is_bound;
use vmdisk_e2e::testing::{Scene, bed, scenario, until};

const DEADLINE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_file_system_that_binds_at_once() {
    scenario("volume", async |scene| keeps(scene, "STORAGE_CLASS_IMMEDIATE", "Filesystem").await).await;
}

#[tokio::test]
async fn a_file_system_that_waits_for_its_consumer() {
    scenario("volume", async |scene| keeps(scene, "STORAGE_CLASS_WFFC", "Filesystem").await).await;
}

#[tokio::test]
async fn a_block_device_that_binds_at_once() {
    scenario("volume", async |scene| keeps(scene, "STORAGE_CLASS_IMMEDIATE", "Block").await).await;
}

#[tokio::test]
async fn a_block_device_that_waits_for_its_consumer() {
    scenario("volume", async |scene| keeps(scene, "STORAGE_CLASS_WFFC", "Block").await).await;
}

#[tokio::test]
async fn a_volume_that_is_deleted_leaves_nothing_on_the_machine() {
    scenario("volume", async |scene| {
        keeps(scene, "STORAGE_CLASS_IMMEDIATE", "Filesystem").await?;
        let claim = scene.api::<PersistentVolumeClaim>().get("data").await?;
        let volume = claim.spec.and_then(|spec| spec.volume_name).context("the claim is bound")?;
        scene.delete::<PersistentVolumeClaim>("data", DEADLINE).await?;
        until::gone(&Api::<PersistentVolume>::all(scene.bed.client.clone()), &volume, DEADLINE).await?;
        let storage = Storage::read(&Instance::current()?)?;
        ensure!(storage.of_namespace(&scene.namespace).is_empty(), "the driver still has volumes: {storage:?}");
        storage.assert_clean()
    })
    .await;
}

/// Writes random bytes to a new volume, and reads them from another pod.
async fn keeps(scene: &Scene, class: &str, mode: &str) -> Result<()> {
    let class = bed::variable(class)?;
    scene.create(&claim(&class, mode)?).await?;
    // The writer names the digest of what it wrote, so that the reader's must be of the same bytes.
    let written = run(
        scene,
        mode,
        "head -c 8M /dev/urandom >/tmp/bytes; dd if=/tmp/bytes of=$TARGET bs=1M conv=fsync,notrunc 2>/dev/null; \
         sha256sum </tmp/bytes",
    )
    .await?;
    until::holds(&scene.api::<PersistentVolumeClaim>(), "data", "is bound", DEADLINE, is_bound).await?;
    let read = run(scene, mode, "head -c 8M $TARGET | sha256sum").await?;
    ensure!(written.len() > 64 && read == written, "written {written:?}, read {read:?}");
    Ok(())
}

fn claim(class: &str, mode: &str) -> Result<PersistentVolumeClaim> {
    let claim = json!({
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": class,
            "volumeMode": mode,
            "resources": {"requests": {"storage": "64Mi"}},
        },
    });
    serde_json::from_value(claim).context("a claim")
}

/// Runs a script in a pod with the claim, and gives what it printed.
async fn run(scene: &Scene, mode: &str, script: &str) -> Result<String> {
    let pod = scene.create(&pod(mode, script)?).await?;
    let name = pod.name_any();
    let pods = scene.api::<Pod>();
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
    let ends = |pod: &Pod| matches!(phase(pod).as_str(), "Succeeded" | "Failed");
    let ended = until::holds(&pods, &name, "ends", DEADLINE, ends).await?;
    let log = pods.logs(&name, &LogParams::default()).await?;
    ensure!(phase(&ended) == "Succeeded", "the pod failed: {log}");
    // Gone, so that the next pod does not find the volume in use.
    scene.delete::<Pod>(&name, DEADLINE).await?;
    Ok(log)
}

fn pod(mode: &str, script: &str) -> Result<Pod> {
    let (target, place): (_, Value) = match mode {
        "Block" => ("/dev/data", json!({"volumeDevices": [{"name": "data", "devicePath": "/dev/data"}]})),
        _ => (
            "/data/file",
            json!({"volumeMounts": [
                {"name": "data", "mountPath": "/data"},
            ]}),
        ),
    };
    let mut container = json!({
        "name": "shell",
        "image": bed::variable("BASE_IMAGE")?,
        "command": ["sh", "-euc", script],
        "env": [{"name": "TARGET", "value": target}],
        "volumeMounts": [],
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    });
    for (key, value) in place.as_object().into_iter().flatten() {
        container[key] = value.clone();
    }
    let pod = json!({
        "metadata": {"generateName": "shell-"},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {
                "runAsUser": 107, "runAsGroup": 107, "fsGroup": 107, "runAsNonRoot": true,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        },
    });
    serde_json::from_value(pod).context("a pod")
}
