//! The worker runs in the image's namespace, and has no token of the API server.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{AttachParams, ListParams};
use populator_crd::names;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use vmdisk_e2e::servers::Fault;
use vmdisk_e2e::testing::files::{self, Server};
use vmdisk_e2e::testing::{Scene, bed, objects, until};

use crate::lab::{DISK_BYTES, SOON, across};

/// Where every pod finds its token that has one.
const TOKEN: &str = "/run/secrets/kubernetes.io";

#[tokio::test]
async fn it_has_no_token() {
    across(async |lab| {
        let (disk, expected) = files::publish_random(lab.images, "disk.img", DISK_BYTES)?;
        let server = Server::files()?;
        server.set(&disk.path, &Fault::stalling()).await?;
        lab.images.create(&objects::image("image", &disk.url)).await?;
        lab.grant().await?;
        let claim = lab.claim("claim", "image").await?;
        server.until_held(&disk.path, SOON).await?;

        let worker = names::worker(&claim.uid().context("a stored claim has a UID")?);
        let pod = lab.images.api::<Pod>().get(&worker).await.context("there is no worker in the image's namespace")?;
        let spec = pod.spec.context("a pod has a spec")?;
        ensure!(spec.automount_service_account_token == Some(false), "the worker's pod asks for a token");
        let volumes = serde_json::to_string(&spec.volumes)?;
        ensure!(!volumes.contains("serviceAccountToken"), "a volume of the worker has a token: {volumes}");
        let mounts = mounts(lab.images, &worker).await?;
        // What is looked at is the worker's view, and not that of a pod without any volume.
        ensure!(mounts.contains(" /target "), "the worker's volume is not mounted: {mounts}");
        ensure!(!mounts.contains(TOKEN), "the worker has a token: {mounts}");
        let pods = lab.claims.api::<Pod>().list(&ListParams::default()).await?;
        ensure!(pods.items.is_empty(), "there are pods beside the claim: {:?}", pods.items);

        server.release(&disk.path).await?;
        lab.until_filled("claim", &expected).await?;
        // A pod that has one shows it in this way.
        ensure!(mounts_of_an_ordinary_pod(&lab.claims).await?.contains(TOKEN), "no pod at all shows a token");
        Ok(())
    })
    .await;
}

/// What is mounted in a running container, and what lies where a token would.
async fn mounts(scene: &Scene, pod: &str) -> Result<String> {
    let script = "cat /proc/self/mounts; find /run/secrets /var/run/secrets 2>/dev/null || true";
    let mut process =
        scene.api::<Pod>().exec(pod, ["sh", "-c", script], &AttachParams::default().stderr(false)).await?;
    let mut text = String::new();
    process.stdout().context("the output was asked for")?.read_to_string(&mut text).await?;
    process.join().await?;
    Ok(text)
}

async fn mounts_of_an_ordinary_pod(scene: &Scene) -> Result<String> {
    let pod = serde_json::from_value(json!({
        "metadata": {"name": "ordinary"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 107, "runAsGroup": 107,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "shell",
                "image": bed::variable("BASE_IMAGE")?,
                "command": ["sleep", "infinity"],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    }))?;
    scene.create::<Pod>(&pod).await?;
    let runs = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
    until::holds(&scene.api::<Pod>(), "ordinary", "runs", SOON, runs).await?;
    mounts(scene, "ordinary").await
}
