//! What a worker can do: fill a volume, inspect an image, finish a volume that was cut from a snapshot.

use std::path::PathBuf;
use std::sync::Arc;

use vmdisk_wire::{
    ExitClass, Job, Limits, Operation, SCRATCH_DIRECTORY, Source as Spec, SourceType, Stage, TargetKind,
};
use volume_quantity::human;

use crate::decode::{self, Decode, Decoded};
use crate::digest::Verifier;
use crate::failure::{Failure, Reason, Result};
use crate::http::{Body, Client, Options};
use crate::opening::{self, Bytes, Opened};
use crate::pipeline::{self, Feed};
use crate::policy::Policy;
use crate::progress::Counters;
use crate::report::{Findings, from_wire};
use crate::sink::{self, DeviceTarget, FileTarget, Target, Wish};
use crate::source::{self, Resolved, Secret};
use crate::staging::Scratch;
use crate::unpack::{Hidden, Length, Rules, Sightings, Unpacked, check_path};

/// One piece of work and everything that it may use.
#[derive(Debug, Clone)]
pub struct Work {
    /// What to do.
    pub operation: Operation,
    /// The image.
    pub source: Spec,
    /// The image's file, when it lies on this machine: `source` then says only what it is. By hand alone.
    pub local: Option<PathBuf>,
    /// Where the disk goes; absent for inspections.
    pub target: Option<Wish>,
    /// Bounds.
    pub limits: Limits,
    /// Who may be reached.
    pub policy: Policy,
    /// The directory of the Secret.
    pub secret: PathBuf,
    /// The directory of extra CA certificates.
    pub certificates: PathBuf,
    /// Where may be staged.
    pub scratch: Option<Scratch>,
    /// How patient to be.
    pub patience: Options,
}

impl Work {
    /// What a job orders.
    ///
    /// # Errors
    ///
    /// [`Reason::BadJob`] when its policy cannot be read.
    pub fn of_job(job: Job) -> Result<Self> {
        let target = job.target.as_ref().map(Wish::of_job);
        let scratch = match (job.limits.scratch_bytes, &job.target) {
            (Some(limit), _) => Some(Scratch { directory: PathBuf::from(SCRATCH_DIRECTORY), limit: Some(limit) }),
            (None, Some(target)) if target.kind == TargetKind::Filesystem => {
                Some(Scratch { directory: PathBuf::from(&target.path), limit: None })
            }
            _ => None,
        };
        Ok(Self {
            operation: job.operation,
            policy: Policy::new(&job.limits)?,
            source: job.source,
            local: None,
            target,
            limits: job.limits,
            secret: PathBuf::from(vmdisk_wire::SECRET_DIRECTORY),
            certificates: PathBuf::from(vmdisk_wire::CERTIFICATES_DIRECTORY),
            scratch,
            patience: Options::default(),
        })
    }
}

/// Does the work; the text is for a human.
///
/// # Errors
///
/// Every [`Failure`] there is.
pub async fn run(work: &Work, counters: &Counters, findings: &Findings) -> Result<String> {
    work.source.path.as_deref().map_or(Ok(()), check_path)?;
    match work.operation {
        Operation::Fill => fill(work, counters, findings).await,
        Operation::Inspect => inspect(work, counters, findings).await,
        Operation::Finish => finish(work, counters, findings),
    }
}

/// Clears up after a failed attempt, and finds out whether a later one can go on.
pub fn clear_up(work: &Work, failure: &Failure, findings: &Findings) {
    let Some(wish) = work.target.as_ref().filter(|_| work.operation == Operation::Fill) else {
        return;
    };
    let same_bytes_later = match failure.class() {
        ExitClass::Transient => failure.reason != Reason::SourceChanged,
        ExitClass::SourceMissing | ExitClass::Denied => true,
        _ => false,
    };
    findings.resumable(sink::leave(wish, same_bytes_later));
}

