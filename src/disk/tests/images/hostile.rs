//! Damaged and malicious images: no panic, no hang, no byte outside the disk, and the same verdict by every route.

use std::{io, sync::LazyLock};

use proptest::prelude::*;
use vmdisk_corpus::{Class, Expected, Layer};
use vmdisk_format::{Details, Options, Reason, Refusal, Sink, decode_at, inspect_reader};

use crate::support::{
    qemu::{Images, text},
    routes::{Outcome, check},
    sample_disk,
    writer::{Cluster, Plan},
};

/// Valid, and yet too much for the QEMU of this machine.
const QEMU_REFUSES: [&str; 1] = ["vhdx-damaged-one-region-table"];

/// QEMU delivers sectors that a block's bitmap calls never written, which the specification does not.
const QEMU_DIFFERS: [&str; 1] = ["vhd-dynamic-sectors-not-in-use"];

/// Runs an image through everything. Gives the refusal, if it is one.
fn refusal(image: &[u8]) -> Option<Refusal> {
    match check(image, 10_000, usize::MAX) {
        Outcome::Refused(refusal) => Some(refusal),
        Outcome::Disk | Outcome::Undecided => None,
    }
}

/// The cause of the refusal.
fn run(image: &[u8]) -> Option<Reason> {
    refusal(image).map(|refusal| refusal.reason)
}

fn plan(version: u32, cluster_bits: u32, extended: bool) -> Plan {
    let kinds = (0..60).map(|seed| {
        let cluster = match seed % 5 {
            0 => Cluster::Compressed { seed },
            1 if version == 3 => Cluster::Zero { allocated: true },
            2 if extended => Cluster::Parts { allocated: 0x00ff_1234, zero: 0xff00_0000, seed },
            3 => Cluster::Shared,
            _ => Cluster::Data { seed },
        };
        (seed % 3, cluster)
    });
    Plan {
        version,
        cluster_bits,
        extended,
        zstd: version == 3 && cluster_bits == 12,
        clusters: kinds.collect(),
        tail: -100,
        leaked: 2,
        order: u64::from(cluster_bits % 2),
    }
}

/// One small image of each kind, and where its structures lie.
static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut seeds: Vec<_> = [(3, 9, false), (2, 9, false), (3, 12, false), (3, 14, true)]
        .map(|(version, bits, extended)| plan(version, bits, extended).write().0)
        .into();
    let images = Images::new();
    let raw = images.write("disk.raw", &sample_disk(300 << 10, 3));
    for (format, options) in [
        ("vmdk", "subformat=monolithicSparse"),
        ("vmdk", "subformat=streamOptimized"),
        ("vdi", "static=off"),
        ("vpc", "subformat=dynamic"),
        ("vpc", "subformat=fixed"),
        ("vhdx", "block_size=1M"),
    ] {
        let path = images.path("image");
        let mut arguments = vec!["convert", "-f", "raw", "-O", format, text(&raw), text(&path)];
        if format != "vdi" {
            arguments.splice(1..1, ["-o", options]);
        }
        images.qemu_img(&arguments);
        seeds.push(std::fs::read(&path).expect("readable"));
    }
    seeds
});

#[test]
fn the_seeds_pass() {
    for (index, seed) in SEEDS.iter().enumerate() {
        assert_eq!(run(seed), None, "{index}: {:?}", inspect_reader(&&seed[..]).err());
    }
}

#[test]
fn the_corpus_is_refused_by_the_names_of_its_fields() {
    let mut failures = Vec::new();
    for case in vmdisk_corpus::cases() {
        if case.layer != Layer::Image {
            continue;
        }
        let found = refusal(&case.bytes());
        match (&case.expected, found) {
            (Expected::Disk | Expected::Refused { class: Class::DoesNotFit, .. }, None) => {}
            (Expected::Refused { class: Class::Malformed, names }, Some(refusal))
                if refusal.to_string().contains(names) => {}
            (_, found) => failures.push(format!("{case:?}: {found:?}")),
        }
    }
    assert!(failures.is_empty(), "{}:\n{}", failures.len(), failures.join("\n"));
}

/// A disk in memory.
struct Memory(Vec<u8>);

impl Sink for Memory {
    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset).expect("small");
        self.0[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }
}

