//! The gate: the one place that decides which queued sync may run now.
//!
//! One task owns all permits ([`actor`]); what it does with them is a pure state machine ([`permits`]) on a pure rule
//! ([`schedule`]). Permits are keyed by the sync's UID and live in memory alone, because all they stand for is written
//! elsewhere: a permit is held for every sync whose record says Syncing, and for every worker that may still run
//! ([`still_held`]). So a new leader finds them all by looking ([`permits::Permits::restore`]).
//!
//! ```text
//! request ─▶ queue, by (enqueuedAt, UID) ─▶ offered ── status written ─▶ held ── worker ended or gone ─▶ free
//!                        ▲                     │ not taken in time                                        │
//!                        └─────────────────────┘            wakes the head of the queue ◀─────────────────┘
//! ```

pub mod actor;
pub mod permits;
pub mod schedule;

use populator_crd::v1alpha1::SyncPhase;

pub use actor::{Gate, GateSettings};

use crate::worker::Worker;

/// Whether a sync holds a permit, seen from the objects alone: its worker may run, or is about to.
#[must_use]
pub fn still_held(phase: Option<SyncPhase>, worker: &Worker) -> bool {
    match worker {
        Worker::Absent => phase == Some(SyncPhase::Syncing),
        Worker::Starting { .. } | Worker::Running | Worker::Stopping => true,
        Worker::Ended(_) | Worker::Lost => false,
    }
}
