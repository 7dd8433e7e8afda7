//! What controller and worker say to each other, and nothing else.
//!
//! ```text
//! controller ──Job (JSON in VMDISK_JOB)──▶ worker
//! controller ◀─Progress (JSON lines on stdout, at most one a second)── worker
//! controller ◀─Report (JSON, termination message) + ExitClass (exit code)── worker
//! ```
//!
//! Both sides are shipped together, yet during a roll-out an old worker can meet a new controller: every document
//! carries [`SCHEMA_VERSION`], unknown fields are ignored, and a version that is not known is refused by name.

mod job;
mod outcome;
mod progress;
mod report;

pub use job::{Format, Job, JobError, Limits, Operation, Source, SourceType, Target, TargetKind};
pub use outcome::{ExitClass, INTERRUPTED, UNFINISHED};
pub use progress::{Progress, Stage};
pub use report::{MAX_CHECKSUM, MAX_DIGEST, MAX_REASON, MAX_REPORT_BYTES, Report, SourceFacts, StageWait};

/// The version of the documents in this crate. It moves only when an old reader would misunderstand a new document.
pub const SCHEMA_VERSION: u32 = 1;

/// The environment variable that carries the [`Job`].
pub const JOB_ENV: &str = "VMDISK_JOB";

/// Where a Filesystem volume is mounted in the worker.
pub const TARGET_DIRECTORY: &str = "/target";

/// Where a Block volume's device appears in the worker.
pub const TARGET_DEVICE: &str = "/dev/target";

/// Where the image's Secret is mounted in the worker, one file a key. The mount is optional: a missing Secret is an
/// empty directory, which the worker reports as [`ExitClass::Denied`].
pub const SECRET_DIRECTORY: &str = "/etc/vmdisk/secret";

/// Where the image's extra CA certificates are mounted in the worker, one PEM file a key.
pub const CERTIFICATES_DIRECTORY: &str = "/etc/vmdisk/certs";

/// Where the worker may stage what a format needs as a whole file (an `emptyDir` with a size limit).
pub const SCRATCH_DIRECTORY: &str = "/scratch";

/// The file at the root of a Filesystem volume that holds the disk. The name is KubeVirt's (`pkg/host-disk`).
pub const DISK_FILE: &str = "disk.img";

/// The group and user that own the disk: QEMU's in virt-launcher (`NonRootUID`, KubeVirt `pkg/util/util.go`).
pub const QEMU_ID: u32 = 107;
