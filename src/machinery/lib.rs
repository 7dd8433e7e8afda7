//! The Kubernetes volume populator protocol as a library.
//!
//! A claim whose `spec.dataSourceRef` names an object of a kind that Kubernetes does not know stays Pending until
//! somebody binds it to a volume that holds what the object stands for. This crate does everything about that which is
//! the same for all kinds; what is not is a [`Populator`], three short callbacks.
//!
//! ```text
//!  observe ──▶ decide ──▶ build ──▶ apply        one pass over one claim, at most one risky write
//!  (I/O)       (pure)     (pure)    (I/O)
//!                │ asks
//!                └──▶ Populator: populate · complete · cleanup
//! ```
//!
//! For each claim a *prime* is made, a claim of the same size and class in the source's namespace. The populator's
//! worker fills the prime's volume; then the volume's `claimRef` is moved from the prime to the claim. The commit point
//! is that the claim is Bound to that volume, and only then is anything cleaned up.
//!
//! What holds at every moment, and whatever happens to any object or to this process:
//!
//! - A claim is never bound to a volume of ours that was not completely filled, and never gets a second one.
//! - No finalizer is put on anything; a delete by a user is never held up by us.
//! - No state is kept but in the cluster's own objects, so that a restart at any point goes on from there.
//!
//! # Permissions
//!
//! Claims: get, list, watch, create, delete, patch. Volumes: get, list, watch, patch. Pods: get, list, watch. Sources, `StorageClass`es,
//! `CSIDriver`s, `Node`s and `ReferenceGrant`s: list, watch (nodes: get too). `events.k8s.io` events: create;
//! core events: list (what a provisioner says of a prime).

mod apply;
mod build;
mod cache;
mod config;
mod controller;
mod decide;
mod error;
mod events;
mod grant;
mod grants;
mod matching;
mod metrics;
#[cfg(test)]
mod model;
mod names;
mod news;
mod notices;
mod observe;
mod observed;
mod pass;
mod placement;
mod places;
mod pods;
mod populator;
mod preflight;
mod prune;
mod quantity;
mod queue;
mod readable;
mod streams;
mod sweep;
mod worker;

pub use config::Config;
pub use controller::Machinery;
pub use error::Error;
pub use metrics::Metrics;
pub use names::{Keys, SELECTED_NODE, prime_name, worker_name};
pub use pods::pods_naming;
pub use populator::*;
pub use readable::watch_readable;
pub use worker::worker_pod;
