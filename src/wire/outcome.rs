//! Exit codes and what they mean: the classes of failure that the controller's retries go by.

use serde::{Deserialize, Serialize};

use crate::Report;

/// The end of a worker, as its exit code says it. The numbers are part of the contract with users of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum ExitClass {
    /// The disk is whole and visible.
    Done = 0,
    /// Something that may go away by itself: connection, server overload, out of memory.
    Transient = 10,
    /// The source does not exist (yet).
    SourceMissing = 11,
    /// The source refused us, the policy refused the source, or the Secret is missing.
    Denied = 12,
    /// The disk is larger than the room the claim offers.
    DoesNotFit = 13,
    /// The bytes are not those that digest or checksum promise.
    VerificationFailed = 14,
    /// The image is malformed, of a kind that is not supported, or hostile.
    Malformed = 15,
    /// The target could not be written; a fresh volume may help.
    TargetIo = 16,
    /// The job itself makes no sense.
    BadJob = 17,
}

impl ExitClass {
    /// Every class, in the order of the codes.
    pub const ALL: [Self; 9] = [
        Self::Done,
        Self::Transient,
        Self::SourceMissing,
        Self::Denied,
        Self::DoesNotFit,
        Self::VerificationFailed,
        Self::Malformed,
        Self::TargetIo,
        Self::BadJob,
    ];

    /// The process exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The class of an exit code; `None` for codes outside the contract.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|class| i32::from(class.code()) == code)
    }
}

/// How an attempt ended, seen from the controller: the worker's own word where there is one, an inference where not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// The worker ended by itself with this class.
    Exited(ExitClass),
    /// Eviction, drain, preemption or node loss: does not count against the retry limit.
    Interrupted,
    /// The worker ended in a way that no contract explains: final, because repeating it would only cost.
    Unexplained,
}

/// The report's reason of a worker that was told to stop before it was done.
pub const INTERRUPTED: &str = "Interrupted";

/// The report's reason while the worker is at it: whoever kills it leaves that word as the last.
pub const UNFINISHED: &str = "Unfinished";

/// Judges the end of a worker from what its pod's status says.
///
/// `pod_reason` is `status.reason` of the pod (`Evicted`, `Preempting`, `NodeLost`, …) or the reason of its
/// `DisruptionTarget` condition; `container_reason` is the terminated container's (`OOMKilled`, `Error`, …).
/// A report or a code of the contract is believed before any inference, except that [`ExitClass::Done`] is believed
/// only when code and report agree: a wrong success is worse than a failure. A worker that was told to stop says so
/// ([`INTERRUPTED`]): whoever did it, the attempt was cut short and did not fail.
#[must_use]
pub fn classify(
    exit_code: Option<i32>,
    report: Option<&Report>,
    container_reason: Option<&str>,
    pod_reason: Option<&str>,
) -> Outcome {
    /// 128 + SIGKILL and 128 + SIGTERM: how a shell-convention exit code shows a signal.
    const SIGNALLED: std::ops::RangeInclusive<i32> = 129..=159;

    if let Some(class) = exit_code.and_then(ExitClass::from_code) {
        return match (class, report.map(|report| report.class)) {
            (ExitClass::Done, Some(ExitClass::Done)) => Outcome::Exited(ExitClass::Done),
            (ExitClass::Done, _) => Outcome::Unexplained,
            (ExitClass::Transient, Some(_)) if report.is_some_and(|report| report.reason == INTERRUPTED) => {
                Outcome::Interrupted
            }
            (class, _) => Outcome::Exited(class),
        };
    }
    if pod_reason.is_some() {
        return Outcome::Interrupted;
    }
    if container_reason == Some("OOMKilled") {
        return Outcome::Exited(ExitClass::Transient);
    }
    match exit_code {
        Some(code) if SIGNALLED.contains(&code) => Outcome::Exited(ExitClass::Transient),
        _ => Outcome::Unexplained,
    }
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;
