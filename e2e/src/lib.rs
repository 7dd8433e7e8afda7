//! The embedded cluster, and what the end-to-end tests share.
//!
//! - [`launcher`] brings a real Kubernetes up on this machine and takes it down again; `cargo xtask cluster` calls it.
//! - the other modules are small tools of both.

pub mod cache;
pub mod command;
pub mod environment;
pub mod instance;
pub mod launcher;
pub mod machine;
pub mod poll;
pub mod say;
pub mod servers;
pub mod vm;
