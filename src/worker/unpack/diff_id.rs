//! What a layer holds when it is unpacked, compared with the image's configuration (`rootfs.diff_ids`; OCI image
//! specification, "Image Configuration"): that layer and configuration belong together.
//!
//! The layer's own digest has covered every byte that was fetched, so this second hash is over many more bytes and
//! proves less. It runs beside the unpacking, on a thread that gets the same bytes by reference.

use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};
use std::{io, vec};

use bytes::Bytes;

use super::stream::{Chunks, Decoded, Stream};
use crate::channel::CHUNK;
use crate::digest::{Digest, Hasher};
use crate::failure::{Failure, Reason};

/// How far unpacking may be ahead of hashing, in pieces of [`CHUNK`]: enough that neither waits for the other's every
/// step. They are those that the decoder reads as well, so few of them are kept alive for this alone.
const DEPTH: usize = 4;

/// What a layer's content must hash to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffId {
    /// What the configuration promises.
    pub promised: Digest,
    /// The layer as it is fetched.
    pub layer: Digest,
}

impl DiffId {
    /// Checks a layer that is not compressed: its content is what it was fetched as, and is not hashed twice. (Where the
    /// two digests are of different hash functions nothing is compared: the manifest's covers the same bytes.)
    pub(super) fn check_plain(&self) -> Result<(), Failure> {
        let comparable = self.promised.algorithm() == self.layer.algorithm();
        if comparable && self.promised != self.layer { Err(self.mismatch(&self.layer)) } else { Ok(()) }
    }

    /// Hashes what is read from `content`; the stream returned is to be read to its end.
    pub(super) fn hash<'a>(self, content: Box<dyn Stream + 'a>) -> Result<(Box<dyn Stream + 'a>, Hashing), Failure> {
        let (sender, pieces) = mpsc::sync_channel::<Bytes>(DEPTH);
        let mut hasher = Hasher::new(self.promised.algorithm());
        let hash = move || {
            for piece in pieces {
                hasher.update(&piece);
            }
            hasher.finish()
        };
        let thread = thread::Builder::new().name("diff_id".into()).spawn(hash).map_err(|error| {
            Failure::new(Reason::Internal, format!("failed to start the thread that hashes a layer's content: {error}"))
        })?;
        let tapped = Tapped { content, rest: Vec::new().into_iter(), hasher: Some(sender) };
        Ok((Box::new(Decoded::of(tapped)), Hashing { diff_id: self, thread }))
    }

    fn mismatch(&self, found: &Digest) -> Failure {
        let Self { promised, layer } = self;
        Failure::new(
            Reason::DigestMismatch,
            format!(
                "the layer {layer} has content with the digest {found}, the image's configuration promises {promised} \
                 (rootfs.diff_ids), so the two do not belong together; build the image again and push it"
            ),
        )
    }
}

/// A digest in the making.
pub(super) struct Hashing {
    diff_id: DiffId,
    thread: JoinHandle<Digest>,
}

impl Hashing {
    /// Judges the content, which has been read to its end.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let found = self.thread.join().map_err(|_| {
            Failure::new(Reason::Internal, "the thread that hashes a layer's content failed; report this as a bug")
        })?;
        if found == self.diff_id.promised { Ok(()) } else { Err(self.diff_id.mismatch(&found)) }
    }
}

/// A stream whose bytes another thread sees, too.
struct Tapped<S> {
    content: S,
    rest: vec::IntoIter<Bytes>,
    /// None after the end.
    hasher: Option<SyncSender<Bytes>>,
}

impl<S: Stream> Chunks for Tapped<S> {
    fn next(&mut self) -> io::Result<Bytes> {
        if self.rest.as_slice().is_empty() {
            // A decoder may make pieces of many mebibytes, and a queue of those would be a multiple of that.
            self.rest = self.content.batch(CHUNK as u64)?.into_iter();
        }
        let piece = self.rest.next().unwrap_or_default();
        if piece.is_empty() {
            self.hasher = None;
        } else if let Some(hasher) = &self.hasher {
            // A thread that is gone has panicked, which the end will tell.
            let _ = hasher.send(piece.clone());
        }
        Ok(piece)
    }
}

#[cfg(test)]
#[path = "diff_id_tests.rs"]
mod tests;
