//! Files that were made to mislead, and why they must be refused.
//!
//! Every format has a writer here that shares no code with the decoders. It makes an image that must be accepted; each
//! hostile [`Case`] differs from it in one stated way, checksums made to fit, so that the refusal can only be for that.
//!
//! ```text
//!  qcow2 vmdk vdi vhd vhdx          headers at their extremes, tables that loop and overlap, other files' names
//!  foreign                          what only looks like a disk, and what looks like two
//!  compression archive              bombs, damaged and endless streams, links, devices, lying lengths
//! ```
//!
//! The corpus is judged against what it says itself: the exit class of the worker and the word that its message holds.

mod archive;
mod bytes;
mod case;
mod compression;
mod foreign;
mod group;
mod pack;
mod qcow2;
mod seed;
mod tar;
mod vdi;
mod vhd;
mod vhdx;
mod vmdk;

use std::{collections::BTreeMap, fs, io, path::Path};

pub use case::{Case, Class, Expected, Layer};
pub use seed::Target;

/// The room of the target that the corpus is made for, in bytes: what unpacks to more does not fit.
pub const ROOM: u64 = 64 << 20;

/// A path that hostile archives name. Nothing may ever be written there.
pub const ESCAPE: &str = "/tmp/vmdisk-corpus-escaped";

/// All of it, in a fixed order, with names that are unique.
#[must_use]
pub fn cases() -> Vec<Case> {
    [
        qcow2::cases(),
        vmdk::cases(),
        vdi::cases(),
        vhd::cases(),
        vhdx::cases(),
        foreign::cases(),
        compression::cases(),
        archive::cases(),
    ]
    .concat()
}

/// One hostile case of each group and class: enough to see that a refusal reaches the user.
#[must_use]
pub fn sample() -> Vec<Case> {
    let mut kinds: BTreeMap<_, Vec<Case>> = BTreeMap::new();
    for case in cases() {
        if let Expected::Refused { class, .. } = case.expected {
            kinds.entry((case.group, class)).or_default().push(case);
        }
    }
    // The first ones are much alike from group to group.
    kinds.into_values().map(|mut cases| cases.swap_remove(cases.len() / 2)).collect()
}

/// Writes every case as a file of its name into `directory`.
///
/// # Errors
///
/// The file system's.
pub fn write_to(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    cases().iter().try_for_each(|case| fs::write(directory.join(&case.name), case.bytes()))
}

#[cfg(test)]
mod tests;