async fn fill(work: &Work, counters: &Counters, findings: &Findings) -> Result<String> {
    let wish = wish(work)?;
    let done = || {
        let size = findings.facts().virtual_size.map_or_else(String::new, |size| format!(" of {}", human(size)));
        Ok(format!("the disk{size} is at {}", wish.path.display()))
    };
    if let Some(path) = &work.local {
        let rules = Rules { path: work.source.path.clone(), ..Rules::default() };
        return match fill_from(work, wish, &Bytes::Local(path), &rules, counters, findings).await? {
            Unpacked::Disk => done(),
            Unpacked::Nothing(_, seen) => Err(no_disk(work, 1, &seen)),
        };
    }
    let Some(resolved) = resolve(work, findings).await? else {
        return blank(wish, counters, findings);
    };
    let Resolved { blobs, container, path, .. } = resolved;
    let count = blobs.len();
    let (mut hidden, mut seen) = (Hidden::default(), Sightings::default());
    for blob in blobs {
        let diff_id = blob.diff_id.clone();
        let rules = Rules { path: path.clone(), container, hidden: hidden.clone(), diff_id, room: None };
        match fill_from(work, wish, &Bytes::Remote(&blob), &rules, counters, findings).await? {
            Unpacked::Disk => return done(),
            Unpacked::Nothing(below, here) => {
                hidden = below;
                seen.extend(here);
            }
        }
    }
    Err(no_disk(work, count, &seen))
}

/// Fills the target from one blob, if the disk is in it.
async fn fill_from(
    work: &Work,
    wish: &Wish,
    bytes: &Bytes<'_>,
    rules: &Rules,
    counters: &Counters,
    findings: &Findings,
) -> Result<Unpacked> {
    let (mut stage_all, mut doubted) = (false, false);
    loop {
        let target = Target::prepare(wish)?;
        findings.resumable(target.resume().is_some());
        let promised_size = bytes.blob().and_then(|blob| blob.disk_size);
        if let Some(size) = promised_size {
            target.room().check(size)?;
        }
        let room = target.room().bytes;
        counters.enter(Stage::Inspecting);
        let Opened { feed, length, keep_below, resumable, at_source } =
            bytes.open(&work.limits, &target, counters, findings).await?;
        counters.begin(Stage::Fetching, length.exactly());
        let decode = Decode {
            declared: from_wire(work.source.format),
            not_the_disk: bytes.blob().and_then(|blob| blob.not_the_disk.clone()),
            promised_size,
            target,
            scratch: work.scratch.clone(),
            stage_all,
            at_source,
            resumable,
            keep_below,
            counters: counters.clone(),
            findings: findings.clone(),
        };
        let verifier = bytes.verifier(&work.source)?;
        let rules = Rules { room: Some(room), ..rules.clone() };
        let run = move |pieces: &mut _| decode.run(pieces);
        match pipeline::run(feed, length, verifier, rules, run, counters).await {
            Ok((_, Decoded::Disk)) => return Ok(Unpacked::Disk),
            Ok((Some(unpacked), Decoded::Nothing)) => return Ok(unpacked),
            // The last resort: the layout refers back to what is gone.
            Ok((_, Decoded::NeedsWholeImage)) if !stage_all => {
                tracing::warn!("the image's layout needs all of it at once; it is fetched again and staged");
                stage_all = true;
            }
            Ok(_) => return Err(Failure::new(Reason::Internal, "the stages disagree about the image")),
            // What was kept may be at fault, and only the whole image tells.
            Err(failure) if failure.class() == ExitClass::VerificationFailed && keep_below > 0 && !doubted => {
                tracing::warn!(%failure, "what an earlier attempt left may be damaged; the image is fetched again");
                findings.resumable(sink::leave(wish, false));
                doubted = true;
            }
            Err(failure) => return Err(failure),
        }
    }
}

