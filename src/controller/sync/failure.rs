//! From the end of a worker to a class of failure, and from a failure to what the user hears of it.

use std::time::Duration;

use populator_crd::v1alpha1::{FailureClass, LastFailure, Route};
use vmdisk_wire::{ExitClass, UNFINISHED};
use volume_populator::Notice;

use crate::{
    route::is_cut,
    worker::{Ended, Outcome},
};

/// How an attempt failed, as far as the next step goes by it.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The class.
    pub class: FailureClass,
    /// One CamelCase word for the cause.
    pub reason: String,
    /// What was found, what was expected, what to do next.
    pub message: String,
    /// Whether it counts against `retryLimit`: not if nothing was fetched, or if it was interrupted.
    pub counts: bool,
    /// Whether the next attempt goes on in the same prime.
    pub keep_prime: bool,
    /// The server's wish for the time before the next attempt.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure before any byte was fetched: retried like a transient one, and not counted, because it cost nothing.
    #[must_use]
    pub fn not_started(reason: &str, message: String) -> Self {
        Self {
            class: FailureClass::Transient,
            reason: reason.to_owned(),
            message,
            counts: false,
            keep_prime: false,
            retry_after: None,
        }
    }

    /// The worker runs longer than the policy allows, and its kubelet has not ended it.
    #[must_use]
    pub fn timed_out() -> Self {
        let message = "the worker did not end within attemptTimeout, and its node did not stop it; it is deleted. Raise \
                       attemptTimeout in sync-operator-policy if the image needs longer";
        Self { counts: true, ..Self::not_started("AttemptTimeout", message.to_owned()) }
    }

    /// What was provisioned can never be used.
    #[must_use]
    pub fn mismatch(message: String) -> Self {
        Self { class: FailureClass::Final, ..Self::not_started("VolumeMismatch", message) }
    }

    /// The worker was taken away.
    #[must_use]
    pub fn interrupted(reason: &str, message: String) -> Self {
        Self { class: FailureClass::Interrupted, ..Self::not_started(reason, message) }
    }

    /// What it means on this route: of what is cut from golden data nothing is final, and nothing is the source's. Another
    /// cut may be whole, or the claim is fetched.
    #[must_use]
    pub fn of_route(self, route: Option<&Route>) -> Self {
        let cut = route.is_some_and(|route| is_cut(route.kind));
        if !cut || matches!(self.class, FailureClass::Interrupted | FailureClass::Transient) {
            return self;
        }
        Self { class: FailureClass::Transient, counts: true, ..self }
    }

    /// What the end of a worker means; `None` if it is no failure.
    #[must_use]
    pub fn of(ended: &Ended) -> Option<Self> {
        let class = match ended.outcome {
            Outcome::Exited(ExitClass::Done) => return None,
            Outcome::Exited(ExitClass::Transient | ExitClass::TargetIo)
            | Outcome::Killed
            | Outcome::NotStarted
            | Outcome::Unexplained => FailureClass::Transient,
            Outcome::Exited(ExitClass::SourceMissing) => FailureClass::SourceMissing,
            Outcome::Exited(ExitClass::Denied) => FailureClass::Denied,
            Outcome::Exited(
                ExitClass::DoesNotFit | ExitClass::VerificationFailed | ExitClass::Malformed | ExitClass::BadJob,
            ) => FailureClass::Final,
            Outcome::Interrupted => FailureClass::Interrupted,
        };
        let report = ended.report.as_ref();
        let (reason, message) = match (report, ended.outcome) {
            (_, Outcome::NotStarted) => (
                "WorkerNotStarted".to_owned(),
                format!("the worker never ran ({}); see the events of its node and of its pod", ended.detail),
            ),
            _ if ended.timed_out && ended.outcome == Outcome::Exited(ExitClass::Transient) => (
                "AttemptTimeout".to_owned(),
                "the worker did not end within attemptTimeout and was stopped; raise attemptTimeout in \
                 sync-operator-policy if the image needs longer"
                    .to_owned(),
            ),
            (Some(report), Outcome::Exited(_)) if !report.reason.is_empty() && report.reason != UNFINISHED => {
                (report.reason.clone(), report.message.clone())
            }
            (_, Outcome::Interrupted) => {
                ("Interrupted".to_owned(), format!("the worker was stopped ({})", ended.detail))
            }
            (_, Outcome::Killed | Outcome::Exited(ExitClass::Transient)) => (
                "WorkerKilled".to_owned(),
                format!(
                    "the worker was killed ({}); if its memory or scratch is too small, raise workerResources or \
                     scratchSize in sync-operator-policy",
                    ended.detail
                ),
            ),
            (_, outcome) => (
                "WorkerFailed".to_owned(),
                format!(
                    "the worker ended without a report ({outcome:?}: {}); see its log, keepFailedWorkers: \"true\" in \
                     sync-operator-policy keeps it",
                    ended.detail
                ),
            ),
        };
        let resumable = report.is_some_and(|report| report.resumable);
        let retriable = class != FailureClass::Final;
        Some(Self {
            class,
            reason,
            message,
            // What never ran cost nothing.
            counts: class == FailureClass::Transient && ended.outcome != Outcome::NotStarted,
            keep_prime: resumable && retriable && ended.outcome != Outcome::Exited(ExitClass::TargetIo),
            retry_after: report.and_then(|report| report.retry_after_seconds).map(Duration::from_secs),
        })
    }
}