#[test]
fn what_the_corpus_calls_a_disk_is_the_same_disk_to_qemu() {
    let images = Images::new();
    let disks = vmdisk_corpus::cases().into_iter().filter(|case| case.expected == Expected::Disk);
    let named = |names: &[&str], case: &vmdisk_corpus::Case| names.contains(&&*case.name);
    for case in disks.filter(|case| case.layer == Layer::Image && !named(&QEMU_REFUSES, case)) {
        let bytes = case.bytes();
        let inspection = inspect_reader(&&bytes[..]).expect("a disk");
        let expected = images.reference(inspection.format.qemu_driver(), &images.write("image", &bytes));
        let size = usize::try_from(inspection.virtual_size.expect("known")).expect("small");
        let mut disk = Memory(vec![0; size]);
        decode_at(&inspection, &Options::default(), &&bytes[..], &mut disk).expect("a disk");
        let same = disk.0 == expected;
        assert_eq!(same, !named(&QEMU_DIFFERS, &case), "{case:?}");
    }
}

/// A value at one of its extremes, in one of the sizes that fields have.
fn extreme() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        Just(0_u64),
        Just(1),
        Just(u64::MAX),
        Just(1 << 63),
        Just(1 << 31),
        Just(0x7fff_ffff),
        any::<u64>(),
        (0_u32..64).prop_map(|bit| 1 << bit),
    ];
    (value, prop::sample::select(vec![1_usize, 2, 4, 8]), any::<bool>()).prop_map(|(value, length, big)| {
        if big { value.to_be_bytes()[8 - length..].to_vec() } else { value.to_le_bytes()[..length].to_vec() }
    })
}

/// Offsets: the head of the image, the head of any of its 512-byte sectors, its end, anywhere.
fn position(length: usize, index: prop::sample::Index, kind: u8) -> usize {
    match kind {
        0..4 => index.index(length.min(512)),
        4 | 5 => index.index(length / 512) * 512 + index.index(64),
        6 => length - 1 - index.index(length.min(1600)),
        _ => index.index(length),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn damage_is_refused_or_harmless(
        seed in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..8, extreme()), 1..4),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        let mut image = SEEDS[seed.index(SEEDS.len())].clone();
        for (index, kind, bytes) in changes {
            let at = position(image.len(), index, kind);
            let end = image.len().min(at + bytes.len());
            image[at..end].copy_from_slice(&bytes[..end - at]);
        }
        if let Some(cut) = cut {
            image.truncate(cut.index(image.len()));
        }
        run(&image);
    }
}

/// An image with one 64-bit field changed.
fn changed(plan: &Plan, offset: usize, value: &[u8]) -> Vec<u8> {
    let mut image = plan.write().0;
    image[offset..offset + value.len()].copy_from_slice(value);
    image
}

#[test]
fn qcow2_header_fields_at_their_extremes() {
    let plan = Plan { order: 0, ..plan(3, 9, false) };
    let be32 = |value: u32| value.to_be_bytes().to_vec();
    let be64 = |value: u64| value.to_be_bytes().to_vec();
    for (field, offset, value, expected) in [
        ("version", 4, be32(1), Reason::UnsupportedFormat),
        ("version", 4, be32(4), Reason::BadHeader),
        ("backing_file_offset", 8, be64(1), Reason::BackingFile),
        ("backing_file_offset", 8, be64(u64::MAX), Reason::BackingFile),
        ("cluster_bits", 20, be32(8), Reason::BadHeader),
        ("cluster_bits", 20, be32(22), Reason::BadHeader),
        ("cluster_bits", 20, be32(u32::MAX), Reason::BadHeader),
        ("size", 24, be64(0), Reason::Empty),
        ("size", 24, be64(u64::MAX), Reason::TooLarge),
        ("size", 24, be64(i64::MAX as u64), Reason::BadHeader),
        ("crypt_method", 32, be32(1), Reason::Encrypted),
        ("crypt_method", 32, be32(2), Reason::Encrypted),
        ("l1_size", 36, be32(0), Reason::BadHeader),
        ("l1_size", 36, be32((32 << 20) / 8 + 1), Reason::TooLarge),
        ("l1_size", 36, be32(u32::MAX), Reason::TooLarge),
        ("l1_table_offset", 40, be64(0), Reason::Overlap),
        ("l1_table_offset", 40, be64(513), Reason::BadHeader),
        ("l1_table_offset", 40, be64(512), Reason::Overlap),
        ("l1_table_offset", 40, be64(u64::MAX - 511), Reason::BadHeader),
        ("l1_table_offset", 40, be64(1 << 40), Reason::Truncated),
        ("refcount_table_offset", 48, be64(0), Reason::Overlap),
        ("refcount_table_offset", 48, be64(100), Reason::BadHeader),
        ("refcount_table_clusters", 56, be32(0), Reason::BadHeader),
        ("refcount_table_clusters", 56, be32(u32::MAX), Reason::TooLarge),
        ("nb_snapshots", 60, be32(65537), Reason::TooLarge),
        ("incompatible: corrupt", 72, be64(2), Reason::Corrupt),
        ("incompatible: data file", 72, be64(4), Reason::DataFile),
        ("incompatible: compression", 72, be64(8), Reason::BadHeader),
        ("incompatible: extended L2", 72, be64(16), Reason::BadHeader),
        ("incompatible: unknown", 72, be64(32), Reason::UnsupportedFeature),
        ("incompatible: unknown", 72, be64(1 << 63), Reason::UnsupportedFeature),
        ("autoclear_features: raw data file", 88, be64(2), Reason::DataFile),
        ("refcount_order", 96, be32(7), Reason::BadHeader),
        ("header_length", 100, be32(96), Reason::BadHeader),
        ("header_length", 100, be32(105), Reason::BadHeader),
        ("header_length", 100, be32(520), Reason::BadHeader),
        ("header_length", 100, be32(u32::MAX - 7), Reason::BadHeader),
        ("compression_type", 104, vec![1], Reason::BadHeader),
        ("extension: data file", 112, be32(0x4441_5441), Reason::DataFile),
        ("extension: encryption", 112, be32(0x0537_be77), Reason::Encrypted),
        ("extension length", 112, be64(0x1234_5678_ffff_ffff), Reason::BadHeader),
    ] {
        let image = changed(&plan, offset, &value);
        assert_eq!(run(&image), Some(expected), "{field} = {value:02x?}");
    }
    for (field, offset, value) in [
        ("dirty", 72, be64(1)),
        ("compatible_features", 80, be64(u64::MAX)),
        ("autoclear_features", 88, be64(u64::MAX - 2)),
        ("refcount_order", 96, be32(6)),
        ("header_length", 100, be32(104)),
        ("an unknown extension", 112, be64(0x1234_5678_0000_0009)),
    ] {
        assert_eq!(run(&changed(&plan, offset, &value)), None, "{field}");
    }
}

