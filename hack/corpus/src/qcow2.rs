//! qcow2, by docs/interop/qcow2.txt of QEMU.

use std::io::Write as _;

use crate::{
    bytes::{Field, noise, put, text},
    case::{Case, Layer},
    group::Group,
};

/// The clusters of the image, in order.
const REFCOUNT_TABLE: usize = 1;
const REFCOUNT_BLOCK: usize = 2;
const L1: usize = 3;
const L2: usize = 4;
const DATA: usize = 6;
const PACKED: usize = 9;
const CLUSTERS: usize = 10;

const COMPRESSED: u64 = 1 << 62;
const COPIED: u64 = 1 << 63;

/// The kind of a base image: a disk that two L2 tables cover, with three plain clusters and a compressed one.
#[derive(Clone, Copy)]
struct Kind {
    version: u32,
    bits: u32,
    zstd: bool,
    extended: bool,
}

const V3: Kind = Kind { version: 3, bits: 12, zstd: false, extended: false };
const V2: Kind = Kind { version: 2, ..V3 };
const ZSTD: Kind = Kind { zstd: true, ..V3 };
const EXTENDED: Kind = Kind { bits: 14, extended: true, ..V3 };

impl Kind {
    fn cluster(self) -> usize {
        1 << self.bits
    }

    fn at(self, cluster: usize) -> u64 {
        (cluster * self.cluster()) as u64
    }

    fn entry_size(self) -> usize {
        if self.extended { 16 } else { 8 }
    }

    /// How much of the disk an L2 table covers.
    fn reach(self) -> u64 {
        (self.cluster() / self.entry_size() * self.cluster()) as u64
    }

    fn l1_entry(self, index: usize) -> usize {
        L1 * self.cluster() + 8 * index
    }

    fn l2_entry(self, index: usize) -> usize {
        L2 * self.cluster() + self.entry_size() * index
    }

    /// A "Compressed Clusters Descriptor".
    fn packed_entry(self, offset: u64, length: usize) -> u64 {
        let further = (offset % 512 + length as u64 - 1) / 512;
        COMPRESSED | further << (62 - (self.bits - 8)) | offset
    }

    fn pack(self, data: &[u8]) -> Vec<u8> {
        if self.zstd {
            return zstd::bulk::compress(data, 3).expect("compressed");
        }
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(data).and_then(|()| encoder.finish()).expect("in memory")
    }

    fn image(self) -> Vec<u8> {
        let mut image = vec![0; CLUSTERS * self.cluster()];
        self.header(&mut image);
        let table = REFCOUNT_TABLE * self.cluster();
        put(&mut image, table, &self.at(REFCOUNT_BLOCK).to_be_bytes());
        for cluster in 0..CLUSTERS {
            put(&mut image, REFCOUNT_BLOCK * self.cluster() + 2 * cluster, &1_u16.to_be_bytes());
        }
        for table in 0..2 {
            put(&mut image, self.l1_entry(table), &(self.at(L2 + table) | COPIED).to_be_bytes());
        }
        let second = self.cluster() / self.entry_size();
        for (index, cluster) in [(0, DATA), (1, DATA + 1), (second, DATA + 2)] {
            self.put_entry(&mut image, index, self.at(cluster) | COPIED, u64::from(u32::MAX));
            put(&mut image, cluster * self.cluster(), &noise(self.cluster(), cluster as u64));
        }
        let packed = self.pack(&text(self.cluster()));
        self.put_entry(&mut image, 2, self.packed_entry(self.at(PACKED), packed.len()), 0);
        put(&mut image, PACKED * self.cluster(), &packed);
        image
    }

    fn put_entry(self, image: &mut [u8], index: usize, entry: u64, bitmap: u64) {
        put(image, self.l2_entry(index), &entry.to_be_bytes());
        if self.extended {
            put(image, self.l2_entry(index) + 8, &bitmap.to_be_bytes());
        }
    }

