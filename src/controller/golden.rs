//! Golden data: an image is fetched once, into a master that nobody is ever handed, and claims are cut from it.
//!
//! ```text
//! image ─▶ plan (what can its class cut?) ─▶ resolve (inspector: what is the source now?) ─▶ key
//!                                                                                            │
//!        ┌───────────────────────────────────────────────────────────────────────────────────┘
//!        ▼
//!   master claim ── filled by the machinery, like any claim ──▶ snapshot ── ready ──▶ Current ─▶ golden claim <name>
//!   (<name>-<key>)                                              (<name>-<key>)               ─▶ VolumeSnapshot <name>
//! ```
//!
//! The record of all this is the master's `VMDiskSync` (`status.golden`), which outlives what it tells of. [`plan`],
//! [`resolve`] and [`decide`] are pure; [`observe`] reads live what they need, [`apply`] writes one thing a pass, and
//! [`reconciler`] asks again whenever something changed. What an image's claims and status need to know of it is in
//! [`told`].

pub mod apply;
pub mod decide;
pub mod key;
pub mod objects;
pub mod observe;
pub mod plan;
pub mod reconciler;
pub mod resolve;
pub mod snapshot;
pub mod told;
