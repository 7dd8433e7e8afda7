//! qcow2, by docs/interop/qcow2.txt in QEMU ("the specification" in this folder).
//!
//! ```text
//!              header ─▶ L1 table ─▶ L2 tables ─▶ clusters
//! stream.rs    in file order: each cluster is placed by a table that came before it, or waits among the orphans
//! random.rs    in the order of the L2 tables: each table is read, then its clusters
//! ```
//!
//! Both share `header` (validated once, by the inspector), `table` (what an entry means) and `layout` (what may not be
//! data). Refcounts and internal snapshots say nothing about the active disk and are skipped.

mod foresight;
mod header;
mod layout;
mod orphans;
mod queue;
mod random;
mod runs;
mod stream;
mod table;

pub use header::Header;
pub(crate) use header::{Extension, check_extension};
pub(crate) use random::decode_at;
pub(crate) use stream::Qcow2Stream;

/// The format's name in messages.
const NAME: &str = "qcow2";