    fn header(self, image: &mut [u8]) {
        put(image, 0, b"QFI\xfb");
        put(image, 4, &self.version.to_be_bytes());
        put(image, 20, &self.bits.to_be_bytes());
        put(image, 24, &(2 * self.reach()).to_be_bytes());
        put(image, 36, &2_u32.to_be_bytes());
        put(image, 40, &self.at(L1).to_be_bytes());
        put(image, 48, &self.at(REFCOUNT_TABLE).to_be_bytes());
        put(image, 56, &1_u32.to_be_bytes());
        if self.version == 3 {
            let incompatible = u64::from(self.zstd) << 3 | u64::from(self.extended) << 4;
            put(image, 72, &incompatible.to_be_bytes());
            put(image, 96, &4_u32.to_be_bytes());
            put(image, 100, &112_u32.to_be_bytes());
            image[104] = u8::from(self.zstd);
        }
    }

    fn group(self, variant: &'static str) -> Group {
        Group::new("qcow2", variant, Layer::Image, move || self.image(), |_| {})
    }
}

/// A valid image, for what wraps or imitates one.
pub(crate) fn image() -> Vec<u8> {
    V3.image()
}

/// A valid image of a disk that begins with `beginning`.
pub(crate) fn image_of(beginning: &[u8]) -> Vec<u8> {
    let mut image = V3.image();
    put(&mut image, DATA * V3.cluster(), beginning);
    image
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (variant, kind) in [("v3", V3), ("v2", V2)] {
        let mut group = kind.group(variant);
        common_header(&mut group, kind);
        other_files(&mut group, kind);
        tables(&mut group, kind);
        cases.extend(group.finish());
    }
    let mut group = V3.group("v3-only");
    version_3_header(&mut group);
    truncated(&mut group);
    group.valid("garbage-behind-the-end", "bytes that nothing refers to", |image| {
        image.extend(noise(10_000, 77));
    });
    cases.extend(group.finish());
    let mut group = ZSTD.group("zstd");
    compressed(&mut group, ZSTD);
    cases.extend(group.finish());
    let mut group = EXTENDED.group("extended");
    extended(&mut group);
    cases.extend(group.finish());
    cases
}

/// The fields that both versions have.
fn common_header(group: &mut Group, kind: Kind) {
    let be = Field::be;
    let (cluster, size, end) = (kind.cluster() as u64, 2 * kind.reach(), kind.at(CLUSTERS));
    group.extremes(be("version", 4, 4), "version", &[0, 1, 4, 0xffff_fffe, 0xffff_ffff]);
    group.extremes(be("backing_file_offset", 8, 8), "backing_file_offset", &[1, 72, 4096, u64::MAX - 1, u64::MAX]);
    group.harmless(be("backing_file_size", 16, 4), &[1, 0xffff_ffff]);
    group.extremes(be("cluster_bits", 20, 4), "cluster_bits", &[0, 1, 8, 22, 32, 63, 64, 0xffff_fffe, 0xffff_ffff]);
    group.extremes(be("size", 24, 8), "size", &[0, 1 << 63, u64::MAX - 1, u64::MAX]);
    group.extremes(be("size", 24, 8), "l1_size", &[size + 1, size + cluster, 1 << 40, i64::MAX as u64]);
    group.extremes(be("crypt_method", 32, 4), "crypt_method", &[1, 2, 3, 0xffff_ffff]);
    group.extremes(be("l1_size", 36, 4), "l1_size", &[0, 1, (32 << 20) / 8 + 1, 0x7fff_ffff, 0xffff_fffe, 0xffff_ffff]);
    let l1 = be("l1_table_offset", 40, 8);
    group.extremes(l1, "l1_table_offset", &[0, 1, 512, cluster + 1, kind.at(L1) + 8, end, 1 << 40]);
    group.extremes(l1, "l1_table_offset", &[1 << 56, (1 << 63) - cluster, u64::MAX - cluster + 1, u64::MAX]);
    // It is then the refcount table that has no place of its own.
    group.extremes(l1, "refcount_table_offset", &[cluster]);
    let table = be("refcount_table_offset", 48, 8);
    group.extremes(table, "refcount_table_offset", &[0, 1, 512, cluster + 1, kind.at(L1), end, 1 << 40]);
    group.extremes(table, "refcount_table_offset", &[1 << 56, u64::MAX - cluster + 1, u64::MAX]);
    let most = (8 << 20) / cluster;
    group.extremes(
        be("refcount_table_clusters", 56, 4),
        "refcount_table_clusters",
        &[0, most + 1, 0xffff_fffe, 0xffff_ffff],
    );
    group.extremes(be("nb_snapshots", 60, 4), "nb_snapshots", &[65_537, 0xffff_fffe, 0xffff_ffff]);
    group.extremes(be("nb_snapshots", 60, 4), "snapshots_offset", &[1, 65_536]);
    // Without snapshots it need not lead anywhere, but QEMU refuses one that no table could have.
    group.harmless(be("snapshots_offset", 64, 8), &[cluster, 1 << 55]);
    group.extremes(be("snapshots_offset", 64, 8), "snapshots_offset", &[1, 512, cluster + 1, u64::MAX]);
    for offset in [1, 512, end, 1 << 56, u64::MAX] {
        group.refused(&format!("snapshots_offset-{offset:#x}-and-one-snapshot"), "snapshots_offset", move |image| {
            put(image, 60, &1_u32.to_be_bytes());
            put(image, 64, &u64::to_be_bytes(offset));
        });
    }
    group.too_large("disk-of-twice-the-room", "the disk has 128Mi", move |image| {
        put(image, 24, &(2 * crate::ROOM).to_be_bytes());
        put(image, 36, &512_u32.to_be_bytes());
        put(image, 40, &kind.at(CLUSTERS).to_be_bytes());
        let mut table = image[L1 * kind.cluster()..][..kind.cluster()].to_vec();
        image.append(&mut table);
    });
}

