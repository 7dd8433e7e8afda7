//! `VMDiskSync`: the record of one filling of one claim.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::VMDiskSyncStatus;

/// Which claim is filled from which image. Immutable: everything that happens is in the status.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[kube(
    group = "pelotech.ot",
    version = "v1alpha1",
    kind = "VMDiskSync",
    namespaced,
    status = "VMDiskSyncStatus",
    shortname = "vmds",
    category = "vmdisk",
    derive = "Default",
    derive = "PartialEq",
    doc = "VMDiskSync is the record of one filling of one PersistentVolumeClaim: its place in the queue, its attempts and \
           its end. It lives in the image's namespace. Only the controller writes it. Deleting one is the way to retry by \
           hand: while its claim is unbound, a new one queues.",
    selectable = ".spec.claim.namespace",
    selectable = ".spec.image.name",
    selectable = ".status.phase",
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image.name"),
    printcolumn(name = "Claim", type_ = "string", json_path = ".spec.claim.name"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Progress",
        type_ = "integer",
        json_path = ".status.progress.percent",
        description = "Percent of this attempt"
    ),
    printcolumn(name = "Attempt", type_ = "integer", json_path = ".status.attempt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Claim-Namespace", type_ = "string", json_path = ".spec.claim.namespace", priority = 1),
    printcolumn(name = "Purpose", type_ = "string", json_path = ".spec.purpose", priority = 1),
    printcolumn(name = "Route", type_ = "string", json_path = ".status.route.kind", priority = 1),
    printcolumn(name = "Stage", type_ = "string", json_path = ".status.progress.stage", priority = 1),
    printcolumn(name = "Node", type_ = "string", json_path = ".status.node", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.lastFailure.message",
        priority = 1,
        description = "Why the last attempt failed"
    )
)]
#[x_kube(validation = Rule::new("self == oldSelf")
    .message("the spec of a VMDiskSync is immutable; delete the sync to retry its claim from the start"))]
pub struct VMDiskSyncSpec {
    /// What the claim is for.
    #[serde(default)]
    pub purpose: Purpose,
    /// The claim that is filled.
    pub claim: ClaimReference,
    /// The image it is filled from.
    pub image: ImageReference,
}

/// What a claim is filled for.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// For whoever made the claim.
    #[default]
    Claim,
    /// The claim is the controller's own, never handed out: golden data is cut from it. The record outlives it.
    Master,
}

/// A claim, in any namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimReference {
    /// The claim's namespace.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// The claim's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The claim's UID: a claim made again under the same name is another claim.
    #[schemars(length(min = 1, max = 63))]
    pub uid: String,
}

/// An image, in the sync's own namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageReference {
    /// The image's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The image's UID when the sync was queued.
    #[schemars(length(min = 1, max = 63))]
    pub uid: String,
    /// The image's generation when the sync was queued. What an attempt goes by is `status.imageGeneration`.
    #[schemars(range(min = 0))]
    pub generation: i64,
}
