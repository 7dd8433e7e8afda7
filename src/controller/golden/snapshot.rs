//! `VolumeSnapshot` (`snapshot.storage.k8s.io/v1`), as far as it is read and written here. The kind comes with the
//! snapshot controller, which a cluster may lack or get later.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    api::ApiResource,
    core::{GroupVersionKind, Object},
};
use serde::{Deserialize, Serialize};

/// The group of the snapshot API.
pub const GROUP: &str = "snapshot.storage.k8s.io";

/// The kind.
pub const KIND: &str = "VolumeSnapshot";

/// A snapshot.
pub type VolumeSnapshot = Object<SnapshotSpec, SnapshotStatus>;

/// What is to be cut.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotSpec {
    /// Of what.
    #[serde(default)]
    pub source: SnapshotSource,
    /// How.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_class_name: Option<String>,
}

/// What a snapshot is taken of.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotSource {
    /// The claim, in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim_name: Option<String>,
}

/// How far it is.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotStatus {
    /// The content, once there is one.
    #[serde(default)]
    pub bound_volume_snapshot_content_name: Option<String>,
    /// When the storage was cut.
    #[serde(default)]
    pub creation_time: Option<Time>,
    /// Whether volumes can be made of it.
    #[serde(default)]
    pub ready_to_use: Option<bool>,
    /// The least size of such a volume.
    #[serde(default)]
    pub restore_size: Option<String>,
    /// What went wrong last.
    #[serde(default)]
    pub error: Option<SnapshotError>,
}

/// What went wrong.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub struct SnapshotError {
    /// In the words of the driver.
    #[serde(default)]
    pub message: Option<String>,
}

/// Where snapshots are read and written.
#[must_use]
pub fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, "v1", KIND))
}

/// A class of snapshots (`VolumeSnapshotClass`): all its fields stand beside the metadata.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotClass {
    /// The CSI driver.
    pub driver: String,
    /// What becomes of the storage when the snapshot is deleted.
    #[serde(default)]
    pub deletion_policy: String,
}
