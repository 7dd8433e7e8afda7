//! The worker's last word: a JSON document in the container's termination message. A worker keeps it up to date while it
//! is at work ([`UNFINISHED`](crate::UNFINISHED)), so that one that is killed has said what it paid, too.

use serde::{Deserialize, Serialize};

use crate::{ExitClass, Format, SCHEMA_VERSION};

/// The kubelet keeps this much of a termination message (Kubernetes `MaxContainerTerminationMessageLength`).
pub const MAX_REPORT_BYTES: usize = 4096;

/// The longest digest or `ETag` in a report: what the API's status takes.
pub const MAX_DIGEST: usize = 512;

/// The longest checksum in a report; those of the contract have at most 135 characters.
pub const MAX_CHECKSUM: usize = 256;

/// The longest reason in a report. They are single words.
pub const MAX_REASON: usize = 64;

/// As many bytes of the message as go before the table of waits, which is for humans with time.
const MESSAGE_FIRST: usize = 1024;

/// The report of one attempt. Carries no credential: URLs are printed without userinfo and query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The version of this document: [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// How the attempt ended; the same as the exit code.
    pub class: ExitClass,
    /// One CamelCase word for the cause, stable for machines (`NotFound`, `DigestMismatch`, `BackingFile` …).
    pub reason: String,
    /// A sentence for a human: what was found, what was expected, what to do next.
    pub message: String,
    /// What was learnt of the source, as far as the attempt came.
    #[serde(default)]
    pub source: SourceFacts,
    /// Bytes received from the source, repeated ones included: what was paid.
    #[serde(default)]
    pub bytes_fetched: u64,
    /// Bytes written to the target.
    #[serde(default)]
    pub bytes_written: u64,
    /// Whether a later attempt into the same volume can go on where this one ended.
    #[serde(default)]
    pub resumable: bool,
    /// The server's wish for the time before the next attempt (`Retry-After`), in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
    /// How long each stage of the pipeline waited for its neighbours; the stage that waited least is the bottleneck.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<StageWait>,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            class: ExitClass::Done,
            reason: String::new(),
            message: String::new(),
            source: SourceFacts::default(),
            bytes_fetched: 0,
            bytes_written: 0,
            resumable: false,
            retry_after_seconds: None,
            waits: Vec::new(),
        }
    }
}

impl Report {
    /// The report in a termination message; `None` when it holds none of a known version (a log tail, a cut document).
    /// What it says is within the bounds of this module, whoever wrote it.
    #[must_use]
    pub fn parse(message: &str) -> Option<Self> {
        let report: Self = serde_json::from_str(message).ok()?;
        (report.schema_version == SCHEMA_VERSION).then(|| report.bounded())
    }

    /// The report without what is beyond its bounds.
    fn bounded(mut self) -> Self {
        self.reason.truncate(self.reason.floor_char_boundary(MAX_REASON));
        self.source = self.source.bounded();
        self
    }

    /// The report as JSON of at most [`MAX_REPORT_BYTES`], whatever it holds: a document cut by the kubelet could not be
    /// read at all. Facts beyond their bounds are left out, the message is shortened where it must be, and the waits go
    /// before the best part of the message.
    #[must_use]
    pub fn to_message(&self) -> String {
        const ELLIPSIS: &str = "…";
        // The rest has a bound: what is kept of reason and facts, escaped, is less than half of what there is room for.
        let mut report = self.clone().bounded();
        loop {
            let text = serde_json::to_string(&report).unwrap_or_default();
            let excess = text.len().saturating_sub(MAX_REPORT_BYTES);
            if excess == 0 {
                return text;
            }
            // Escapes make a character longer in JSON than in memory, so one cut may take a little too much.
            let keep = report.message.len().saturating_sub(excess + ELLIPSIS.len());
            if keep < MESSAGE_FIRST && !report.waits.is_empty() {
                report.waits.clear();
                continue;
            }
            report.message.truncate(report.message.floor_char_boundary(keep));
            report.message.push_str(ELLIPSIS);
        }
    }
}

/// What an attempt learnt of its source.
///
/// Servers write some of it, and all of it goes to the status of API objects: so what is out of bounds is no fact.
/// A digest has at most [`MAX_DIGEST`] characters of printable ASCII, a checksum at most [`MAX_CHECKSUM`]. An `ETag` that
/// is longer, or of other characters, is good inside the attempt that met it (for the ranges of one download, and in the
/// record that a volume keeps of its own progress) and is reported as none: a later attempt is then not pinned to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceFacts {
    /// The digest (registry) or ETag (HTTP, S3) that names exactly these bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The checksum that the source itself keeps (S3): `sha256:…`, `crc64nvme:…` and the like, hexadecimal, which the
    /// bytes were verified against; or `sha256-composite:…`, of the parts in which the object was uploaded, as S3 gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// The disk format by content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The size of the disk that the image describes, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<u64>,
    /// The size of what is fetched, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

impl SourceFacts {
    /// Whether this can be a report's [`digest`](Self::digest).
    #[must_use]
    pub fn takes_digest(text: &str) -> bool {
        is_fact(text, MAX_DIGEST)
    }

    /// The facts without those that are beyond their bounds.
    fn bounded(mut self) -> Self {
        self.digest = self.digest.filter(|digest| Self::takes_digest(digest));
        self.checksum = self.checksum.filter(|checksum| is_fact(checksum, MAX_CHECKSUM));
        self
    }
}

/// Whether the text is of at most `limit` characters of printable ASCII.
fn is_fact(text: &str, limit: usize) -> bool {
    text.len() <= limit && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// How long a stage stood still.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageWait {
    /// The stage's name (`fetch`, `hash`, `decompress`, `decode`, `write`).
    pub stage: String,
    /// Milliseconds in which it waited for input.
    pub input_ms: u64,
    /// Milliseconds in which it waited for room in its output.
    pub output_ms: u64,
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