/// What a claim's user hears of the last failure of its sync.
#[must_use]
pub fn notice(failure: &LastFailure, exhausted: bool) -> Notice {
    let next = match (failure.class, exhausted) {
        (FailureClass::Transient, true) => {
            " No retries are left: delete the VMDiskSync to start again, or change the image."
        }
        (FailureClass::Transient, false) => " It will be retried.",
        (FailureClass::Interrupted, true) => {
            " It was cut short too often (disruptionLimit): delete the VMDiskSync to start again."
        }
        (FailureClass::Interrupted, false) => " It starts again by itself.",
        (FailureClass::SourceMissing, _) => " It heals itself as soon as the source is there.",
        (FailureClass::Denied, _) => {
            " It is asked again at deniedRetryInterval; delete the VMDiskSync to go on at once."
        }
        (FailureClass::Final, _) => {
            " Change the image, or make a claim that fits; delete the VMDiskSync to try again as it is."
        }
    };
    let whose = match &failure.found_by {
        Some(sync) => {
            format!(" Found by VMDiskSync {sync}, for all claims of this image; delete that one to try again.")
        }
        None => String::new(),
    };
    let next = if failure.found_by.is_some() && failure.class == FailureClass::Final { "" } else { next };
    Notice {
        warning: true,
        reason: event_reason(failure, exhausted),
        message: format!("{}: {}{next}{whose}", failure.reason, sentence(&failure.message)),
    }
}

/// The reason of the event: from a closed set, by what the user has to do.
fn event_reason(failure: &LastFailure, exhausted: bool) -> &'static str {
    match (failure.class, failure.reason.as_str()) {
        (FailureClass::Transient, _) if exhausted => "RetryLimitReached",
        (FailureClass::Transient, "WorkerNotStarted") => "WorkerNotStarted",
        (FailureClass::Transient, "WorkerRefused") => "WorkerRefused",
        (FailureClass::Transient, "VolumeNotProvisioned") => "VolumeNotProvisioned",
        (FailureClass::Transient, "VolumeRefused") => "VolumeRefused",
        (FailureClass::Transient, _) => "SyncRetrying",
        (FailureClass::Interrupted, _) if exhausted => "DisruptionLimitReached",
        (FailureClass::Interrupted, _) => "SyncInterrupted",
        (FailureClass::SourceMissing, _) => "SourceMissing",
        (FailureClass::Denied, "SecretMissing") => "SecretMissing",
        (FailureClass::Denied, _) => "SourceDenied",
        (FailureClass::Final, "VolumeMismatch") => "VolumeMismatch",
        (FailureClass::Final, reason) => match Concern::of(reason) {
            Concern::Room => "DoesNotFit",
            Concern::Bytes => "VerificationFailed",
            Concern::Image => "ImageRefused",
            Concern::Other => "SyncFailed",
        },
    }
}

/// What a final failure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// The claim is too small for the disk.
    Room,
    /// They are not those that were promised.
    Bytes,
    /// It is malformed, hostile or of a kind that is not supported.
    Image,
    /// Neither image nor claim.
    Other,
}

impl Concern {
    /// By the reason of the failure.
    #[must_use]
    pub fn of(reason: &str) -> Self {
        match reason {
            "DoesNotFit" => Self::Room,
            "DigestMismatch" | "SizeMismatch" | "DiskMissing" => Self::Bytes,
            "BadJob" | "InvalidUrl" | "InvalidSecret" | "ScratchTooSmall" | "WorkerFailed" | "VolumeMismatch" => {
                Self::Other
            }
            // The inspector has a word for everything that can be wrong with an image, and more with each format.
            _ => Self::Image,
        }
    }
}

fn sentence(message: &str) -> String {
    let message = message.trim_end();
    if message.ends_with(['.', '!', '?']) { message.to_owned() } else { format!("{message}.") }
}

#[cfg(test)]
#[path = "failure_tests.rs"]
mod tests;
