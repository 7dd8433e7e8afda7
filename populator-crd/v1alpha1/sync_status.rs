//! What became of a sync: the queue, the retry state and the audit trail.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SourceFacts;
use crate::{schema, vocabulary::vocabulary};

/// What became of a sync.
///
/// What an attempt runs with is latched when it is admitted: `imageGeneration` says which spec of the image, and the
/// worker's job carries that spec, so a change of the image never reaches a worker that runs. The next attempt is
/// admitted anew. With the same generation it must find the bytes of `source.digest`, and goes on in the same prime
/// where that helps; with another it starts from nothing, since what the old spec promised means nothing to the new.
/// The spec itself is therefore not repeated here.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VMDiskSyncStatus {
    /// Where the sync is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SyncPhase")]
    pub phase: Option<SyncPhase>,

    /// When the sync last joined the queue, to the microsecond: the queue is first in, first out by this time. A retry
    /// that is due rejoins at the tail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::micro_time")]
    pub enqueued_at: Option<MicroTime>,

    /// The number of the current or last attempt, from 1; 0 before the first. Interrupted attempts count here.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub attempt: i32,

    /// Attempts that do not count against the policy's retryLimit: those that ended by eviction, drain, preemption or node
    /// loss, those whose worker never started, and those of a source that was missing or refused us.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub interruptions: i32,

    /// Of the interruptions, those by which bytes may have been paid for nothing: the worker ran and was cut short by the
    /// cluster's own life, or the volume that it had filled was lost. The policy's disruptionLimit bounds them.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub disruptions: i32,

    /// While BackingOff: no earlier than this does the sync rejoin the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub not_before: Option<Time>,

    /// When the current or last attempt was admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub started_at: Option<Time>,

    /// When the sync came to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub finished_at: Option<Time>,

    /// The generation of the image's spec that the current or last attempt was admitted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub image_generation: Option<i64>,

    /// How far the current attempt is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Progress")]
    pub progress: Option<Progress>,

    /// How the claim is filled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Route")]
    pub route: Option<Route>,

    /// What the source turned out to be. A later attempt of the same generation must find the same digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SourceFacts")]
    pub source: Option<SourceFacts>,

    /// The temporary claim that is being filled, in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub prime: Option<String>,

    /// The UID of the temporary claim: another object of that name is not it, whatever it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub prime_uid: Option<String>,

    /// The worker pod, in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub pod: Option<String>,

    /// The UID of the worker pod: another pod of that name is not it, whatever it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub pod_uid: Option<String>,

    /// When the worker said that the volume holds the whole disk; only where its pod had to be removed before the volume
    /// could be handed over, because other containers of it did not end by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub filled_at: Option<Time>,

    /// What the current or last attempt was to fill: whether an image is too large is asked once for each kind of claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TargetFacts")]
    pub target: Option<TargetFacts>,

    /// The node that the worker runs or ran on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub node: Option<String>,

    /// How the last attempt that failed ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "LastFailure")]
    pub last_failure: Option<LastFailure>,

    /// Of a master alone: the golden data that is cut from it, and what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "GoldenRecord")]
    pub golden: Option<Box<GoldenRecord>>,

    /// Admitted: the gate let the current attempt run. Succeeded: the claim is bound to a volume that holds the disk
    /// (Unknown while that is open, False when it was given up).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// What a claim offers to a disk.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TargetFacts {
    /// The claim's storage class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub storage_class: Option<String>,

    /// The claim's volumeMode.
    #[schemars(length(max = 32))]
    pub volume_mode: String,

    /// The bytes that the claim requests.
    #[schemars(range(min = 0))]
    pub requested_bytes: i64,
}

/// The phases of a sync.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SyncPhase {
    /// Waits for the gate; nothing exists for it yet.
    #[default]
    Queued,
    /// Admitted: prime and worker exist or are about to.
    Syncing,
    /// An attempt failed; the next one waits for `notBefore`.
    BackingOff,
    /// The claim is bound to the filled volume.
    Succeeded,
    /// Given up, until the image's spec changes or the sync is deleted.
    Failed,
    /// The claim is gone, was bound elsewhere, or names an image in another namespace.
    Cancelled,
}

impl SyncPhase {
    /// Whether nothing follows by itself.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// How far an attempt is.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// How much of the work is done, 0 to 100; absent while the source's length is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub percent: Option<i32>,

    /// Bytes received from the source in this attempt, repeated ones included.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub bytes_fetched: i64,

    /// Bytes written to the volume in this attempt; holes are not written.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub bytes_written: i64,

    /// Bytes received per second, over the last report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub bytes_per_second: Option<i64>,

    /// What the worker is doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Stage")]
    pub stage: Option<Stage>,
}

/// The stages of an attempt, in their order.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Reaching the source; nothing is known of it yet.
    Connecting,
    /// Reading headers: format, virtual size, whether the disk fits.
    Inspecting,
    /// Bytes flow from the source and are decoded and written as they come.
    Fetching,
    /// A format that needs the whole file is being turned into a raw disk.
    Converting,
    /// Zeroing, growing, flushing; the disk is not visible yet.
    Finalizing,
}

/// How a claim is filled, and why so.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The way.
    pub kind: RouteKind,
    /// What it is cut from, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Origin")]
    pub from: Option<Origin>,
    /// Why this way, where another would have been possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
}

