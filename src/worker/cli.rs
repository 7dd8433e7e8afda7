//! The command line.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use vmdisk_wire::{Format, Job, Limits, Operation, Source, SourceType, TargetKind};

use crate::failure::{Failure, Reason, Result};
use crate::http::Options;
use crate::policy::Policy;
use crate::sink::Wish;
use crate::staging::Scratch;
use crate::work::Work;

/// Fetches one disk image, verifies it, and writes it as a raw disk.
///
/// Exit codes: 0 done, 10 transient, 11 source missing, 12 denied, 13 does not fit, 14 verification failed,
/// 15 malformed or refused image, 16 target I/O, 17 bad job.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// What to do; with a job in the environment, `run` is meant.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Do the job in the environment variable `VMDISK_JOB`, as a worker pod.
    Run(Run),
    /// Fetch an image and write it as a raw disk.
    Fetch(Box<Fetch>),
    /// Write an image that lies on this machine as a raw disk.
    Convert(Convert),
    /// Say what an image is, by its first bytes.
    Inspect(Image),
}

/// A job and where its report goes.
#[derive(Debug, Args)]
pub struct Run {
    /// The job.
    #[arg(long, env = vmdisk_wire::JOB_ENV, hide_env_values = true)]
    pub job: String,
    /// Where the report goes.
    #[arg(long, env = "VMDISK_TERMINATION_LOG", default_value = "/dev/termination-log")]
    pub termination_log: PathBuf,
}

/// What to fetch, and where to.
#[derive(Debug, Args)]
pub struct Fetch {
    /// The image.
    #[command(flatten)]
    pub image: Image,
    /// Where the disk goes.
    #[command(flatten)]
    pub output: Output,
    /// Fetch no faster than this a second, such as 10Mi.
    #[arg(long, value_parser = bytes)]
    pub bandwidth: Option<u64>,
}

/// What to convert, and where to.
#[derive(Debug, Args)]
pub struct Convert {
    /// The file of the image; it may be compressed, or in an archive.
    pub input: PathBuf,
    /// What it is.
    #[command(flatten)]
    pub content: Content,
    /// Where the disk goes.
    #[command(flatten)]
    pub output: Output,
}

/// Where a disk goes.
#[derive(Debug, Args)]
pub struct Output {
    /// The file to write, or a block device.
    #[arg(long, short)]
    pub output: PathBuf,
    /// The size of the disk, such as 20Gi: a smaller image is grown, a larger one refused. Required for a blank disk.
    #[arg(long, value_parser = bytes)]
    pub size: Option<u64>,
    /// `sha256:…` or `sha512:…` of the image's bytes as they come.
    #[arg(long)]
    pub checksum: Option<String>,
    /// Where to stage what cannot be decoded as it comes; by default beside the output.
    #[arg(long)]
    pub scratch_dir: Option<PathBuf>,
    /// Say where the stages of the pipeline waited, and which one set the pace.
    #[arg(long)]
    pub report: bool,
}

/// What an image is, and how to tell of it.
#[derive(Debug, Args)]
pub struct Content {
    /// The format of the image; by default what its content says.
    #[arg(long, value_enum, default_value = "auto")]
    pub format: DiskFormat,
    /// The file inside the container image or archive.
    #[arg(long)]
    pub path: Option<String>,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Which image.
#[derive(Debug, Args)]
pub struct Image {
    /// `https://…`, `http://…`, `s3://bucket/key`, `docker://host/repo:tag` or `oci://host/repo@sha256:…`.
    #[arg(long, default_value = "")]
    pub url: String,
    /// How to speak to the source; by default what the URL says.
    #[arg(long, value_enum)]
    pub source_type: Option<Protocol>,
    /// What it is.
    #[command(flatten)]
    pub content: Content,
    /// The S3 region.
    #[arg(long)]
    pub region: Option<String>,
    /// A directory with credentials, one file a key, as a Secret is mounted.
    #[arg(long)]
    pub secret_dir: Option<PathBuf>,
    /// A directory with extra CA certificates, PEM files.
    #[arg(long)]
    pub ca_dir: Option<PathBuf>,
}

/// The protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// An OCI registry.
    Registry,
    /// An S3-compatible object store.
    S3,
    /// An HTTP server.
    Http,
    /// No source: an empty disk.
    Blank,
}

/// The formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say all there is to say, and --help shows them")]
pub enum DiskFormat {
    Auto,
    Raw,
    Qcow2,
    Vmdk,
    Vdi,
    Vhd,
    Vhdx,
}

/// Reads a number of bytes.
fn bytes(text: &str) -> Result<u64, String> {
    volume_quantity::parse(text).map(i64::unsigned_abs).map_err(|error| error.to_string())
}

