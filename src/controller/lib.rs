//! The VM disk populator: fills claims from `VMDiskImage`s, as many at once as the policy allows, in the order in which
//! they came.
//!
//! ```text
//!             machinery (crate volume-populator)
//!                 │ populate · complete · cleanup
//!                 ▼
//! policy ──▶ populator ──▶ sync::decide (pure) ──▶ sync::transition (pure) ──▶ VMDiskSync
//!                 │  ▲          ▲
//!                 │  └─ permits ┤ gate                      observer ──▶ wakes claims, frees permits,
//!                 ▼             │ worker (pure)                          images' statuses, progress
//!             pod (pure) ──▶ worker pod ──────── watched ──────▶ ┘
//! ```
//!
//! Whatever is decided is decided in a pure function, from objects alone; [`runtime`] keeps the process.

pub mod cache;
pub mod conditions;
pub mod gate;
pub mod golden;
pub mod image;
pub mod ledger;
pub mod observer;
pub mod pod;
pub mod policy;
pub mod populator;
pub mod registration;
pub mod route;
pub mod runtime;
pub mod source_facts;
pub mod sync;
pub mod worker;
pub mod world;

#[cfg(test)]
mod api_server;
