//! The order: what to fetch, what to expect of it, where to put it, within which limits.

use serde::{Deserialize, Serialize};

use crate::SCHEMA_VERSION;

/// One order to a worker. Holds no secret: those are mounted as files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// The version of this document: [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// What to do.
    pub operation: Operation,
    /// Where the bytes come from.
    pub source: Source,
    /// Where the disk goes; absent for [`Operation::Inspect`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Bounds on what the worker may do.
    #[serde(default)]
    pub limits: Limits,
}

impl Job {
    /// Reads a job, refusing versions that this build does not know.
    ///
    /// # Errors
    ///
    /// [`JobError`] when the text is not a job of a known version, or lacks the target that its operation needs.
    pub fn parse(text: &str) -> Result<Self, JobError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Versioned {
            schema_version: u32,
        }
        // The version first: a document of another version may well not have this version's fields.
        let Versioned { schema_version } = serde_json::from_str(text).map_err(JobError::Syntax)?;
        if schema_version != SCHEMA_VERSION {
            return Err(JobError::Version { found: schema_version });
        }
        let job: Self = serde_json::from_str(text).map_err(JobError::Syntax)?;
        if job.target.is_none() && job.operation != Operation::Inspect {
            return Err(JobError::NoTarget { operation: job.operation });
        }
        Ok(job)
    }
}

/// Why a text is not a [`Job`].
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Not the JSON of a job.
    #[error("the job is not valid: {0}; controller and worker images must be of the same release")]
    Syntax(#[source] serde_json::Error),
    /// A version that this worker does not know.
    #[error(
        "the job has schemaVersion {found}, this worker knows {SCHEMA_VERSION}; \
         use controller and worker images of the same release"
    )]
    Version {
        /// The version found.
        found: u32,
    },
    /// The operation writes, and there is nowhere to write to.
    #[error("the job's operation {operation:?} needs a target, and none is given")]
    NoTarget {
        /// The operation found.
        operation: Operation,
    },
}

/// What the worker is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Operation {
    /// Fetch, verify, decode and write the disk.
    Fill,
    /// Resolve digest, format and virtual size; needs no volume.
    Inspect,
    /// Grow and verify a volume that was cut from a snapshot; uses no network.
    Finish,
}

/// Where the bytes come from and what they must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// How to speak to the source.
    pub source_type: SourceType,
    /// The image's URL; empty for [`SourceType::Blank`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// The disk format, [`Format::Auto`] to go by content.
    #[serde(default)]
    pub format: Format,
    /// The file inside a container image or archive; absent: the containerDisk rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `sha256:…` or `sha512:…` of the fetched bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// The S3 region when neither URL nor Secret says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The digest or ETag that an earlier attempt of the same sync resolved: a later attempt must find the same bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
    /// The Secret that the image names, `NAMESPACE/NAME`. It is mounted optional at [`crate::SECRET_DIRECTORY`], so only
    /// this tells a missing Secret (denied) from an anonymous source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// The protocol of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// By content.
    #[default]
    Auto,
    /// The bytes of the disk as they are.
    Raw,
    /// QEMU copy-on-write, version 2 or 3.
    Qcow2,
    /// VMware disk in one file (`monolithicSparse`, `streamOptimized`).
    Vmdk,
    /// VirtualBox disk.
    Vdi,
    /// Microsoft virtual hard disk (`vpc` to qemu-img).
    Vhd,
    /// Hyper-V virtual hard disk, version 2.
    Vhdx,
}

/// Where the disk goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// A directory on a file system, or a block device.
    pub kind: TargetKind,
    /// [`crate::TARGET_DIRECTORY`], [`crate::TARGET_DEVICE`], or what the user of the command line said.
    pub path: String,
    /// What the claim requests, in bytes: the disk is grown to the room this leaves. Absent: the image's own size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_bytes: Option<u64>,
    /// Room left for the file system's own structures, in parts per thousand of the disk (60: available / 1.06).
    /// Means nothing on a block device.
    #[serde(default = "default_overhead")]
    pub overhead_per_mille: u32,
    /// The UID of the claim that the volume is bound to. A record of progress counts only if it bears this UID: nobody
    /// who had the storage before the claim was made can have known it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_uid: Option<String>,
}

fn default_overhead() -> u32 {
    Target::DEFAULT_OVERHEAD_PER_MILLE
}

impl Target {
    /// 6 %, CDI's default file-system overhead.
    pub const DEFAULT_OVERHEAD_PER_MILLE: u32 = 60;
}

/// The two volume modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TargetKind {
    /// `disk.img` in a directory.
    Filesystem,
    /// Raw from offset 0.
    Block,
}

/// Bounds on a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Fetch no faster than this; absent: as fast as it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth_bytes_per_second: Option<u64>,
    /// The sources that the policy allows, each `scheme://host[:port][/path]`; empty: every public one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_sources: Vec<String>,
    /// Cluster-internal ranges that the policy adds to the refused ones, in CIDR form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused_networks: Vec<String>,
    /// The most that may be staged at [`crate::SCRATCH_DIRECTORY`]; absent: no staging.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch_bytes: Option<u64>,
}

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
