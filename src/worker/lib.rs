//! Fetches, verifies, decodes and writes one disk image.
//!
//! ```text
//!  Job ──▶ source ──▶ blobs ──▶ pipeline: fetch → hash → unpack → decode ──▶ sink ──▶ disk.img or block device
//!           │                                                                  │
//!           └─ policy, credentials, redirects (http)                           └─ room: does it fit, how far it grows
//! ```
//!
//! The program does one piece of work and ends with a [`vmdisk_wire::Report`] and its exit class. It links no
//! Kubernetes: a controller gives it a [`vmdisk_wire::Job`], a human a command line.

mod aligned;
pub mod channel;
pub mod cli;
pub mod decode;
pub mod digest;
pub mod failure;
pub mod http;
mod opening;
pub mod pipeline;
pub mod policy;
pub mod progress;
pub mod redact;
mod remove;
pub mod report;
pub mod resume;
pub mod room;
mod shown;
pub mod sink;
pub mod source;
pub mod staging;
pub mod unpack;
pub mod work;
