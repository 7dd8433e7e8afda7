//! What the controller says about an image.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DiskFormat;
use crate::{schema, vocabulary::vocabulary};

/// What the controller observed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VMDiskImageStatus {
    /// Where the preload is, for humans. It is derived from the conditions, which programs should use. An image without a
    /// preload is Pending until its first use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ImagePhase")]
    pub phase: Option<ImagePhase>,

    /// What is going on, and what to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub message: Option<String>,

    /// Ready: claims can be filled from this image. SourceResolved: the source was found and read (Unknown until the first
    /// use or preload). Preloaded: the golden claim is whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,

    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// What the source turned out to be when it was last read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SourceFacts")]
    pub source: Option<SourceFacts>,

    /// How large the disk is, for humans: diskSize as it was written, or else what the source describes, rounded up to the
    /// whole mebibytes that a volume gets. Absent until one of them is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub size: Option<String>,

    /// How many claims are being filled from this image, and were, as far as their syncs are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ClaimCounts")]
    pub claims: Option<ClaimCounts>,

    /// The golden data that is current.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "GoldenData")]
    pub golden: Option<GoldenData>,

    /// How much of the preload is done, for example `42%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub progress: Option<String>,

    /// Attempts that failed since the last success, over all syncs of this image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub failure_count: Option<i32>,

    /// When an attempt last failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub last_failure_time: Option<Time>,
}

/// What a source turned out to be.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SourceFacts {
    /// The digest (registry) or ETag (S3, HTTP) that names exactly these bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub digest: Option<String>,

    /// The disk format found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DiskFormat")]
    pub format: Option<DiskFormat>,

    /// The size of the disk that the image describes, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub virtual_size: Option<i64>,

    /// The size of what is fetched, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub size: Option<i64>,
}

/// Claims by the state of their sync.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClaimCounts {
    /// Waiting for their turn, the ones that back off included.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub queued: i32,
    /// Being filled.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub syncing: i32,
    /// Filled and bound.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub succeeded: i32,
    /// Given up until the image changes or the sync is deleted.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub failed: i32,
}

/// The golden data of an image.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct GoldenData {
    /// The hash of all that decides the bytes of a volume: same key, same bytes.
    #[schemars(length(max = 64))]
    pub key: String,
    /// The golden claim's name.
    #[schemars(length(max = 253))]
    pub claim: String,
    /// The UID of the master: the claim that everything is cut from.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// The CSI volume handle of the master.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub volume_handle: Option<String>,
    /// Since when this is what claims are cut from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub since: Option<Time>,
    /// The VolumeSnapshot's name, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub snapshot: Option<String>,
    /// The digest or ETag of the source it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub digest: Option<String>,
}

/// The phases of a preload. A summary for humans: no program may branch on it, ours included.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ImagePhase {
    /// Nothing was asked of this image yet.
    #[default]
    Pending,
    /// The preload waits for its turn.
    Queued,
    /// The preload runs.
    Syncing,
    /// The golden data is whole.
    Succeeded,
    /// The preload failed; the message says what to do.
    Failed,
}

vocabulary! {
    /// The types of an image's conditions.
    pub enum ImageCondition {
        /// Claims can be filled from this image.
        Ready,
        /// The source was found and read.
        SourceResolved,
        /// The golden claim is whole.
        Preloaded,
    }
}

vocabulary! {
    /// The reasons of an image's conditions. Part of the API: closed, and each with one meaning.
    pub enum ImageReason {
        /// Ready: the spec is valid.
        Valid,
        /// Ready: the spec contradicts itself (an object stored before a rule existed).
        InvalidSpec,
        /// SourceResolved: nobody asked for this image yet.
        NotUsedYet,
        /// SourceResolved: the source was read.
        Resolved,
        /// SourceResolved: the source does not exist (yet); it is asked again slowly.
        SourceMissing,
        /// SourceResolved: the source refused us, the policy refused the source, or the Secret is missing.
        Denied,
        /// SourceResolved: the source could not be reached.
        Unreachable,
        /// SourceResolved: the image is malformed, of a kind that is not supported, or hostile.
        Malformed,
        /// SourceResolved: the bytes are not those that digest or checksum promise.
        VerificationFailed,
        /// Preloaded: no storageClass is set.
        NotRequested,
        /// Preloaded: the source is being asked what it holds.
        Resolving,
        /// Preloaded: the golden claim's sync waits for its turn.
        Queued,
        /// Preloaded: the golden claim is being filled.
        Syncing,
        /// Preloaded: the snapshot of the master is being taken.
        Cutting,
        /// Preloaded: an attempt failed and another follows.
        BackingOff,
        /// Preloaded: the golden claim is bound, and its snapshot ready where one is asked for.
        Succeeded,
        /// Preloaded: given up until the spec changes or the sync is deleted.
        Failed,
        /// Preloaded: an object of the golden name exists that is not ours.
        NameTaken,
    }
}
