//! The registration object of the volume-data-source-validator, `populator.storage.k8s.io/v1beta1`.
//!
//! Not our kind: the types follow the public schema (kubernetes-csi/volume-data-source-validator,
//! `client/apis/volumepopulator/v1beta1/types.go`), whose one field stands beside `metadata`, without a `spec`.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// The fields of a `VolumePopulator`.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[kube(
    group = "populator.storage.k8s.io",
    version = "v1beta1",
    kind = "VolumePopulator",
    no_spec,
    derive = "PartialEq",
    doc = "VolumePopulator represents the registration for a volume populator. VolumePopulators are cluster scoped.",
    annotation("api-approved.kubernetes.io", "https://github.com/kubernetes/enhancements/pull/2934"),
    printcolumn(name = "SourceKind", type_ = "string", json_path = ".sourceKind")
)]
#[serde(rename_all = "camelCase")]
pub struct VolumePopulatorFields {
    /// Kind of the data source this populator supports
    pub source_kind: SourceKind,
}

/// A group and a kind.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct SourceKind {
    /// The API group.
    pub group: String,
    /// The kind.
    pub kind: String,
}