impl Run {
    /// The work that the job orders.
    ///
    /// # Errors
    ///
    /// [`Reason::BadJob`] when it cannot be read.
    pub fn work(&self) -> Result<Work> {
        let job = Job::parse(&self.job).map_err(|error| Failure::new(Reason::BadJob, error.to_string()))?;
        Work::of_job(job)
    }
}

impl Fetch {
    /// The work that the command line orders.
    ///
    /// # Errors
    ///
    /// [`Reason::InvalidUrl`] when the URL says no protocol.
    pub fn work(&self) -> Result<Work> {
        let mut work = self.image.work(Operation::Fill)?;
        work.limits.bandwidth_bytes_per_second = self.bandwidth;
        self.output.order(&mut work);
        Ok(work)
    }
}

impl Convert {
    /// The work that the command line orders.
    #[must_use]
    pub fn work(&self) -> Work {
        let mut work = by_hand(Operation::Fill, SourceType::Blank, &self.content);
        work.local = Some(self.input.clone());
        self.output.order(&mut work);
        work
    }
}

impl Output {
    /// Has `work` write here.
    fn order(&self, work: &mut Work) {
        let device = std::fs::metadata(&self.output).is_ok_and(|found| found.file_type().is_block_device());
        let beside = match self.output.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        work.source.checksum.clone_from(&self.checksum);
        work.target = Some(Wish {
            kind: if device { TargetKind::Block } else { TargetKind::Filesystem },
            path: self.output.clone(),
            requested: self.size,
            // By hand nobody but the user decides how full a file system may get.
            overhead_per_mille: 0,
            owner: None,
            claim_uid: None,
        });
        let directory = match &self.scratch_dir {
            Some(directory) => directory.clone(),
            None if device => std::env::temp_dir(),
            None => beside.to_owned(),
        };
        work.scratch = Some(Scratch { directory, limit: None });
    }
}

impl Image {
    /// The work on an image.
    ///
    /// # Errors
    ///
    /// [`Reason::InvalidUrl`] when the URL says no protocol.
    pub fn work(&self, operation: Operation) -> Result<Work> {
        let mut work = by_hand(operation, self.source_type()?, &self.content);
        work.source.url.clone_from(&self.url);
        work.source.region.clone_from(&self.region);
        work.source.secret = self.secret_dir.as_ref().map(|directory| directory.display().to_string());
        work.secret = self.secret_dir.clone().unwrap_or_default();
        work.certificates = self.ca_dir.clone().unwrap_or_default();
        Ok(work)
    }

    fn source_type(&self) -> Result<SourceType> {
        if let Some(protocol) = self.source_type {
            return Ok(protocol.into());
        }
        match self.url.split_once("://").map(|(scheme, _)| scheme) {
            Some("docker" | "oci") => Ok(SourceType::Registry),
            Some("s3") => Ok(SourceType::S3),
            Some("http" | "https") => Ok(SourceType::Http),
            _ => Err(Failure::new(
                Reason::InvalidUrl,
                "the URL says no protocol; begin it with docker://, oci://, s3://, https:// or http://, \
                 or say --source-type",
            )),
        }
    }
}

/// Work with everything that a machine's user may do.
fn by_hand(operation: Operation, source_type: SourceType, content: &Content) -> Work {
    Work {
        operation,
        source: Source {
            source_type,
            url: String::new(),
            format: content.format.into(),
            path: content.path.clone(),
            checksum: None,
            region: None,
            pinned: None,
            secret: None,
        },
        local: None,
        target: None,
        limits: Limits::default(),
        policy: Policy::by_hand(),
        secret: PathBuf::new(),
        certificates: PathBuf::new(),
        scratch: None,
        patience: Options::default(),
    }
}

impl From<Protocol> for SourceType {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Registry => Self::Registry,
            Protocol::S3 => Self::S3,
            Protocol::Http => Self::Http,
            Protocol::Blank => Self::Blank,
        }
    }
}

impl From<DiskFormat> for Format {
    fn from(format: DiskFormat) -> Self {
        match format {
            DiskFormat::Auto => Self::Auto,
            DiskFormat::Raw => Self::Raw,
            DiskFormat::Qcow2 => Self::Qcow2,
            DiskFormat::Vmdk => Self::Vmdk,
            DiskFormat::Vdi => Self::Vdi,
            DiskFormat::Vhd => Self::Vhd,
            DiskFormat::Vhdx => Self::Vhdx,
        }
    }
}

#[cfg(test)]
#[path = "cli_tests.rs"]
mod tests;
