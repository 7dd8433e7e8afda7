//! The API of the VM disk populator: the types, their schemas, and the names that go with them.
//!
//! ```text
//! VMDiskImage   what a disk is made of; users write it                  pelotech.ot/v1alpha1
//! VMDiskSync    the record of one filling of one claim; ours alone      pelotech.ot/v1alpha1
//! VolumePopulator   tells the cluster which kinds can fill a claim      populator.storage.k8s.io/v1beta1
//! ```
//!
//! One module per API version. Whatever can be decided from these objects alone is here as a pure function
//! ([`names`], [`quantity`], [`v1alpha1::VMDiskImageSpec::source_type`]); nothing here talks to a cluster.
//! [`crds`] is what `cargo xtask gen` writes to `manifests/crd/`.

#![expect(unreachable_pub, reason = "KubeSchema emits a private copy of each struct that keeps its `pub`")]
#![expect(clippy::doc_markdown, reason = "these comments are the text of `kubectl explain`, which renders no markup")]
#![expect(
    clippy::duplicated_attributes,
    reason = "each printcolumn of kube's derive has a name, type_ and priority of its own"
)]

pub mod names;
pub mod quantity;
mod schema;
pub mod v1alpha1;
mod vocabulary;
pub mod volume_populator;

pub use schema::{crds, volume_populator_crd};
pub use v1alpha1::{VMDiskImage, VMDiskImageSpec, VMDiskImageStatus, VMDiskSync, VMDiskSyncSpec, VMDiskSyncStatus};
pub use volume_populator::VolumePopulator;

/// The group of our own kinds, and the prefix of our labels and annotations.
pub const GROUP: &str = "pelotech.ot";
