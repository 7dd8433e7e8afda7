//! qcow2, by docs/interop/qcow2.txt in QEMU ("the specification" in this folder).
//!
//! ```text
//!              header ─▶ L1 table ─▶ L2 tables ─▶ clusters
//! stream.rs    in file order: each cluster is placed by a table that came before it, or waits in `orphans`
//! random.rs    in disk order: each table is read, then its clusters
//! ```
//!
//! Both share `header` (validated once, by the inspector), `table` (what an entry means) and `metadata` (what may not
//! be data). Refcounts and internal snapshots say nothing about the active disk and are skipped.

mod header;

pub use header::Header;
pub(crate) use header::{Extension, check_extension};

/// The format's name in messages.
const NAME: &str = "qcow2";
