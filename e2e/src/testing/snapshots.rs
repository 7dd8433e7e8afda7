//! Snapshots of claims, as users make them: the types of `snapshot.storage.k8s.io/v1`, as far as tests use them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{ApiResource, DeleteParams, DynamicObject, PostParams};
use kube::{Api, CustomResource, ResourceExt as _};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Bed, Scene, bed, until};

const GROUP: &str = "snapshot.storage.k8s.io";
const VERSION: &str = "v1";

/// What a `VolumeSnapshot` is of.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "snapshot.storage.k8s.io",
    version = "v1",
    kind = "VolumeSnapshot",
    doc = "A snapshot of a claim.",
    namespaced,
    status = "VolumeSnapshotStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotSpec {
    /// The claim, or a snapshot that the storage has already.
    pub source: VolumeSnapshotSource,
    /// The class; absent is the driver's default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_class_name: Option<String>,
}

/// One of both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotSource {
    /// A claim of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim_name: Option<String>,
    /// A content that was made by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_content_name: Option<String>,
}

/// How far a snapshot is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotStatus {
    /// The content that it is bound to.
    pub bound_volume_snapshot_content_name: Option<String>,
    /// Whether volumes can be made from it.
    pub ready_to_use: Option<bool>,
    /// The least size of a volume from it, when the driver tells.
    pub restore_size: Option<Quantity>,
    /// Why it is not ready, for now.
    pub error: Option<VolumeSnapshotError>,
}

/// The last failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSnapshotError {
    /// What the sidecar or the controller said of it.
    pub message: Option<String>,
}

/// What a `VolumeSnapshotContent` stands for.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "snapshot.storage.k8s.io",
    version = "v1",
    kind = "VolumeSnapshotContent",
    doc = "A snapshot as the storage has it.",
    status = "VolumeSnapshotContentStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotContentSpec {
    /// The CSI driver.
    pub driver: String,
    /// Delete or Retain.
    pub deletion_policy: String,
    /// What it was made from.
    pub source: VolumeSnapshotContentSource,
    /// The snapshot that it is bound to.
    pub volume_snapshot_ref: ObjectReference,
    /// The class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_class_name: Option<String>,
    /// Filesystem or Block, as the source was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_volume_mode: Option<String>,
}

/// One of both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotContentSource {
    /// The CSI driver's id of the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_handle: Option<String>,
    /// The CSI driver's id of a snapshot that it has already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_handle: Option<String>,
}

/// What the CSI driver said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotContentStatus {
    /// The CSI driver's id of the snapshot.
    pub snapshot_handle: Option<String>,
    /// Whether volumes can be made from it.
    pub ready_to_use: Option<bool>,
    /// Its size in bytes, when the driver tells.
    pub restore_size: Option<i64>,
}

impl VolumeSnapshot {
    /// A snapshot of a claim, in the class that the environment names.
    ///
    /// # Errors
    /// When the environment does not name the class.
    pub fn of_claim(name: &str, claim: &str) -> Result<Self> {
        Ok(Self::of_claim_in(name, claim, &bed::variable("SNAPSHOT_CLASS")?))
    }

    /// A snapshot of a claim in any class.
    #[must_use]
    pub fn of_claim_in(name: &str, claim: &str, class: &str) -> Self {
        let source = VolumeSnapshotSource {
            persistent_volume_claim_name: Some(claim.to_owned()),
            volume_snapshot_content_name: None,
        };
        Self::new(name, VolumeSnapshotSpec { source, volume_snapshot_class_name: Some(class.to_owned()) })
    }

    /// Whether volumes can be made from it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status.as_ref().and_then(|status| status.ready_to_use) == Some(true)
    }

    /// Whether the storage has cut it: what is written to the source from now on is not in it.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.ready_to_use.is_some())
    }

    /// The content that it is bound to.
    ///
    /// # Errors
    /// When it is bound to none.
    pub async fn content(&self, bed: &Bed) -> Result<VolumeSnapshotContent> {
        let name = self.status.as_ref().and_then(|status| status.bound_volume_snapshot_content_name.as_deref());
        let name = name.with_context(|| format!("snapshot {} is bound to no content", self.name_any()))?;
        Api::<VolumeSnapshotContent>::all(bed.client.clone()).get(name).await.context("cannot read the content")
    }
}

/// Makes a snapshot and waits until volumes can be made from it.
///
/// # Errors
/// When it is not ready after the deadline.
pub async fn take(scene: &Scene, snapshot: &VolumeSnapshot, deadline: Duration) -> Result<VolumeSnapshot> {
    let name = scene.create(snapshot).await?.name_any();
    let snapshots = scene.api::<VolumeSnapshot>();
    until::holds(&snapshots, &name, "is ready to use", deadline, VolumeSnapshot::is_ready).await
}

/// A class of snapshots of a test's own.
pub struct SnapshotClass {
    api: Api<DynamicObject>,
    /// Its name.
    pub name: String,
}

impl SnapshotClass {
    /// Creates a class that is like the cluster's, but for its parameters: those of the CSI driver's README.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn create(scene: &Scene, parameters: &[(&str, &str)]) -> Result<Self> {
        let resource = ApiResource {
            group: GROUP.to_owned(),
            version: VERSION.to_owned(),
            api_version: format!("{GROUP}/{VERSION}"),
            kind: "VolumeSnapshotClass".to_owned(),
            plural: "volumesnapshotclasses".to_owned(),
        };
        let api = Api::<DynamicObject>::all_with(scene.bed.client.clone(), &resource);
        let parameters: serde_json::Map<_, _> =
            parameters.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let mut class = DynamicObject::new("", &resource).data(json!({
            "driver": bed::variable("CSI_DRIVER")?,
            "deletionPolicy": "Delete",
            "parameters": parameters,
        }));
        class.metadata.name = None;
        class.metadata.generate_name = Some(format!("{}-", scene.namespace));
        let name = api.create(&PostParams::default(), &class).await?.name_any();
        Ok(Self { api, name })
    }

    /// Removes it.
    ///
    /// # Errors
    /// When it is gone already.
    pub async fn delete(&self) -> Result<()> {
        self.api.delete(&self.name, &DeleteParams::default()).await?;
        Ok(())
    }
}