impl Route {
    /// From the source, and nothing speaks for another way.
    #[must_use]
    pub const fn fetch() -> Self {
        Self { kind: RouteKind::Fetch, from: None, reason: None }
    }
}

/// What a volume is cut from: an object in the sync's namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its name: a VolumeSnapshot's, or a claim's where the route is Clone.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its UID: another object of that name is not it.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
}

/// The ways to fill a claim.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// From the source.
    Fetch,
    /// From the snapshot of golden data; uses no network.
    Snapshot,
    /// A clone of the golden master; uses no network.
    Clone,
    /// An empty disk.
    Blank,
}

/// Golden data: one master, and what is cut from it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct GoldenRecord {
    /// The hash of all that decides the bytes of a volume: same key, same bytes.
    #[schemars(length(max = 64))]
    pub key: String,

    /// The UID of the image whose source was last found to have this key. An image that was deleted and applied again goes
    /// on with what was made for the one before.
    #[schemars(length(max = 64))]
    pub image_uid: String,

    /// The generation of that image.
    #[schemars(range(min = 0))]
    pub generation: i64,

    /// Where it is.
    pub phase: GoldenPhase,

    /// Why it is there, where that needs words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,

    /// The CSI driver of the master's volume: of what its storage can be cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub driver: Option<String>,

    /// The file system of the master's volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub fs_type: Option<String>,

    /// The CSI volume handle of the master's volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub volume_handle: Option<String>,

    /// The VolumeSnapshot that was taken of the master.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Origin")]
    pub snapshot: Option<Origin>,

    /// The least bytes that a volume made from the snapshot has, where its driver says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub restore_size: Option<i64>,

    /// When it became ready to be cut from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub cut_at: Option<Time>,
}

/// The phases of golden data.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GoldenPhase {
    /// The master is being filled.
    #[default]
    Filling,
    /// The snapshot is being taken.
    Cutting,
    /// Claims are cut from it.
    Ready,
    /// Another key took its place.
    Superseded,
    /// Nothing can be cut from it; another master takes its place.
    Unusable,
    /// Master and snapshot are being removed.
    Pruning,
    /// Master and snapshot are gone; this record remains.
    Pruned,
}

/// How an attempt failed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LastFailure {
    /// What follows from it.
    pub class: FailureClass,
    /// One CamelCase word for the cause, for example NotFound or DigestMismatch.
    #[schemars(length(min = 1, max = 128))]
    pub reason: String,
    /// What was found, what was expected, and what to do next.
    #[schemars(length(max = 4096))]
    pub message: String,
    /// When the attempt ended.
    #[schemars(schema_with = "schema::time")]
    pub time: Time,
    /// The VMDiskSync whose attempt found it, where that is not this one: what is true of an image is asked once for all
    /// claims. Deleting that one starts all of them again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub found_by: Option<String>,
}

/// The classes of failure: what happens next goes by these alone.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// May go away by itself: retried with doubling, jittered backoff, up to retryLimit.
    Transient,
    /// Eviction, drain, preemption or node loss: retried, and not counted.
    Interrupted,
    /// The source does not exist (yet): asked again at missingRetryInterval.
    SourceMissing,
    /// Refused by source or policy, or the Secret is missing: asked again at deniedRetryInterval.
    Denied,
    /// Retrying would give the same: waits for a change of the image, or for the sync to be deleted.
    Final,
}

impl FailureClass {
    /// The class's name, as in the API and in metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "Transient",
            Self::Interrupted => "Interrupted",
            Self::SourceMissing => "SourceMissing",
            Self::Denied => "Denied",
            Self::Final => "Final",
        }
    }
}

vocabulary! {
    /// The types of a sync's conditions.
    pub enum SyncCondition {
        /// The gate let the current attempt run.
        Admitted,
        /// The claim is bound to a volume that holds the disk.
        Succeeded,
    }
}

vocabulary! {
    /// The reasons of a sync's conditions. Part of the API: closed, and each with one meaning.
    pub enum SyncReason {
        /// Admitted: the policy's concurrency is used up by earlier syncs.
        WaitingForTurn,
        /// Admitted: golden data that will serve this claim is on its way.
        WaitingForGolden,
        /// Admitted: another sync is finding out whether the image can be had, and this one goes by what it finds.
        WaitingForSource,
        /// Admitted: a consumer has not selected a node (any more).
        WaitingForNode,
        /// Admitted: a permit is held.
        Admitted,
        /// Admitted: the sync came to its end and holds no permit.
        Finished,
        /// Succeeded: an attempt runs or is about to.
        InProgress,
        /// Succeeded: an attempt failed and another follows.
        BackingOff,
        /// Succeeded: the claim is bound.
        Bound,
        /// Succeeded: retrying would give the same.
        FailedFinally,
        /// Succeeded: retryLimit is used up.
        RetryLimitReached,
        /// Succeeded: disruptionLimit is used up.
        DisruptionLimitReached,
        /// Succeeded: the claim names an image in another namespace now.
        Moved,
        /// Succeeded: the claim was deleted.
        ClaimGone,
        /// Succeeded: the claim was bound to a volume that is not ours.
        BoundElsewhere,
    }
}
