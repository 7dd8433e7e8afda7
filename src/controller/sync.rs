//! Syncs: one filling of one claim each, recorded in a `VMDiskSync`.
//!
//! ```text
//!            ┌────────────── due ───────────────┐
//!            ▼                                  │
//! (new) ─▶ Queued ── permit ─▶ Syncing ── failed ─▶ BackingOff
//!            ▲                    │  │
//!            │ image changed      │  └── final or exhausted ─▶ Failed
//!            └────────────────────┼───────────────────────────────┘
//!                                 └── the claim is bound ─▶ Succeeded        (claim gone, from anywhere ─▶ Cancelled)
//! ```
//!
//! [`decide`], [`verdict`] and [`transition`] are pure: what to do next, what other syncs know of the image, and what the
//! record then says. [`trials`] gives turns at an image that nobody was filled from yet, [`records`] reads and writes the
//! objects, [`progress`] follows workers' logs, [`history`] forgets.

pub mod backoff;
pub mod decide;
pub mod failure;
pub mod history;
mod lines;
pub mod progress;
pub mod records;
pub mod transition;
pub mod trials;
pub mod verdict;
