//! vmdk in one file, by VMware's "Virtual Disk Format 5.0": a hosted sparse extent with its descriptor embedded.
//!
//! ```text
//! tables.rs   the grain directory comes first (monolithicSparse; streamOptimized by QEMU): each grain is placed by its
//!             grain table
//! stream.rs   the directory comes last (streamOptimized by VMware's tools and VirtualBox): each grain is placed by its
//! ledger.rs   marker, and the tables that follow must say the same
//! ```

mod ledger;
mod marker;
mod stream;
mod tables;

pub(crate) use marker::Marker;
pub(crate) use stream::MarkerStream;
pub(crate) use tables::GrainTables;

/// The format's name in messages.
const NAME: &str = "vmdk";
const SECTOR: u64 = 512;
/// The size of an entry in a grain directory or grain table: the number of a sector.
const ENTRY: u64 = 4;
