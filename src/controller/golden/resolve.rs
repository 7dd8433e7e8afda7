//! What the source holds now, and so which key is wanted: from the records, or from a pod that asks. Pure.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use populator_crd::v1alpha1::{FailureClass, GoldenPhase, GoldenRecord, SourceFacts, VMDiskImage, VMDiskSync};

use super::key;
use crate::{policy::Policy, source_facts, sync::failure::Failure, worker::Worker, world::golden};

/// How soon a source that could not be asked, or answered something passing, is asked again.
const ASK_AGAIN: Duration = Duration::from_mins(1);

/// The pod that asks.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspector {
    /// What it is doing.
    pub worker: Worker,
    /// The generation of the image that it asks for.
    pub generation: i64,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// What is known of the source.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolution {
    /// This record is of what the source holds.
    Recorded(String),
    /// The source holds this, and no current record says so.
    Found {
        /// The key.
        key: String,
        /// What the source is.
        facts: Box<SourceFacts>,
    },
    /// A pod has to ask.
    Ask,
    /// A pod asks.
    Asking,
    /// What the pod says is of no use any more: it goes, and another one asks.
    AskAnew,
    /// The source could not be had.
    Failed {
        /// Why.
        failure: Box<Failure>,
        /// When to ask again; `None`: when the image changes.
        again: Option<Timestamp>,
    },
}

/// Resolves. `records` are the masters' of this image.
#[must_use]
pub fn of(
    image: &VMDiskImage,
    records: &[Arc<VMDiskSync>],
    inspector: Option<&Inspector>,
    policy: &Policy,
    now: Timestamp,
) -> Resolution {
    let generation = image.metadata.generation.unwrap_or_default();
    if let Some((_, golden)) = current(records, image) {
        return Resolution::Recorded(golden.key.clone());
    }
    let Some(inspector) = inspector else { return Resolution::Ask };
    if inspector.generation != generation {
        return Resolution::AskAnew;
    }
    let ended = match &inspector.worker {
        Worker::Absent => return Resolution::Ask,
        Worker::Starting { .. } | Worker::Running | Worker::Stopping => return Resolution::Asking,
        Worker::Lost => return Resolution::AskAnew,
        Worker::Ended(ended) => ended,
    };
    let Some(failure) = Failure::of(ended) else {
        let learnt = ended.report.as_ref().and_then(|report| source_facts::merged(None, &report.source));
        let facts = learnt.unwrap_or_default();
        return Resolution::Found { key: key::of(image, &facts), facts: Box::new(facts) };
    };
    let wait = match failure.class {
        FailureClass::Final => None,
        FailureClass::SourceMissing => Some(policy.missing_retry_interval),
        FailureClass::Denied => Some(policy.denied_retry_interval),
        FailureClass::Transient | FailureClass::Interrupted => Some(ASK_AGAIN),
    };
    let again = wait.map(|wait| {
        let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
        inspector.ended_at.unwrap_or(now).checked_add(wait).unwrap_or(Timestamp::MAX)
    });
    if again.is_some_and(|again| again <= now) {
        return Resolution::AskAnew;
    }
    Resolution::Failed { failure: Box::new(failure), again }
}

/// The record of what the image is made of as it is now, if something comes of it.
#[must_use]
pub fn current<'a>(
    records: &'a [Arc<VMDiskSync>],
    image: &VMDiskImage,
) -> Option<(&'a Arc<VMDiskSync>, &'a GoldenRecord)> {
    let mut all = records.iter().filter_map(|record| Some((record, golden(record)?)));
    all.find(|(_, golden)| {
        Some(&golden.image_uid) == image.metadata.uid.as_ref()
            && Some(golden.generation) == image.metadata.generation
            && matches!(golden.phase, GoldenPhase::Filling | GoldenPhase::Cutting | GoldenPhase::Ready)
    })
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
