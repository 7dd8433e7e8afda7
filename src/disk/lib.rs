//! Inspects and decodes VM disk images: raw, qcow2, vmdk, vdi, vhd and vhdx.
//!
//! Pure decoding over slices and traits: no network, no file is ever opened, and so an image that names other files
//! has nobody to ask for them. Nothing in an image is trusted: every length is bounded before it is used.
//!
//! ```text
//!            first bytes                      every byte, in order
//!  stream ──▶ inspect_prefix ──▶ Inspection ──▶ Decoder::push … finish ──▶ Sink::write(offset, data)
//!                  │ Refusal                        │ NeedsRandomAccess          (no zeros, no holes)
//!                  ▼                                ▼
//!               refused           the rest, staged ──▶ Decoder::finish_at ──▶ Sink
//!
//!  staged file (ReadAt) ──▶ inspect_reader ──▶ Inspection ──▶ decode_at ──▶ Sink
//! ```
//!
//! - [`inspect`](inspect_reader) is the gate: nothing may touch an image before it has passed.
//! - [`Decoder`] takes a stream once, in file order, in bounded memory.
//! - [`decode_at`] takes what can be read at any offset.
//!
//! # Memory
//!
//! A qcow2 stream keeps the L1 table (8 bytes for each 512 MiB of disk at 64 KiB clusters), one L2 table (a cluster),
//! and one entry of 24 bytes for each run of clusters whose place is known and whose data is still to come. A run ends
//! where either side of the mapping jumps: an image that was written in order needs one entry for each L2 table, 48 KiB
//! for each TiB. The worst case, every cluster somewhere else and all tables before the data, is 384 MiB for each TiB;
//! [`Options::map_limit`] bounds it. [`Options::orphan_window`] bounds the data that came before its L2 table. What
//! goes beyond either bound is decoded from the staged rest of the image, one L2 table at a time.
//!
//! The tables of vdi, vhd, vhdx and vmdk are read in parts of 64 KiB. An entry is kept for each run of blocks whose data
//! is still to come, or for each block where a block is more than its data, as a compressed grain is. It takes one byte
//! where the image was written in the order of the disk, a few where that leaves blocks out, and 24 where it was not: 16
//! MiB for each TiB of grains in order, 384 MiB at worst, and 12 MiB for each TiB of vhd at worst. A vmdk with its
//! directory at the end needs 40 bytes for each of its grain tables.

mod aligner;
mod compressed;
mod decoder;
mod error;
mod extents;
mod inspect;
mod io;
mod qcow2;
mod raw;
#[cfg(test)]
mod testing;
mod vdi;
mod vhd;
mod vhdx;
mod vmdk;
pub mod zero;

use std::fmt;

pub use compressed::{Codec, CompressedCluster, Inflater};
pub use decoder::{Decoder, Options, decode_at};
pub use error::{Error, Reason, Refusal};
pub use inspect::{
    Details, Inspection, MAX_PREFIX, RawContent, Scope, VdiHeader, Verdict, VhdHeader, VhdType, VhdxHeader, VmdkHeader,
    VmdkSubformat, inspect_prefix, inspect_reader,
};
pub use io::{ReadAt, Sink, Summary};
pub use qcow2::Header as Qcow2Header;

/// A disk image format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The bytes of the disk as they are.
    Raw,
    /// QEMU copy-on-write, version 2 or 3.
    Qcow2,
    /// VMware disk in one file (`monolithicSparse`, `streamOptimized`).
    Vmdk,
    /// VirtualBox disk, dynamic or static.
    Vdi,
    /// Microsoft virtual hard disk, fixed or dynamic (`vpc` to QEMU).
    Vhd,
    /// Hyper-V virtual hard disk, version 2.
    Vhdx,
}

impl Format {
    /// The name, as users of this project write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vdi => "vdi",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
        }
    }

    /// The name that QEMU gives to the format's driver.
    #[must_use]
    pub fn qemu_driver(self) -> &'static str {
        match self {
            Self::Vhd => "vpc",
            other => other.as_str(),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
