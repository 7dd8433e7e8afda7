//! From a decision to the object or the patch that carries it out. Pure, and it cannot fail.
//!
//! (Not a Cargo build script: the manifest says `build = false`.)

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec},
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use serde_json::{Value, json};

use crate::{
    names::{EXCLUDE_FROM_BACKUP, Keys, SELECTED_NODE, annotation, prime_name},
    observed::{reclaim_policy, uid},
    populator::{ClaimRef, PrimeSpec},
    quantity::bytes,
};

/// The prime: a claim for a volume that the real claim could be bound to, and nothing else.
pub(crate) fn prime(
    keys: &Keys,
    claim_ref: &ClaimRef,
    claim: &PersistentVolumeClaim,
    source_namespace: &str,
    spec: PrimeSpec,
    node: Option<&str>,
) -> PersistentVolumeClaim {
    let mut labels = spec.labels;
    labels.insert(EXCLUDE_FROM_BACKUP.into(), "true".into());
    labels.extend(keys.labels(claim_ref));
    let mut annotations = spec.annotations;
    annotations.extend(keys.annotations(claim_ref));
    if let Some(node) = node {
        // Twice: the provisioner takes its own off when it cannot serve that node, and ours then tells which it was.
        annotations.insert(SELECTED_NODE.into(), node.into());
        annotations.insert(keys.selected_node.clone(), node.into());
    }
    let mut wanted = claim.spec.clone().unwrap_or_default();
    if let (Some(least), Some(resources)) = (spec.at_least_bytes, &mut wanted.resources) {
        request_at_least(resources.requests.get_or_insert_default(), least);
    }
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            namespace: Some(source_namespace.into()),
            name: Some(prime_name(&claim_ref.uid)),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: spec.owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: wanted.access_modes,
            data_source: spec.data_source,
            resources: wanted.resources,
            storage_class_name: wanted.storage_class_name,
            volume_attributes_class_name: wanted.volume_attributes_class_name,
            volume_mode: wanted.volume_mode,
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// Raises a request for storage. What cannot be read is left to the API server to refuse.
fn request_at_least(requests: &mut BTreeMap<String, Quantity>, least: i64) {
    let requested = requests.get("storage").map(bytes);
    if requested.is_none_or(|requested| requested.is_some_and(|requested| requested < least)) {
        requests.insert("storage".into(), Quantity(least.to_string()));
    }
}

/// Only this very object, and only as it was when the decision was taken.
fn precondition(meta: &ObjectMeta) -> Value {
    json!({"uid": uid(meta), "resourceVersion": meta.resource_version})
}

fn with_metadata(mut metadata: Value, labels: Value, annotations: Value) -> Value {
    metadata["labels"] = labels;
    metadata["annotations"] = annotations;
    metadata
}

/// Hands the volume over: the claim's claimRef in the place of the prime's, and the reclaim policy that its class asked
/// for. A merge patch.
pub(crate) fn rebind(
    keys: &Keys,
    claim: &ClaimRef,
    volume: &PersistentVolume,
    populated_from: &str,
    now: Timestamp,
) -> Value {
    let policy = annotation(&volume.metadata, &keys.reclaim_policy).unwrap_or_else(|| reclaim_policy(volume));
    let mut annotations = json!(keys.annotations(claim));
    annotations[&keys.populated_from] = json!(populated_from);
    annotations[&keys.rebound_at] = json!(now.to_string());
    annotations[&keys.reclaim_policy] = Value::Null;
    json!({
        "metadata": with_metadata(precondition(&volume.metadata), json!(keys.labels(claim)), annotations),
        "spec": {
            "persistentVolumeReclaimPolicy": policy,
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": claim.namespace,
                "name": claim.name,
                "uid": claim.uid,
                "resourceVersion": Value::Null,
            },
        },
    })
}

/// Marks a volume as ours and partial, so that it goes with its prime. A merge patch.
pub(crate) fn reclaim(keys: &Keys, claim: &ClaimRef, volume: &PersistentVolume) -> Value {
    let mut annotations = json!(keys.annotations(claim));
    annotations[&keys.reclaim_policy] = json!(reclaim_policy(volume));
    json!({
        "metadata": with_metadata(precondition(&volume.metadata), json!(keys.labels(claim)), annotations),
        "spec": {"persistentVolumeReclaimPolicy": "Delete"},
    })
}

/// Takes the selected node off the claim as it was when that node was found wanting, so never a later choice. A merge
/// patch.
pub(crate) fn unpin(claim: &PersistentVolumeClaim) -> Value {
    let mut metadata = precondition(&claim.metadata);
    metadata["annotations"] = json!({SELECTED_NODE: Value::Null});
    json!({"metadata": metadata})
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
