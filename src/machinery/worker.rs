//! What every worker pod has in common, whatever it fetches and from where.

use k8s_openapi::{
    api::core::v1::{
        Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
        PersistentVolumeClaimVolumeSource, Pod, PodSpec, Volume, VolumeDevice, VolumeMount,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::{
    names::{Keys, prime_name, worker_name},
    populator::Context,
};

/// The name of the volume that a worker fills.
const TARGET: &str = "target";

/// Makes a pod the worker of a claim: its name, the labels by which the machinery knows it, the node that the claim's
/// consumer will run on, and the prime, in its first container, mounted at `mount_path` or as the device `device_path`,
/// as the claim's volumeMode says.
///
/// The node is required by affinity. A pod that named it in `spec.nodeName` would bypass the scheduler, so nobody would
/// check taints and room there, and it would not count as the consumer of a `WaitForFirstConsumer` volume.
#[must_use]
pub fn worker_pod<S>(keys: &Keys, context: &Context<S>, mut spec: PodSpec, mount_path: &str, device_path: &str) -> Pod {
    let claim = &context.claim_ref;
    let source = PersistentVolumeClaimVolumeSource { claim_name: prime_name(&claim.uid), read_only: None };
    spec.volumes.get_or_insert_default().push(Volume {
        name: TARGET.into(),
        persistent_volume_claim: Some(source),
        ..Volume::default()
    });
    let is_block = context.claim.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref()) == Some("Block");
    if let Some(container) = spec.containers.first_mut() {
        if is_block {
            let device = VolumeDevice { name: TARGET.into(), device_path: device_path.into() };
            container.volume_devices.get_or_insert_default().push(device);
        } else {
            let mount = VolumeMount { name: TARGET.into(), mount_path: mount_path.into(), ..VolumeMount::default() };
            container.volume_mounts.get_or_insert_default().push(mount);
        }
    }
    if let Some(node) = &context.node {
        require_node(spec.affinity.get_or_insert_default(), node);
    }
    Pod {
        metadata: ObjectMeta {
            namespace: Some(context.source_namespace.clone()),
            name: Some(worker_name(&claim.uid)),
            labels: Some(keys.labels(claim)),
            annotations: Some(keys.annotations(claim)),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}

/// Adds the node to each of the terms there are, since one term that holds is enough.
fn require_node(affinity: &mut Affinity, node: &str) {
    let required = affinity
        .node_affinity
        .get_or_insert_with(NodeAffinity::default)
        .required_during_scheduling_ignored_during_execution
        .get_or_insert_with(NodeSelector::default);
    if required.node_selector_terms.is_empty() {
        required.node_selector_terms.push(NodeSelectorTerm::default());
    }
    for term in &mut required.node_selector_terms {
        term.match_fields.get_or_insert_default().push(NodeSelectorRequirement {
            key: "metadata.name".into(),
            operator: "In".into(),
            values: Some(vec![node.into()]),
        });
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
