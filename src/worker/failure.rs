//! Why a worker ends without a disk.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use vmdisk_format::{Error as FormatError, Refusal};
use vmdisk_wire::ExitClass;

use crate::shown;

/// Shorthand for results of this crate.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// The end of an attempt that did not succeed: the cause for machines, the sentence for humans.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The cause; it decides the exit class.
    pub reason: Reason,
    /// What was found, what was expected, what to do next. Never holds a credential.
    pub message: String,
    /// The server's wish for the time before the next attempt.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure for `reason` with its message, which loses what is too long or not for a terminal: whatever a stranger
    /// wrote may have found its way into it.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: shown::message(&message.into()), retry_after: None }
    }

    /// An image that the inspector or a decoder refuses.
    #[must_use]
    pub fn refused(refusal: &Refusal) -> Self {
        Self::new(Reason::Image(refusal.reason), refusal.to_string())
    }

    /// A decoding into `target` that failed: by the image, by the target, or by what a sink met with, on one of its
    /// threads perhaps, and wrapped in its own error.
    #[must_use]
    pub fn decoding(error: FormatError, target: &Path) -> Self {
        let source = match error {
            FormatError::Refused(refusal) => return Self::refused(&refusal),
            FormatError::Read { source, .. } => {
                // The image is read at its source, or where it was staged.
                return source.downcast().unwrap_or_else(|source| {
                    Self::new(Reason::TargetIo, format!("failed to read back the staged image: {source}"))
                });
            }
            FormatError::Changed { .. } => return Self::new(Reason::SourceChanged, error.to_string()),
            FormatError::Write { source, .. } => source,
            other => return Self::new(Reason::UnsupportedImage, other.to_string()),
        };
        let source = match source.downcast::<Self>() {
            Ok(failure) => return failure,
            Err(source) => source,
        };
        match source.downcast::<FormatError>() {
            Ok(error) => Self::decoding(error, target),
            Err(source) => Self::target("write to", target, &source),
        }
    }

    /// A failed operation on the target.
    #[must_use]
    pub fn target(action: &str, path: &Path, error: &std::io::Error) -> Self {
        // The room was checked before the first byte; a full target means somebody else writes there or the
        // storage lies about its size. A fresh volume may help, so it is an I/O failure like any other.
        let advice = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                "; the volume promised more room than its storage has: make room in the pool behind its StorageClass"
            }
            _ => "",
        };
        Self::new(Reason::TargetIo, format!("failed to {action} {}: {error}{advice}", path.display()))
    }

    /// The exit class that the reason stands for.
    #[must_use]
    pub fn class(&self) -> ExitClass {
        self.reason.class()
    }
}

/// Every cause of a failed attempt. The names are part of the contract: the report carries them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The job is contradictory or incomplete.
    BadJob,
    /// The URL cannot be read or has the wrong scheme.
    InvalidUrl,
    /// The Secret or the CA bundle cannot be read.
    InvalidSecret,
    /// The image names a Secret and it is not there.
    SecretMissing,
    /// The source wants credentials, or other ones.
    Unauthorized,
    /// The policy does not allow the source, or an address that it leads to.
    SourceNotAllowed,
    /// The server's certificate is signed by nobody whom we trust, or not valid now.
    Untrusted,
    /// A redirect that would leave TLS, or one of too many.
    BadRedirect,
    /// The source does not exist.
    NotFound,
    /// The image index has no entry for this platform.
    NoPlatform,
    /// No connection, or one that broke and could not be resumed.
    Connection,
    /// The server is overloaded or broken.
    ServerError,
    /// The server asked us to slow down.
    Throttled,
    /// The server's answer makes no sense.
    BadResponse,
    /// The object changed while, or since, it was read.
    SourceChanged,
    /// The worker was told to stop.
    Interrupted,
    /// The disk is larger than the claim's room.
    DoesNotFit,
    /// The scratch space is smaller than what has to be staged.
    ScratchTooSmall,
    /// Digest or checksum do not match.
    DigestMismatch,
    /// More or fewer bytes than the descriptor says.
    SizeMismatch,
    /// A volume that should hold a disk holds none.
    DiskMissing,
    /// The inspector or a decoder refuses the image, for the cause inside.
    Image(vmdisk_format::Reason),
    /// The image is packed in a way that is refused.
    UnsupportedImage,
    /// Not a well-formed compressed stream or archive.
    MalformedArchive,
    /// The container image or archive holds no disk, or more than one.
    NoDisk,
    /// A manifest that is not one.
    MalformedManifest,
    /// The decoded disk begins like another image format.
    NestedImage,
    /// The target could not be read or written.
    TargetIo,
    /// The block device could not be opened.
    DeviceNotWritable,
    /// The worker failed in a way that is its own fault.
    Internal,
}

impl Reason {
    /// The exit class of the reason.
    #[must_use]
    pub const fn class(self) -> ExitClass {
        match self {
            Self::BadJob | Self::InvalidUrl | Self::InvalidSecret => ExitClass::BadJob,
            Self::SecretMissing | Self::Unauthorized | Self::SourceNotAllowed | Self::Untrusted | Self::BadRedirect => {
                ExitClass::Denied
            }
            Self::NotFound | Self::NoPlatform => ExitClass::SourceMissing,
            Self::Connection
            | Self::ServerError
            | Self::Throttled
            | Self::BadResponse
            | Self::SourceChanged
            | Self::Interrupted
            | Self::Internal => ExitClass::Transient,
            Self::DoesNotFit | Self::ScratchTooSmall => ExitClass::DoesNotFit,
            Self::DigestMismatch | Self::SizeMismatch | Self::DiskMissing => ExitClass::VerificationFailed,
            Self::Image(_)
            | Self::UnsupportedImage
            | Self::MalformedArchive
            | Self::NoDisk
            | Self::MalformedManifest
            | Self::NestedImage => ExitClass::Malformed,
            Self::TargetIo | Self::DeviceNotWritable => ExitClass::TargetIo,
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Image(reason) => reason.fmt(f),
            // The variants' names are the words of the contract.
            other => write!(f, "{other:?}"),
        }
    }
}

#[cfg(test)]
#[path = "failure_tests.rs"]
mod tests;
