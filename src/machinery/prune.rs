//! What is kept of objects that users write. They may be a megabyte each; what is read of them is little, and has a
//! bound.

use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimStatus},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::Resource;

/// The most that is kept of one annotation. Longer than any that is read.
const VALUE_LIMIT: usize = 1024;
/// The most owners that are kept. An object of ours has one.
const OWNERS_LIMIT: usize = 8;
/// Where Kubernetes keeps what it says of claims and volumes.
const KUBERNETES: [&str; 2] = ["volume.kubernetes.io", "pv.kubernetes.io"];

/// Keeps of the metadata what names an object, says whose it is, and bears the populator's prefix.
pub(crate) fn prune(object: &mut impl Resource, prefix: &str) {
    let meta = object.meta_mut();
    meta.managed_fields = None;
    meta.finalizers = None;
    if let Some(owners) = &mut meta.owner_references {
        owners.truncate(OWNERS_LIMIT);
    }
    let ours = |key: &str| {
        let domain = key.split_once('/').map_or("", |(domain, _)| domain);
        domain == prefix || KUBERNETES.contains(&domain)
    };
    prune_pairs(meta, ours);
}

fn prune_pairs(meta: &mut ObjectMeta, ours: impl Fn(&str) -> bool) {
    for pairs in [&mut meta.labels, &mut meta.annotations] {
        let Some(kept) = pairs else { continue };
        kept.retain(|key, _| ours(key));
        for value in kept.values_mut() {
            value.truncate(value.floor_char_boundary(VALUE_LIMIT));
        }
        if kept.is_empty() {
            *pairs = None;
        }
    }
}

/// A claim beside its metadata: its spec, and how far it is.
pub(crate) fn prune_claim(claim: &mut PersistentVolumeClaim, prefix: &str) {
    prune(claim, prefix);
    if let Some(status) = claim.status.take() {
        claim.status =
            Some(PersistentVolumeClaimStatus { phase: status.phase, ..PersistentVolumeClaimStatus::default() });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn what_nobody_reads_costs_nothing() {
        let long = "x".repeat(200_000);
        let mut claim: PersistentVolumeClaim = from_value(json!({
            "metadata": {
                "name": "disk", "namespace": "labs", "uid": "c1", "finalizers": ["a/b"],
                "annotations": {
                    "example.com/source-namespace": long, "volume.kubernetes.io/selected-node": "node-1",
                    "kubectl.kubernetes.io/last-applied-configuration": long, "note": long,
                },
                "labels": {"example.com/claim-uid": "c2", "app": "x"},
            },
            "spec": {"volumeName": "pv"},
            "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}},
        }))
        .unwrap();
        prune_claim(&mut claim, "example.com");
        let expected: PersistentVolumeClaim = from_value(json!({
            "metadata": {
                "name": "disk", "namespace": "labs", "uid": "c1",
                "annotations": {
                    "example.com/source-namespace": "x".repeat(1024), "volume.kubernetes.io/selected-node": "node-1",
                },
                "labels": {"example.com/claim-uid": "c2"},
            },
            "spec": {"volumeName": "pv"},
            "status": {"phase": "Bound"},
        }))
        .unwrap();
        assert_eq!(claim, expected);
    }
}
