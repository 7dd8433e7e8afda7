//! The embedded cluster, and what the end-to-end tests share.
//!
//! - [`launcher`] brings a real Kubernetes up on this machine and takes it down again; `cargo xtask cluster` calls it.
//! - [`servers`] serve what tests fetch, count what was asked for, and fail on request.
//! - `stage` (feature `cluster`) is a control plane of one test's own, for what needs no nodes.
//! - `testing` (feature `cluster`) is the harness of the tests that need a running cluster.
//! - [`machine`] does to the machine under the cluster what tests want to survive.
//! - the other modules are small tools of these.

pub mod bench;
pub mod cache;
pub mod command;
pub mod environment;
pub mod figures;
pub mod instance;
pub mod launcher;
pub mod machine;
pub mod poll;
pub mod say;
pub mod servers;
#[cfg(feature = "cluster")]
pub mod stage;
#[cfg(feature = "cluster")]
pub mod testing;
pub mod vm;
