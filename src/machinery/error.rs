//! What ends a pass before its time.

use crate::populator::CallbackError;

/// Why a pass could not be finished; it is repeated with back-off.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call to the API server failed.
    #[error("failed to {what}")]
    Api {
        /// What was tried, for the log.
        what: &'static str,
        /// How it failed.
        #[source]
        source: Box<kube::Error>,
    },
    /// One of the populator's callbacks failed.
    #[error("failed to {callback}")]
    Callback {
        /// Which one.
        callback: &'static str,
        /// How it failed.
        #[source]
        source: CallbackError,
    },
    /// A pass did not come to its end: something that it asked for never answered.
    #[error("a pass was given up after {0:?}; a request to the API server or a callback did not come to an end")]
    PassTimeout(std::time::Duration),
    /// A watch ended that the machinery cannot work without.
    #[error("the watch of {0} ended; it should run as long as the process")]
    WatchEnded(&'static str),
}

impl Error {
    /// Somebody else wrote first: the next pass sees what they wrote and decides anew.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { source, .. }
            if matches!(&**source, kube::Error::Api(status) if status.code == 409))
    }

    /// The cause in one word, for metrics and logs.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Api { .. } if self.is_conflict() => "conflict",
            Self::Api { .. } => "api",
            Self::Callback { .. } => "callback",
            Self::PassTimeout(_) => "timeout",
            Self::WatchEnded(_) => "watch",
        }
    }
}

/// Names what was tried when a call fails.
pub(crate) trait Trying<T> {
    fn trying(self, what: &'static str) -> Result<T, Error>;
}

impl<T> Trying<T> for Result<T, kube::Error> {
    fn trying(self, what: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::Api { what, source: Box::new(source) })
    }
}
