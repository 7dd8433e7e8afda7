//! What every path was asked for, and what was sent.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// How many requests of one path are remembered one by one.
const LOG: usize = 1000;

/// The account of one path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Requests that arrived.
    pub requests: u64,
    /// Bytes of bodies that were handed to the network.
    pub bytes: u64,
    /// Requests that are being answered now.
    pub open: u64,
    /// Requests that a fault holds now, before the answer or inside the body.
    pub held: u64,
    /// Each request in order of arrival, up to a thousand.
    pub log: Vec<Seen>,
}

/// One request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// GET, HEAD, …
    pub method: String,
    /// The `Range` header.
    pub range: Option<String>,
    /// The `If-Match` or `If-Range` header.
    pub precondition: Option<String>,
    /// The host that the client asked for.
    pub host: String,
    /// Whether the request carried credentials.
    pub authorized: bool,
    /// The answer's status; 0 until there is one.
    pub status: u16,
    /// Bytes of the body that were handed to the network.
    pub bytes: u64,
    /// When it arrived, in milliseconds since the server began.
    pub at_ms: u64,
}

/// The accounts of one server.
pub(crate) struct Counts {
    began: Instant,
    paths: Mutex<BTreeMap<String, Count>>,
}

impl Default for Counts {
    fn default() -> Self {
        Self { began: Instant::now(), paths: Mutex::default() }
    }
}

/// One request's entry in the account.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    path: String,
    index: usize,
}

impl Counts {
    /// Notes that a request arrived.
    pub(crate) fn arrive(&self, path: &str, mut seen: Seen) -> Entry {
        seen.at_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut counts = self.lock();
        let count = counts.entry(path.to_owned()).or_default();
        count.requests += 1;
        count.open += 1;
        let index = count.log.len();
        if index < LOG {
            count.log.push(seen);
        }
        Entry { path: path.to_owned(), index }
    }

    /// Notes the answer's status.
    pub(crate) fn status(&self, entry: &Entry, status: u16) {
        self.change(entry, |_, seen| seen.status = status);
    }

    /// Notes bytes of the body.
    pub(crate) fn sent(&self, entry: &Entry, bytes: u64) {
        self.change(entry, |count, seen| {
            count.bytes += bytes;
            seen.bytes += bytes;
        });
    }

    /// Notes that a fault holds the request, or holds it no more.
    pub(crate) fn held(&self, entry: &Entry, held: bool) {
        self.change(entry, |count, _| {
            count.held = if held { count.held + 1 } else { count.held.saturating_sub(1) };
        });
    }

    /// Notes that the request is over.
    pub(crate) fn leave(&self, entry: &Entry) {
        self.change(entry, |count, _| count.open = count.open.saturating_sub(1));
    }

    /// The accounts of the paths that begin with `prefix`.
    pub(crate) fn below(&self, prefix: &str) -> BTreeMap<String, Count> {
        let counts = self.lock();
        counts.iter().filter(|(path, _)| path.starts_with(prefix)).map(|(p, c)| (p.clone(), c.clone())).collect()
    }

    fn change(&self, entry: &Entry, change: impl FnOnce(&mut Count, &mut Seen)) {
        let mut counts = self.lock();
        if let Some(count) = counts.get_mut(&entry.path) {
            // Behind the remembered ones there is still the sum.
            let mut seen = count.log.get(entry.index).cloned().unwrap_or_default();
            change(count, &mut seen);
            if let Some(place) = count.log.get_mut(entry.index) {
                *place = seen;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Count>> {
        // Sums stay whole whatever a panicking request did.
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
