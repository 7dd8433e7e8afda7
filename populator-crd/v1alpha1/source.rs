//! The source of an image: its closed vocabularies, and what a spec says about it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::VMDiskImageSpec;
use crate::quantity::{self, QuantityError};

/// The protocol of a source.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
pub enum SourceType {
    /// An OCI registry.
    Registry,
    /// An S3-compatible object store.
    S3,
    /// An HTTP or HTTPS server.
    Http,
    /// No source: an empty disk.
    Blank,
}

/// A disk image format.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// By content.
    #[default]
    Auto,
    /// The bytes of the disk as they are.
    Raw,
    /// QEMU copy-on-write, version 2 or 3.
    Qcow2,
    /// VMware disk in one file.
    Vmdk,
    /// VirtualBox disk.
    Vdi,
    /// Microsoft virtual hard disk.
    Vhd,
    /// Hyper-V virtual hard disk, version 2.
    Vhdx,
}

/// When to ask the source again.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PullPolicy {
    /// Use golden data where there is any.
    #[default]
    IfNotPresent,
    /// Resolve the tag or ETag first, and refresh golden data when it moved.
    Always,
    /// Golden data only; hold where there is none.
    Never,
}

/// How a volume is presented, as in a claim's spec.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum VolumeMode {
    /// A file system with the disk as a file.
    #[default]
    Filesystem,
    /// A device with the disk from its first byte.
    Block,
}

impl VolumeMode {
    /// The word of a claim's spec.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Filesystem => "Filesystem",
            Self::Block => "Block",
        }
    }
}

/// Who may use a volume at once, as in a claim's spec.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessMode {
    /// One node.
    ReadWriteOnce,
    /// Many nodes, none of which writes.
    ReadOnlyMany,
    /// Many nodes.
    ReadWriteMany,
    /// One pod.
    ReadWriteOncePod,
}

impl AccessMode {
    /// The word of a claim's spec.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadWriteOnce => "ReadWriteOnce",
            Self::ReadOnlyMany => "ReadOnlyMany",
            Self::ReadWriteMany => "ReadWriteMany",
            Self::ReadWriteOncePod => "ReadWriteOncePod",
        }
    }
}

/// What becomes of golden data when its image is deleted.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GoldenPolicy {
    /// It stays.
    #[default]
    Retain,
    /// Masters and their snapshots go with the image.
    Delete,
}

/// What is wrong with a spec. The API server refuses all of these on write; they remain for objects that were stored
/// before a rule existed, and name the same fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Neither a URL nor a blank disk.
    #[error("spec.url is missing; set it, or set sourceType: blank for an empty disk")]
    NoUrl,
    /// A scheme that no source has.
    #[error("spec.url has the scheme {0:?}; expected docker, oci, s3, https or http")]
    Scheme(String),
    /// A URL and a `sourceType` that contradict each other.
    #[error(
        "spec.sourceType is {source_type:?} and spec.url has the scheme {scheme:?}; remove sourceType, or correct the URL"
    )]
    Contradiction {
        /// The `sourceType` found.
        source_type: SourceType,
        /// The URL's scheme.
        scheme: String,
    },
    /// A size that is no number of bytes.
    #[error("spec.diskSize: {0}")]
    DiskSize(#[from] QuantityError),
}

impl VMDiskImageSpec {
    /// The protocol of the source: `sourceType`, or what the URL's scheme says.
    ///
    /// # Errors
    ///
    /// [`SpecError`] when there is no URL, or scheme and `sourceType` contradict each other.
    pub fn source_type(&self) -> Result<SourceType, SpecError> {
        let url = match (&self.url, self.source_type) {
            (_, Some(SourceType::Blank)) => return Ok(SourceType::Blank),
            (None, _) => return Err(SpecError::NoUrl),
            (Some(url), _) => url,
        };
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        let inferred = match scheme {
            "docker" | "oci" => SourceType::Registry,
            "s3" => SourceType::S3,
            "http" | "https" => SourceType::Http,
            _ => return Err(SpecError::Scheme(scheme.to_owned())),
        };
        match (self.source_type, inferred) {
            (None, inferred) => Ok(inferred),
            (Some(said), inferred) if said == inferred => Ok(said),
            (Some(SourceType::S3), SourceType::Http) => Ok(SourceType::S3),
            (Some(source_type), _) => Err(SpecError::Contradiction { source_type, scheme: scheme.to_owned() }),
        }
    }

    /// `diskSize` in bytes; `None` where the image says none.
    ///
    /// # Errors
    ///
    /// [`SpecError::DiskSize`] when it is no number of bytes.
    pub fn disk_size_bytes(&self) -> Result<Option<i64>, SpecError> {
        Ok(self.disk_size.as_ref().map(quantity::bytes).transpose()?)
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