/// Names of other files.
fn other_files(group: &mut Group, kind: Kind) {
    let end_of_header = if kind.version == 3 { 112 + 8 } else { 72 + 8 };
    for (what, name) in [
        ("an-absolute-path", "/etc/passwd"),
        ("a-path-that-climbs", "../../../../etc/passwd"),
        ("a-json-name", r#"json:{"driver":"file","filename":"/etc/passwd"}"#),
        ("an-nbd-name", "nbd://127.0.0.1:10809/export"),
        ("a-web-address", "http://169.254.169.254/latest/meta-data/"),
        ("a-device", "/dev/sda"),
        ("itself", "disk.qcow2"),
    ] {
        group.refused(&format!("backing-file-is-{what}"), "backing_file_offset", move |image| {
            put(image, 8, &(end_of_header as u64).to_be_bytes());
            put(image, 16, &u32::try_from(name.len()).expect("short").to_be_bytes());
            put(image, end_of_header, name.as_bytes());
        });
    }
}

/// The fields and extensions that version 3 brought.
fn version_3_header(group: &mut Group) {
    let be = Field::be;
    group.harmless(be("incompatible_features", 72, 8), &[1]);
    group.extremes(be("incompatible_features", 72, 8), "incompatible_features", &[2, 4, 6, 32, 1 << 63, u64::MAX]);
    group.extremes(be("incompatible_features", 72, 8), "compression_type", &[8]);
    group.extremes(be("incompatible_features", 72, 8), "cluster_bits", &[16]);
    group.harmless(be("compatible_features", 80, 8), &[1, u64::MAX]);
    // Bit 1 says that a data file is raw.
    group.harmless(be("autoclear_features", 88, 8), &[1, u64::MAX - 2]);
    group.extremes(be("autoclear_features", 88, 8), "autoclear_features", &[2, u64::MAX]);
    group.harmless(be("refcount_order", 96, 4), &[0, 6]);
    group.extremes(be("refcount_order", 96, 4), "refcount_order", &[7, 32, 64, 0xffff_fffe, 0xffff_ffff]);
    group.harmless(be("header_length", 100, 4), &[104, 120]);
    group.extremes(
        be("header_length", 100, 4),
        "header_length",
        &[0, 1, 72, 103, 105, 111, 113, 4104, 0xffff_fff8, 0xffff_ffff],
    );
    group.extremes(be("compression_type", 104, 1), "compression_type", &[1, 2, 0xfe, 0xff]);
    for (name, kind, names) in [
        ("data-file-name", 0x4441_5441_u32, "external data file name extension"),
        ("encryption-header", 0x0537_be77, "full disk encryption extension"),
    ] {
        group.refused(&format!("extension-{name}"), names, move |image| {
            put(image, 112, &kind.to_be_bytes());
            put(image, 116, &11_u32.to_be_bytes());
            put(image, 120, b"/etc/passwd");
        });
    }
    group.refused("data-file-and-its-name", "incompatible_features", |image| {
        put(image, 72, &4_u64.to_be_bytes());
        put(image, 112, &0x4441_5441_u32.to_be_bytes());
        put(image, 116, &11_u32.to_be_bytes());
        put(image, 120, b"/etc/passwd");
    });
    for length in [4096_u32 - 120 + 1, 4096, 0x7fff_ffff, 0xffff_fff8, 0xffff_ffff] {
        group.refused(&format!("extension-of-{length}-bytes"), "header extension", move |image| {
            put(image, 112, &0x1234_5678_u32.to_be_bytes());
            put(image, 116, &length.to_be_bytes());
        });
    }
    group.valid("extension-unknown", "an unknown header extension", |image| {
        put(image, 112, &0x1234_5678_u32.to_be_bytes());
        put(image, 116, &9_u32.to_be_bytes());
    });
}

/// L1 and L2 tables that loop, overlap, and point elsewhere.
fn tables(group: &mut Group, kind: Kind) {
    let end = kind.at(CLUSTERS);
    let l1_index = move |index| kind.l1_entry(index);
    let l2_index = move |index| kind.l2_entry(index);
    let packed = move |offset| kind.packed_entry(offset, 1);
    for (name, names, at, entry) in [
        ("l1-points-to-itself", "L2 table", l1_index(0), kind.at(L1)),
        ("l1-points-to-the-refcount-table", "L2 table", l1_index(0), kind.at(REFCOUNT_TABLE)),
        ("l1-points-to-one-l2-table-twice", "L1 entry", l1_index(1), kind.at(L2)),
        ("l1-entry-unaligned", "L1 entry", l1_index(0), kind.at(L2) + 512),
        ("l1-entry-with-a-reserved-high-bit", "L1 entry", l1_index(0), kind.at(L2) | 1 << 60),
        ("l1-entry-with-a-reserved-low-bit", "L1 entry", l1_index(0), kind.at(L2) | 1),
        ("l1-entry-of-ones", "L1 entry", l1_index(1), u64::MAX),
        ("l2-table-behind-the-end", "L2 table", l1_index(1), end),
        ("l2-table-far-behind-the-end", "L", l1_index(1), 1 << 55),
        ("l2-points-to-itself", "data cluster", l2_index(0), kind.at(L2)),
        ("l2-points-to-the-other-l2-table", "data cluster", l2_index(0), kind.at(L2 + 1)),
        ("l2-points-to-the-l1-table", "data cluster", l2_index(0), kind.at(L1)),
        ("l2-points-to-the-refcount-table", "data cluster", l2_index(0), kind.at(REFCOUNT_TABLE)),
        ("l2-entry-unaligned", "L2 entry", l2_index(0), kind.at(DATA) + 512),
        ("l2-entry-with-a-reserved-high-bit", "L2 entry", l2_index(0), kind.at(DATA) | 1 << 57),
        ("l2-entry-with-a-reserved-low-bit", "L2 entry", l2_index(0), kind.at(DATA) | 1 << 4),
        ("l2-entry-of-ones-but-for-compressed", "L2 entry", l2_index(0), !COMPRESSED),
        ("data-behind-the-end", "data cluster", l2_index(1), end),
        ("data-far-behind-the-end", "data cluster", l2_index(1), 1 << 55),
        ("compressed-data-in-the-header", "compressed cluster", l2_index(2), packed(8)),
        ("compressed-data-in-the-l1-table", "compressed cluster", l2_index(2), packed(kind.at(L1) + 16)),
        ("compressed-data-in-its-l2-table", "compressed cluster", l2_index(2), packed(kind.at(L2))),
        ("compressed-data-behind-the-end", "compressed cluster", l2_index(2), packed(end + 99)),
        ("compressed-data-far-behind-the-end", "compressed cluster", l2_index(2), packed(1 << 50)),
        ("compressed-data-that-is-none", "compressed cluster", l2_index(2), packed(kind.at(DATA))),
        ("compressed-entry-of-ones", "compressed cluster", l2_index(2), u64::MAX),
    ] {
        group.refused(name, names, move |image| put(image, at, &entry.to_be_bytes()));
    }
    if kind.version == 2 {
        group.refused("zero-flag-in-version-2", "L2 entry", move |image| {
            put(image, l2_index(0), &(kind.at(DATA) | 1).to_be_bytes());
        });
    }
    group.valid("one-cluster-mapped-twice", "a cluster that two places of the disk share", move |image| {
        put(image, l2_index(1), &kind.at(DATA).to_be_bytes());
    });
    group.valid("l2-tables-that-are-not-there", "an empty L1 table", move |image| {
        put(image, l1_index(0), &[0; 16]);
    });
    compressed(group, kind);
}

/// Compressed clusters that do not decompress to a cluster.
fn compressed(group: &mut Group, kind: Kind) {
    for (name, data) in [
        ("compressed-data-of-two-clusters", kind.pack(&text(2 * kind.cluster()))),
        ("compressed-data-of-a-thousand-clusters", kind.pack(&vec![0; 1000 * kind.cluster()])),
        ("compressed-data-of-half-a-cluster", kind.pack(&text(kind.cluster() / 2))),
        ("compressed-data-of-nothing", kind.pack(&[])),
        ("compressed-data-cut-short", kind.pack(&noise(kind.cluster() / 2, 5))[..100].to_vec()),
    ] {
        group.refused(name, "compressed cluster", move |image| {
            put(image, PACKED * kind.cluster(), &vec![0; kind.cluster()]);
            // Behind a deflate stream, anything may follow; so a cut one must not go on with zeros by chance.
            image.truncate(PACKED * kind.cluster() + data.len().max(1));
            put(image, PACKED * kind.cluster(), &data);
            let entry = kind.packed_entry(kind.at(PACKED), data.len().max(1));
            put(image, kind.l2_entry(2), &entry.to_be_bytes());
        });
    }
    if kind.zstd {
        // RFC 8878, 3.1.1.1.2: a window of 2 GiB, and one of nearly 4 TiB; a raw block follows.
        for (name, window) in [("window-of-2-gib", 21 << 3), ("window-of-3-tib", 0xff_u8)] {
            group.refused(name, "compressed cluster", move |image| {
                let frame = [0x28, 0xb5, 0x2f, 0xfd, 0, window, 9, 0, 0, 1];
                put(image, PACKED * kind.cluster(), &frame);
            });
        }
    }
}

/// Entries with bitmaps of subclusters.
fn extended(group: &mut Group) {
    let kind = EXTENDED;
    for (name, entry, bitmap) in [
        ("subcluster-allocated-and-zero", kind.at(DATA), 1 << 32 | 1),
        ("all-subclusters-allocated-and-zero", kind.at(DATA), u64::MAX),
        ("subcluster-allocated-nowhere", 0, 1),
        ("zero-flag", kind.at(DATA) | 1, 0xffff_ffff),
    ] {
        group.refused(name, "extended L2 entry", move |image| kind.put_entry(image, 0, entry, bitmap));
    }
    group.refused("cluster_bits-13", "cluster_bits", |image| put(image, 20, &13_u32.to_be_bytes()));
}

/// Cut within and between all structures.
fn truncated(group: &mut Group) {
    group.cut(0, "size");
    for length in [4, 8, 71, 72, 100, 103, 112] {
        group.cut(length, "header");
    }
    for length in [511, 4096, L1 * 4096, L1 * 4096 + 15] {
        group.cut(length, "l1_table_offset");
    }
    for length in [L1 * 4096 + 16, L2 * 4096 + 1, (L2 + 1) * 4096 - 1] {
        group.cut(length, "L2 table");
    }
    // More than one thing is missing then; which is found first depends on how the image is read.
    for length in [(L2 + 1) * 4096, DATA * 4096 - 1, DATA * 4096, (DATA + 2) * 4096, PACKED * 4096 - 1] {
        group.cut(length, "expected at least");
    }
    group.cut(PACKED * 4096, "compressed cluster");
    group.cut(PACKED * 4096 + 5, "compressed cluster");
}
