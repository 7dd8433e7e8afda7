//! The bytes of an image, wherever they are, made ready to flow through the pipeline.

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;

use vmdisk_format::ReadAt;
use vmdisk_wire::{Limits, Source as Spec, SourceFacts};

use crate::digest::Verifier;
use crate::failure::{Failure, Reason, Result};
use crate::http::{Body, Identity, Object, RangedObject};
use crate::pipeline::Feed;
use crate::progress::Counters;
use crate::redact::located;
use crate::report::Findings;
use crate::resume::Resume;
use crate::sink::{Target, UNIT};
use crate::source::{self, Blob};
use crate::unpack::Length;

/// Where the bytes of an image are.
pub(crate) enum Bytes<'a> {
    /// In a blob of the source.
    Remote(&'a Blob),
    /// In a file on this machine.
    Local(&'a Path),
}

/// Bytes that are about to flow.
pub(crate) struct Opened {
    pub(crate) feed: Feed,
    pub(crate) length: Length,
    /// So much of the target is right already.
    pub(crate) keep_below: u64,
    /// What a later attempt needs to know the bytes again.
    pub(crate) resumable: Option<Resume>,
    /// The bytes where they are, if they can be read anywhere.
    pub(crate) at_source: Option<Box<dyn ReadAt + Send>>,
}

impl Bytes<'_> {
    /// Opens the bytes, and tells what there is to know of them.
    ///
    /// # Errors
    ///
    /// Those of the source and of the file.
    pub(crate) async fn open(
        &self,
        limits: &Limits,
        target: &Target,
        counters: &Counters,
        findings: &Findings,
    ) -> Result<Opened> {
        let blob = match self {
            Self::Remote(blob) => blob,
            Self::Local(path) => return open_local(path, findings),
        };
        let (body, kept) = match go_on(blob, target, counters).await? {
            Some((body, kept, length)) => (body, Some((kept, length))),
            None => (Body::open(blob.object.clone(), 0, counters.clone()).await?, None),
        };
        let object = body.object().clone();
        let size = learn(blob, &object, findings);
        Ok(Opened {
            length: size.map_or(Length::Unknown, Length::Exactly),
            keep_below: kept.as_ref().map_or(0, |(_, length)| *length),
            // Offsets are those of one object.
            resumable: resumable(&object).filter(|_| !blob.is_cut()),
            at_source: RangedObject::new(&object, counters.clone())
                .filter(|_| !blob.is_cut())
                .map(|object| Box::new(object) as Box<_>),
            feed: Feed {
                kept,
                body: Some(body),
                rest: blob.rest(),
                bytes_per_second: limits.bandwidth_bytes_per_second,
            },
        })
    }

    /// What the bytes must hash to.
    ///
    /// # Errors
    ///
    /// A promise of the user that is none.
    pub(crate) fn verifier(&self, spec: &Spec) -> Result<Verifier> {
        match self {
            Self::Remote(blob) => Ok(blob.verifier()),
            Self::Local(_) => Ok(Verifier::new(source::checksum(spec)?.into_iter().collect())),
        }
    }

    /// The blob, if the bytes are in one.
    pub(crate) fn blob(&self) -> Option<&Blob> {
        match self {
            Self::Remote(blob) => Some(blob),
            Self::Local(_) => None,
        }
    }
}

/// An image in a file.
struct LocalImage {
    file: File,
    size: u64,
}

impl ReadAt for LocalImage {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buffer, offset)
    }

    fn size(&self) -> u64 {
        self.size
    }
}

fn open_local(path: &Path, findings: &Findings) -> Result<Opened> {
    let missing = |error| Failure::new(Reason::NotFound, format!("failed to open {}: {error}", path.display()));
    let file = File::open(path).map_err(missing)?;
    let found = file.metadata().map_err(missing)?;
    if !found.is_file() {
        return Err(Failure::new(Reason::BadJob, format!("{} is no regular file", path.display())));
    }
    findings.source(None, Some(found.len()));
    let again = file.try_clone().map_err(missing)?;
    let feed = Feed { kept: Some((file, found.len())), body: None, rest: VecDeque::new(), bytes_per_second: None };
    let at_source: Box<dyn ReadAt + Send> = Box::new(LocalImage { file: again, size: found.len() });
    let length = Length::Exactly(found.len());
    Ok(Opened { feed, length, keep_below: 0, resumable: None, at_source: Some(at_source) })
}

/// Opens the blob behind what an earlier attempt left of it, if that is the same image and the source agrees.
async fn go_on(blob: &Blob, target: &Target, counters: &Counters) -> Result<Option<(Body, File, u64)>> {
    if let Some(resume) = target.resume()
        && let Some(object) = expecting(&blob.object, resume).filter(|_| !blob.is_cut())
        && let Ok(part) = File::open(target.path())
    {
        // Of an object that is there whole, the end is asked for again: no server answers for nothing.
        let bytes = resume.bytes.min(resume.size.saturating_sub(1) / UNIT * UNIT);
        match Body::open(object, bytes, counters.clone()).await {
            Ok(body) => {
                tracing::info!(bytes, "going on where an earlier attempt stopped");
                return Ok(Some((body, part, bytes)));
            }
            Err(failure) if failure.reason == Reason::SourceChanged => {
                tracing::info!(%failure, "starting again");
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(None)
}

/// The object bound to what an earlier attempt knew of it; `None` when it is another one.
fn expecting(object: &Object, resume: &Resume) -> Option<Object> {
    if located(&object.url) != resume.url {
        return None;
    }
    let mut object = object.clone();
    match &object.identity {
        Identity::Unknown => object.identity = Identity::Tag(resume.identity.clone()),
        known if name_of(known, &object).as_deref() == Some(&resume.identity) => {}
        _ => return None,
    }
    match object.size {
        Some(size) if size != resume.size => return None,
        _ => object.size = Some(resume.size),
    }
    Some(object)
}

/// What a later attempt needs to know these bytes again.
fn resumable(object: &Object) -> Option<Resume> {
    Some(Resume {
        url: located(&object.url),
        identity: name_of(&object.identity, object).filter(|_| object.resumable())?,
        size: object.size?,
        bytes: 0,
    })
}

fn name_of(identity: &Identity, object: &Object) -> Option<String> {
    match identity {
        Identity::Addressed => Some(object.url.path().to_owned()),
        Identity::Tag(tag) => Some(tag.clone()),
        Identity::Unknown => None,
    }
}

/// Notes what an opened blob tells of the image. Its length, if that is known.
pub(crate) fn learn(blob: &Blob, object: &Object, findings: &Findings) -> Option<u64> {
    let size = if blob.is_cut() { Some(blob.parts.iter().map(|part| part.size).sum()) } else { object.size };
    let digest = findings.facts().digest;
    // A tag that nothing but this attempt may know is good for this attempt alone.
    let tag = || object.identity.tag().filter(|tag| SourceFacts::takes_digest(tag)).map(str::to_owned);
    findings.source(digest.or_else(tag), size);
    size
}