async fn resolve(work: &Work, findings: &Findings) -> Result<Option<Resolved>> {
    if work.source.source_type == SourceType::Blank {
        return Ok(None);
    }
    let secret = Secret::read(&work.secret)?;
    let client = Client::new(Arc::new(work.policy.clone()), work.patience.clone(), Some(&work.certificates))?;
    let Some(source) = source::open(&work.source, &client, &secret)? else {
        return Ok(None);
    };
    let resolved = source.resolve().await?;
    findings.source(resolved.digest.clone(), None);
    findings.checksum(resolved.checksum.clone());
    Ok(Some(resolved))
}

/// An empty disk of the claim's size.
fn blank(wish: &Wish, counters: &Counters, findings: &Findings) -> Result<String> {
    let target = Target::prepare(wish)?;
    if wish.requested.is_none() && matches!(target, Target::File(_)) {
        return Err(Failure::new(Reason::BadJob, "a blank disk needs a size; say how large it is to be"));
    }
    counters.enter(Stage::Finalizing);
    let size = target.room().bytes;
    findings.virtual_size(size);
    target.finish(target.writer(0, counters.clone())?, size)?;
    Ok(format!("an empty disk of {} is at {}", human(size), wish.path.display()))
}

/// What the image is, by its first bytes.
async fn inspect(work: &Work, counters: &Counters, findings: &Findings) -> Result<String> {
    let Some(Resolved { blobs, container, path, .. }) = resolve(work, findings).await? else {
        return Ok("a blank disk has no image".into());
    };
    let count = blobs.len();
    let (mut hidden, mut seen) = (Hidden::default(), Sightings::default());
    for blob in blobs {
        counters.enter(Stage::Inspecting);
        let body = Body::open(blob.object.clone(), 0, counters.clone()).await?;
        let length = opening::learn(&blob, body.object(), findings).map_or(Length::Unknown, Length::Exactly);
        // The first bytes tell nothing about a digest of all.
        let rules = Rules { path: path.clone(), container, hidden: hidden.clone(), ..Rules::default() };
        let declared = from_wire(work.source.format);
        let found = findings.clone();
        let (unpacked, image) = pipeline::run(
            Feed {
                kept: None,
                body: Some(body),
                rest: blob.rest(),
                bytes_per_second: work.limits.bandwidth_bytes_per_second,
            },
            length,
            Verifier::new(Vec::new()),
            rules,
            move |pieces: &mut _| decode::inspect(pieces, declared, &found),
            counters,
        )
        .await?;
        if image {
            let facts = findings.facts();
            let format = facts.format.map_or_else(String::new, |format| format!("{format:?} "));
            let size = facts.virtual_size.map_or("a size that only its end tells".into(), human);
            return Ok(format!("a {format}image with a disk of {size}"));
        }
        if let Some(Unpacked::Nothing(below, here)) = unpacked {
            hidden = below;
            seen.extend(here);
        }
    }
    Err(no_disk(work, count, &seen))
}

/// Grows and checks a disk that came with the volume.
fn finish(work: &Work, counters: &Counters, findings: &Findings) -> Result<String> {
    let wish = wish(work)?;
    counters.enter(Stage::Finalizing);
    let size = match wish.kind {
        TargetKind::Filesystem => FileTarget::adopt(wish)?,
        TargetKind::Block => DeviceTarget::adopt(wish)?,
    };
    findings.virtual_size(size);
    Ok(format!("the disk at {} has {}", wish.path.display(), human(size)))
}

fn wish(work: &Work) -> Result<&Wish> {
    work.target.as_ref().ok_or_else(|| Failure::new(Reason::BadJob, "there is no target"))
}

fn no_disk(work: &Work, layers: usize, seen: &Sightings) -> Failure {
    let what = match &work.source.path {
        Some(path) => format!("the file {path}; {}", seen.alternatives()),
        None => format!("a file in /disk; {}", seen.advice()),
    };
    Failure::new(Reason::NoDisk, format!("none of the image's {layers} layers holds {what}"))
}