#[test]
fn qcow2_tables_that_mislead() {
    let plan = Plan {
        version: 3,
        cluster_bits: 9,
        extended: false,
        zstd: false,
        clusters: (0..130).map(|seed| (0, Cluster::Data { seed })).collect(),
        tail: 0,
        leaked: 0,
        order: 0,
    };
    let (image, _) = plan.write();
    let Details::Qcow2(header) = inspect_reader(&&image[..]).expect("valid").details else {
        panic!("qcow2");
    };
    let l1 = usize::try_from(header.l1_offset).expect("small");
    let entry = |at: usize| u64::from_be_bytes(image[at..at + 8].try_into().expect("8 bytes"));
    let l2 = usize::try_from(entry(l1) & !(1 << 63)).expect("small");
    let eof = (image.len() as u64).next_multiple_of(512);
    for (case, at, value, expected) in [
        ("L2 table in the header", l1, 0, None),
        ("L2 table shared", l1 + 8, entry(l1), Some(Reason::Overlap)),
        ("L2 table in the L1 table", l1, l1 as u64, Some(Reason::Overlap)),
        ("L2 table in the refcount table", l1, header.refcount_table_offset, Some(Reason::Overlap)),
        ("L2 table unaligned", l1, entry(l1) + 8, Some(Reason::BadTable)),
        ("L2 table behind the end", l1, eof, Some(Reason::Truncated)),
        ("reserved bit in L1", l1, entry(l1) | 1 << 60, Some(Reason::BadTable)),
        ("data in the L1 table", l2, l1 as u64, Some(Reason::Overlap)),
        ("data in its L2 table", l2, l2 as u64, Some(Reason::Overlap)),
        ("data behind the end", l2, eof, Some(Reason::Truncated)),
        ("data far behind the end", l2, 1 << 55, Some(Reason::Truncated)),
        ("reserved bit in L2", l2, entry(l2) | 1 << 57, Some(Reason::BadTable)),
        ("reserved low bit in L2", l2, entry(l2) | 1 << 4, Some(Reason::BadTable)),
        ("compressed data in the header", l2, 1 << 62 | 8, Some(Reason::Overlap)),
        ("compressed data behind the end", l2, 1 << 62 | (eof + 99), Some(Reason::Truncated)),
        ("compressed data that is none", l2, 1 << 62 | entry(l2 + 8) & !(1 << 63), Some(Reason::BadData)),
        ("zero", l2, 1, None),
        ("unallocated", l2, 0, None),
    ] {
        let mut image = image.clone();
        image[at..at + 8].copy_from_slice(&value.to_be_bytes());
        assert_eq!(run(&image), expected, "{case}");
    }
}
