//! Exit codes and what they mean: the classes of failure that the controller's retries go by.

use serde::{Deserialize, Serialize};

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

/// The report's reason of a worker that was told to stop before it was done.
pub const INTERRUPTED: &str = "Interrupted";

/// The report's reason while the worker is at it: whoever kills it leaves that word as the last.
pub const UNFINISHED: &str = "Unfinished";

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;
