//! The corpus as seeds of fuzz targets.
//!
//! A fuzzer works best on little that all matters. So images that are mostly payload are kept as their structures alone,
//! and what a fuzzer makes of those is spread out again, with checksums that fit.

use std::{fs, io, ops::Range, path::Path};

use crate::{Case, Layer, cases, tar, vhd, vhdx};

/// What is fuzzed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of formats say all there is to say")]
pub enum Target {
    /// The inspectors alone, on anything.
    Inspect,
    Raw,
    Qcow2,
    Vmdk,
    Vdi,
    Vhd,
    Vhdx,
    Tar,
    Gzip,
    Zstd,
    Xz,
    Bzip2,
}

/// No image grows beyond this.
const MAX_LENGTH: u32 = 6 << 20;
/// Seeds beyond this only slow the fuzzer down.
const MAX_SEED: usize = 256 << 10;
/// The length of the image stands first.
const PREFIX: usize = 4;

impl Target {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Inspect,
        Self::Raw,
        Self::Qcow2,
        Self::Vmdk,
        Self::Vdi,
        Self::Vhd,
        Self::Vhdx,
        Self::Tar,
        Self::Gzip,
        Self::Zstd,
        Self::Xz,
        Self::Bzip2,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Inspect => "inspect",
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vdi => "vdi",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
            Self::Tar => "tar",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
        }
    }

    /// The bytes that a file of the format begins with; without them, it would be fuzzed as another.
    fn magic(self) -> (usize, &'static [u8]) {
        match self {
            Self::Inspect | Self::Raw | Self::Tar | Self::Vhd => (0, b""),
            Self::Qcow2 => (0, b"QFI\xfb"),
            Self::Vmdk => (0, b"KDMV"),
            Self::Vdi => (0x40, b"\x7f\x10\xda\xbe"),
            Self::Vhdx => (0, b"vhdxfile"),
            Self::Gzip => (0, b"\x1f\x8b\x08"),
            Self::Zstd => (0, b"\x28\xb5\x2f\xfd"),
            Self::Xz => (0, b"\xfd7zXZ\0"),
            Self::Bzip2 => (0, b"BZh1"),
        }
    }

    /// Where the structures lie; none where everything is one.
    fn structures(self) -> Vec<Range<usize>> {
        const KIB: usize = 1 << 10;
        const MIB: usize = 1 << 20;
        match self {
            Self::Vdi => vec![0..1024, 1024..1088, 1024 + MIB..1088 + MIB],
            Self::Vhd => {
                let block = 512 + 512 * KIB;
                let second = 2048 + block;
                // The fixed disk's footer, too.
                vec![0..2048, 2048..2592, second..second + 544, second + block..second + block + 512, MIB..MIB + 512]
            }
            Self::Vhdx => {
                let tables = [64, 128].map(|at| at * KIB..at * KIB + 128);
                let regions = [192, 256].map(|at| at * KIB..at * KIB + 128);
                let metadata = [3 * MIB..3 * MIB + 256, 3 * MIB + 64 * KIB..3 * MIB + 64 * KIB + 64];
                let rest = [2 * MIB..2 * MIB + 64, 4 * MIB..4 * MIB + 64, 5 * MIB..5 * MIB + 64];
                tables.into_iter().chain(regions).chain(metadata).chain(rest).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether a case is a seed.
    fn takes(self, case: &Case) -> bool {
        match self {
            // The others' seeds hold the larger ones in short.
            Self::Inspect => case.layer == Layer::Image,
            Self::Raw => case.group == "raw",
            Self::Qcow2 => matches!(case.group, "qcow2" | "polyglot" | "nested"),
            _ => case.group == self.name(),
        }
    }

    /// Writes the seeds as files into `directory`.
    ///
    /// # Errors
    ///
    /// The file system's.
    pub fn write_seeds(self, directory: &Path) -> io::Result<()> {
        fs::create_dir_all(directory)?;
        for case in cases().iter().filter(|case| self.takes(case)) {
            let seed = self.compact(&case.bytes());
            if seed.len() <= MAX_SEED {
                fs::write(directory.join(&case.name), seed)?;
            }
        }
        Ok(())
    }

    /// The input that [`Target::expand`] makes a file of.
    fn compact(self, file: &[u8]) -> Vec<u8> {
        let structures = self.structures();
        if structures.is_empty() {
            return file.to_vec();
        }
        let length = u32::try_from(file.len()).unwrap_or(u32::MAX);
        let mut input = length.to_le_bytes().to_vec();
        for place in structures {
            let there = file.get(place.start.min(file.len())..place.end.min(file.len())).unwrap_or_default();
            input.extend(there);
            input.resize(input.len() + place.len() - there.len(), 0);
        }
        input
    }

    /// The file that a fuzzer's input stands for.
    #[must_use]
    pub fn expand(self, input: &[u8]) -> Vec<u8> {
        let structures = self.structures();
        let mut file = match input.split_first_chunk::<PREFIX>() {
            Some((length, rest)) if !structures.is_empty() => {
                let length = u32::from_le_bytes(*length).min(MAX_LENGTH);
                spread(rest, usize::try_from(length).unwrap_or_default(), structures)
            }
            _ => input.to_vec(),
        };
        let (at, magic) = self.magic();
        if let Some(place) = file.get_mut(at..at + magic.len()) {
            place.copy_from_slice(magic);
        }
        match self {
            Self::Vhd => vhd::seal_all(&mut file),
            Self::Vhdx => vhdx::seal(&mut file),
            Self::Tar => tar::seal_all(&mut file),
            _ => {}
        }
        file
    }
}

/// Puts the structures back where they belong in a file of `length` bytes.
fn spread(mut input: &[u8], length: usize, structures: Vec<Range<usize>>) -> Vec<u8> {
    let mut file = vec![0; length];
    for place in structures {
        let (structure, rest) = input.split_at(place.len().min(input.len()));
        if let Some(there) = file.get_mut(place.start..) {
            let fits = structure.len().min(there.len());
            there[..fits].copy_from_slice(&structure[..fits]);
        }
        input = rest;
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Expected;

    #[test]
    fn what_is_kept_short_is_still_the_same_kind_of_image() {
        for target in [Target::Vdi, Target::Vhd, Target::Vhdx] {
            let case = cases().into_iter().find(|case| target.takes(case) && case.expected == Expected::Disk);
            let file = case.expect("an image that is accepted").bytes();
            let seed = target.compact(&file);
            assert!(seed.len() < 5000, "{target:?}: {}", seed.len());
            let again = target.expand(&seed);
            assert_eq!(again.len(), file.len());
            for place in target.structures() {
                assert_eq!(again.get(place.clone()), file.get(place.clone()), "{target:?}: {place:?}");
            }
        }
    }

    #[test]
    fn every_target_has_seeds() {
        let cases = cases();
        for target in Target::ALL {
            assert!(cases.iter().any(|case| target.takes(case)), "{target:?}");
        }
    }
}
