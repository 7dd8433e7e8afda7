//! What can be made to go wrong with one path, and the switches that tests turn.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// What to do with requests for one path; the default is nothing. Faults combine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own, and they combine freely")]
pub struct Fault {
    /// Applies to the first so many requests only (HEAD and GET alike); without it, to all.
    pub times: Option<u32>,
    /// Does not answer until the fault is released or removed.
    pub hold: bool,
    /// Stops before this offset of the file until the fault is released or removed.
    pub hold_at: Option<u64>,
    /// Breaks the connection before this offset of the file; a range that begins there, or a little before, gets
    /// through.
    pub cut_at: Option<u64>,
    /// Ends the body before this offset of the file as if that were all, with a Content-Length to match.
    pub truncate_at: Option<u64>,
    /// Flips every bit of the file's byte at this offset.
    pub corrupt_at: Option<u64>,
    /// Answers with this status and no file.
    pub status: Option<u16>,
    /// Sends this value in `Retry-After`.
    pub retry_after: Option<String>,
    /// Gives a different `ETag` and `Last-Modified` at each request, as if the file were replaced all the time.
    pub changing_etag: bool,
    /// Sends neither `ETag` nor `Last-Modified`.
    pub no_validators: bool,
    /// Ignores `Range`, and does not offer it.
    pub no_ranges: bool,
    /// Does not say how long the body is.
    pub no_length: bool,
    /// Sends the client to this URL with 302 (or `status`, when that is a redirection).
    pub redirect: Option<String>,
    /// Asks for these credentials.
    pub auth: Option<Auth>,
    /// Sends at most so many bytes a second.
    pub bytes_per_second: Option<u64>,
}

impl Fault {
    /// Stalls behind the first bytes: a worker has begun, and does not end before the fault is released or removed.
    #[must_use]
    pub fn stalling() -> Self {
        Self { hold_at: Some(1 << 20), ..Self::default() }
    }
}

/// Credentials that a path asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// RFC 7617.
    Basic {
        /// The user's name.
        username: String,
        /// The user's password.
        password: String,
    },
    /// RFC 6750.
    Bearer(String),
    /// RFC 6750, from a token service, as registries have it (Distribution specification, "Token Authentication").
    Token {
        /// The token.
        token: String,
        /// The URL of the token service: any that serves a JSON document with the token.
        realm: String,
    },
}

/// The faults of one server, by path.
#[derive(Default)]
pub(crate) struct Faults(Mutex<HashMap<String, Switch>>);

struct Switch {
    fault: Fault,
    left: Option<u32>,
    released: Arc<watch::Sender<bool>>,
}

/// A fault as one request meets it.
#[derive(Clone, Default)]
pub(crate) struct Met {
    pub(crate) fault: Fault,
    released: Option<watch::Receiver<bool>>,
}

impl Met {
    /// Ends when the fault is released or removed.
    pub(crate) async fn released(&self) {
        if let Some(mut released) = self.released.clone() {
            // An error means that the fault was removed, which releases it as well.
            let _ = released.wait_for(|released| *released).await;
        }
    }
}

impl Faults {
    /// The fault that a request for `path` meets, counted against its `times`.
    pub(crate) fn meet(&self, path: &str) -> Met {
        let mut switches = self.lock();
        let Some(switch) = switches.get_mut(path) else {
            return Met::default();
        };
        match &mut switch.left {
            Some(0) => return Met::default(),
            Some(left) => *left -= 1,
            None => {}
        }
        Met { fault: switch.fault.clone(), released: Some(switch.released.subscribe()) }
    }

    /// Sets the fault of `path`; a fault that was there is removed (and released).
    pub(crate) fn set(&self, path: &str, fault: Fault) {
        let switch = Switch { left: fault.times, fault, released: Arc::new(watch::Sender::new(false)) };
        self.lock().insert(path.to_owned(), switch);
    }

    /// Lets held requests for `path` go on; the rest of the fault stays. False when there is no fault.
    pub(crate) fn release(&self, path: &str) -> bool {
        match self.lock().get(path) {
            Some(switch) => {
                switch.released.send_replace(true);
                true
            }
            None => false,
        }
    }

    /// Removes the fault of `path`. False when there is none.
    pub(crate) fn remove(&self, path: &str) -> bool {
        self.lock().remove(path).is_some()
    }

    /// All faults that are set.
    pub(crate) fn all(&self) -> HashMap<String, Fault> {
        self.lock().iter().map(|(path, switch)| (path.clone(), switch.fault.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Switch>> {
        // The map is whole at every moment, whatever a panicking request did.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "fault_tests.rs"]
mod tests;
