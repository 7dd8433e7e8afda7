//! A node that was chosen for a claim, and has no room for its volume, does not hold the consumer.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use vmdisk_e2e::servers::Fault;
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::{Scene, bed, scenario, until};

use crate::class::Class;
use crate::disk::Disk;

const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const SOON: Duration = Duration::from_mins(1);
/// The scheduler waits longer after each try.
const DEADLINE: Duration = Duration::from_mins(3);

#[tokio::test]
async fn a_consumer_leaves_a_node_without_room() {
    scenario("placement", async |scene| {
        let parameters = BTreeMap::from([("exhaust".to_owned(), "node-1".to_owned())]);
        let class = Class::create(scene, "STORAGE_CLASS_WFFC", parameters).await?;
        let outcome = moves(scene, &class.name).await;
        cordon(scene, "node-2", false).await?;
        class.delete().await?;
        outcome
    })
    .await;
}

async fn moves(scene: &Scene, class: &str) -> Result<()> {
    Disk::publish(scene, "claim", Fault::default()).await?;
    // So that the scheduler can choose nothing but the full node.
    cordon(scene, "node-2", true).await?;
    scene.create(&objects::claim_of("claim", "claim", "64Mi", Mode::Filesystem, class)?).await?;
    scene.create(&consumer()?).await?;
    let claims = scene.api::<PersistentVolumeClaim>();
    let chosen = |claim: &PersistentVolumeClaim| claim.annotations().get(SELECTED_NODE).is_some_and(|n| n == "node-1");
    until::holds(&claims, "claim", "the full node was chosen for it", SOON, chosen).await?;
    cordon(scene, "node-2", false).await?;
    until::holds(&claims, "claim", "is bound", DEADLINE, objects::is_bound).await?;
    let runs = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
    let pod = until::holds(&scene.api::<Pod>(), "consumer", "runs", SOON, runs).await?;
    let node = pod.spec.and_then(|spec| spec.node_name).unwrap_or_default();
    ensure!(node == "node-2", "the consumer runs on {node:?}, where there is no room for its volume");
    Ok(())
}

async fn cordon(scene: &Scene, node: &str, unschedulable: bool) -> Result<()> {
    let nodes = Api::<Node>::all(scene.bed.client.clone());
    let patch = json!({"spec": {"unschedulable": unschedulable}});
    nodes.patch(node, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}

fn consumer() -> Result<Pod> {
    let pod = json!({
        "metadata": {"name": "consumer"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsUser": 107, "runAsGroup": 107, "fsGroup": 107, "runAsNonRoot": true,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "shell",
                "image": bed::variable("BASE_IMAGE")?,
                "command": ["sleep", "infinity"],
                "volumeMounts": [{"name": "disk", "mountPath": "/disk"}],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
            "volumes": [{"name": "disk", "persistentVolumeClaim": {"claimName": "claim"}}],
        },
    });
    serde_json::from_value(pod).context("a pod")
}
