//! The gate: the one place that decides which queued sync may run now.
//!
//! One task owns all permits ([`actor`]); what it does with them is a pure state machine ([`permits`]) on a pure rule
//! ([`schedule`]). Permits are keyed by the sync's UID and live in memory alone, because all they stand for is written
//! elsewhere: a permit is held for every sync that was admitted lately, and for every worker that may still run
//! ([`still_held`]). So a new leader finds them all by looking ([`permits::Permits::restore`]).
//!
//! ```text
//! request ─▶ queue, by (enqueuedAt, UID) ─▶ offered ── status written ─▶ held ── worker ended or gone ─▶ free
//!                        ▲                     │ not taken in time                                        │
//!                        └─────────────────────┘            wakes the head of the queue ◀─────────────────┘
//! ```

pub mod actor;
pub mod lanes;
pub mod permits;
pub mod schedule;

use jiff::Timestamp;
use populator_crd::v1alpha1::{SyncPhase, VMDiskSyncStatus};

pub use actor::{Gate, GateSettings};
pub use lanes::{Lane, Lanes};

use crate::{policy::Policy, sync::decide::start_left, worker::Worker};

/// Who may hold a permit, seen from the objects alone: a worker that may use network and volume, or a sync that was
/// admitted so lately that its worker may still be created. Nobody else, whatever state the rest is in: so a permit comes
/// back by itself, also where nobody asks for the sync any more.
#[must_use]
pub fn still_held(status: Option<&VMDiskSyncStatus>, worker: &Worker, policy: &Policy, now: Timestamp) -> bool {
    match worker {
        Worker::Absent => status.is_some_and(|status| {
            status.phase == Some(SyncPhase::Syncing)
                && status.filled_at.is_none()
                && start_left(status, policy, now).is_some()
        }),
        Worker::Starting { .. } | Worker::Running | Worker::Stopping => true,
        Worker::Ended(_) | Worker::Lost => false,
    }
}
