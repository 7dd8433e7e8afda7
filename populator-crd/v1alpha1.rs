//! `pelotech.ot/v1alpha1`.

mod image;
mod image_rules;
mod image_status;
mod source;
mod sync;
mod sync_status;

pub use image::{VMDiskImage, VMDiskImageSpec};
pub use image_status::{
    ClaimCounts, GoldenData, ImageCondition, ImagePhase, ImageReason, SourceFacts, VMDiskImageStatus,
};
pub use source::{AccessMode, DiskFormat, GoldenPolicy, PullPolicy, SourceType, SpecError, VolumeMode};
pub use sync::{ClaimReference, ImageReference, Purpose, VMDiskSync, VMDiskSyncSpec};
pub use sync_status::{
    FailureClass, GoldenPhase, GoldenRecord, LastFailure, Origin, Progress, Route, RouteKind, Stage, SyncCondition,
    SyncPhase, SyncReason, TargetFacts, VMDiskSyncStatus,
};
