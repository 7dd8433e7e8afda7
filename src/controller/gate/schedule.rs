//! The rule: first in, first out, as many as the policy allows.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// A place in the queue. Syncs that came at the same microsecond are told apart by UID, so that the order is the same
/// for everybody who computes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// When the sync joined the queue (`status.enqueuedAt`).
    pub enqueued_at: Timestamp,
    /// The sync's UID.
    pub uid: String,
}

/// The places whose turn it is, with `in_use` permits given out of `limit`. More in use than the limit, as after the
/// limit was lowered, admits nobody and stops nobody.
pub fn admissible<T>(limit: usize, in_use: usize, queue: &BTreeMap<Place, T>) -> impl Iterator<Item = &Place> {
    queue.keys().take(limit.saturating_sub(in_use))
}
