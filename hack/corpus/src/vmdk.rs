//! vmdk, by VMware's "Virtual Disk Format 1.1": a sparse extent that holds its descriptor.

use std::io::Write as _;

use crate::{
    bytes::{Field, noise, put},
    case::{Case, Layer},
    group::Group,
};

const SECTOR: usize = 512;
const DESCRIPTOR: usize = 1;
const DESCRIPTOR_SECTORS: usize = 20;
const CAPACITY: u32 = 8192;
const GRAIN: usize = 128;
/// The grain directories and their tables, in sectors: the redundant ones, then the ones in use.
const REDUNDANT: usize = 21;
const DIRECTORY: usize = 26;
const TABLE: usize = DIRECTORY + 1;
const DATA: usize = 128;

const FLAGS: u32 = 3;
const STREAM_FLAGS: u32 = 0x0003_0001;

/// The line that says which bytes are the disk's.
const EXTENT: &str = r#"RW 8192 SPARSE "disk.vmdk""#;

fn descriptor(kind: &str, extent: &str, more: &str) -> String {
    format!(
        "# Disk DescriptorFile\nversion=1\nCID=4f3c2a1b\nparentCID=ffffffff\ncreateType=\"{kind}\"\n\n\
         # Extent description\n{extent}\n\n# The Disk Data Base\n#DDB\n\n\
         ddb.virtualHWVersion = \"4\"\nddb.geometry.cylinders = \"8\"\nddb.geometry.heads = \"16\"\n\
         ddb.geometry.sectors = \"63\"\nddb.adapterType = \"ide\"\n{more}"
    )
}

fn header(version: u32, flags: u32, directories: [u64; 2], overhead: u64, compression: u16) -> Vec<u8> {
    let mut header = vec![0; SECTOR];
    put(&mut header, 0, b"KDMV");
    put(&mut header, 4, &version.to_le_bytes());
    put(&mut header, 8, &flags.to_le_bytes());
    put(&mut header, 12, &u64::from(CAPACITY).to_le_bytes());
    put(&mut header, 20, &(GRAIN as u64).to_le_bytes());
    put(&mut header, 28, &(DESCRIPTOR as u64).to_le_bytes());
    put(&mut header, 36, &(DESCRIPTOR_SECTORS as u64).to_le_bytes());
    put(&mut header, 44, &512_u32.to_le_bytes());
    put(&mut header, 48, &directories[0].to_le_bytes());
    put(&mut header, 56, &directories[1].to_le_bytes());
    put(&mut header, 64, &overhead.to_le_bytes());
    put(&mut header, 73, b"\n \r\n");
    put(&mut header, 77, &compression.to_le_bytes());
    header
}

/// `monolithicSparse`: two grains of 64.
fn sparse() -> Vec<u8> {
    let mut image = header(1, FLAGS, [REDUNDANT as u64, DIRECTORY as u64], DATA as u64, 0);
    image.resize(DATA * SECTOR, 0);
    put(&mut image, DESCRIPTOR * SECTOR, descriptor("monolithicSparse", EXTENT, "").as_bytes());
    for directory in [REDUNDANT, DIRECTORY] {
        put(&mut image, directory * SECTOR, &len32(directory + 1).to_le_bytes());
        for (grain, place) in [(0, DATA), (63, DATA + GRAIN)] {
            put(&mut image, (directory + 1) * SECTOR + 4 * grain, &len32(place).to_le_bytes());
        }
    }
    for seed in [20, 21] {
        image.extend(noise(GRAIN * SECTOR, seed));
    }
    image
}

fn len32(length: usize) -> u32 {
    u32::try_from(length).expect("small")
}

/// A grain or a marker is a sector's multiple.
fn pad(image: &mut Vec<u8>) {
    image.resize(image.len().next_multiple_of(SECTOR), 0);
}

fn marker(sectors: u64, kind: u32) -> Vec<u8> {
    let mut marker = vec![0; SECTOR];
    put(&mut marker, 0, &sectors.to_le_bytes());
    put(&mut marker, 12, &kind.to_le_bytes());
    marker
}

fn zlib(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).and_then(|()| encoder.finish()).expect("in memory")
}

/// A grain with its marker: the sector of the disk that it begins at, and its compressed data.
fn grain(place: u64, data: &[u8]) -> Vec<u8> {
    let mut grain = place.to_le_bytes().to_vec();
    grain.extend(len32(data.len()).to_le_bytes());
    grain.extend(data);
    pad(&mut grain);
    grain
}

/// `streamOptimized` as VMware writes it: grains, their table, the directory, and the valid header at the end.
fn stream_of(grains: &[Vec<u8>]) -> Vec<u8> {
    let mut image = header(3, STREAM_FLAGS, [0, u64::MAX], DATA as u64, 1);
    image.resize(DATA * SECTOR, 0);
    put(&mut image, DESCRIPTOR * SECTOR, descriptor("streamOptimized", EXTENT, "").as_bytes());
    let mut table = vec![0; 4 * SECTOR];
    for grain in grains {
        let place = u64::from_le_bytes(grain[..8].try_into().expect("8 bytes"));
        let entry = usize::try_from(place).expect("small") / GRAIN;
        if entry < 512 {
            put(&mut table, 4 * entry, &len32(image.len() / SECTOR).to_le_bytes());
        }
        image.extend(grain);
    }
    image.extend(marker(4, 1));
    let mut directory = vec![0; SECTOR];
    put(&mut directory, 0, &len32(image.len() / SECTOR).to_le_bytes());
    image.extend(table);
    image.extend(marker(1, 2));
    let at = image.len() / SECTOR;
    image.extend(directory);
    image.extend(marker(1, 3));
    image.extend(header(3, STREAM_FLAGS, [0, at as u64], DATA as u64, 1));
    image.extend([0; SECTOR]);
    image
}

fn grains() -> Vec<Vec<u8>> {
    [(0, 22), (63 * GRAIN as u64, 23)].map(|(place, seed)| grain(place, &zlib(&noise(GRAIN * SECTOR, seed)))).into()
}

fn stream() -> Vec<u8> {
    stream_of(&grains())
}

pub(crate) fn image() -> Vec<u8> {
    sparse()
}

/// A descriptor that stands alone and names its extents.
pub(crate) fn alone(kind: &str, extent: &str) -> Vec<u8> {
    descriptor(kind, extent, "").into_bytes()
}

pub(crate) fn cases() -> Vec<Case> {
    let mut group = Group::new("vmdk", "sparse", Layer::Image, sparse, |_| {});
    header_fields(&mut group);
    descriptors(&mut group);
    tables(&mut group);
    for (length, names) in [(8, "SparseExtentHeader"), (511, "SparseExtentHeader"), (512, "descriptor")] {
        group.cut(length, names);
    }
    for length in [DESCRIPTOR * SECTOR + 300, (DESCRIPTOR + DESCRIPTOR_SECTORS) * SECTOR - 1] {
        group.cut(length, "descriptor");
    }
    group.cut(DIRECTORY * SECTOR, "gdOffset");
    let mut cases = group.finish();
    let mut group = Group::new("vmdk", "stream", Layer::Image, stream, |_| {});
    streams(&mut group);
    cases.extend(group.finish());
    cases
}

fn header_fields(group: &mut Group) {
    let le = Field::le;
    group.extremes(le("version", 4, 4), "version", &[0, 4, 0xffff_fffe, 0xffff_ffff]);
    group.extremes(le("flags", 8, 4), "flags", &[0x1_0003, 0x2_0003, 0xffff_ffff]);
    group.extremes(le("capacity", 12, 8), "capacity", &[0, (64 << 31) + 1, 1 << 55, 1 << 63, u64::MAX]);
    group.extremes(le("capacity", 12, 8), "extent size", &[1, 8191, 8193]);
    group.extremes(le("grainSize", 20, 8), "grainSize", &[0, 1, 7, 127, 129, 1 << 17, 1 << 63, u64::MAX]);
    group.extremes(le("descriptorOffset", 28, 8), "descriptorOffset", &[0, 1 << 48, 1 << 55, u64::MAX]);
    group.extremes(le("descriptorOffset", 28, 8), "descriptor", &[2, DATA as u64, 1 << 40]);
    group.extremes(le("descriptorSize", 36, 8), "descriptorSize", &[2049, 1 << 55, u64::MAX]);
    group.extremes(le("descriptorSize", 36, 8), "descriptor", &[0]);
    group.extremes(le("numGTEsPerGT", 44, 4), "numGTEsPerGT", &[0, 1, 511, 513, 1 << 31, 0xffff_ffff]);
    let end = (DATA + 2 * GRAIN) as u64;
    group.extremes(le("gdOffset", 56, 8), "gdOffset", &[0, end, 1 << 40, 1 << 55, u64::MAX - 1]);
    // The mark of a header whose valid copy lies at the end, where none is.
    group.extremes(le("gdOffset", 56, 8), "footer", &[u64::MAX]);
    for (at, byte) in [(73, b'\r'), (74, 0), (75, b'\n'), (76, b'\r')] {
        group.refused(&format!("newline-test-at-{at}"), "EndLineChar", move |image| image[at] = byte);
    }
    group.extremes(le("compressAlgorithm", 77, 2), "compressAlgorithm", &[2, 0xfffe, 0xffff]);
    group.extremes(le("compressAlgorithm", 77, 2), "flags", &[1]);
    group.too_large("disk-of-twice-the-room", "the disk has 128Mi", |image| {
        put(image, 12, &(2 * crate::ROOM / 512).to_le_bytes());
        put_descriptor(image, &descriptor("monolithicSparse", r#"RW 262144 SPARSE "disk.vmdk""#, ""));
    });
}

fn put_descriptor(image: &mut [u8], text: &str) {
    let place = DESCRIPTOR * SECTOR..(DESCRIPTOR + DESCRIPTOR_SECTORS) * SECTOR;
    image[place].fill(0);
    put(image, DESCRIPTOR * SECTOR, text.as_bytes());
}

/// What the text says: other files, other kinds of disk, and what no reader understands.
fn descriptors(group: &mut Group) {
    let mut refused = |name: &str, names, text: String| {
        group.refused(name, names, move |image| put_descriptor(image, &text));
    };
    for kind in [
        "monolithicFlat",
        "twoGbMaxExtentSparse",
        "twoGbMaxExtentFlat",
        "fullDevice",
        "partitionedDevice",
        "vmfs",
        "vmfsRaw",
        "custom",
        "",
        "streamOptimized",
    ] {
        let names = if kind == "streamOptimized" { "flags" } else { "createType" };
        let name = if kind.is_empty() { "nothing" } else { kind };
        refused(&format!("createType-is-{name}"), names, descriptor(kind, EXTENT, ""));
    }
    for (name, extent) in [
        ("flat", r#"RW 8192 FLAT "disk-flat.vmdk" 0"#),
        ("flat-with-an-absolute-path", r#"RW 8192 FLAT "/etc/passwd" 0"#),
        ("sparse-with-an-absolute-path", r#"RW 8192 SPARSE "/etc/passwd""#),
        ("sparse-with-a-path-that-climbs", r#"RW 8192 SPARSE "../../../etc/passwd""#),
        ("sparse-with-two-dots", r#"RW 8192 SPARSE "..""#),
        ("sparse-with-a-windows-path", r#"RW 8192 SPARSE "C:\disk.vmdk""#),
        ("a-device", r#"RW 8192 FLAT "/dev/sda" 0"#),
        ("a-json-name", r#"RW 8192 SPARSE "json:{}""#),
        ("an-nbd-name", r#"RW 8192 SPARSE "nbd:127.0.0.1:10809""#),
        ("a-web-address", r#"RW 8192 SPARSE "http://169.254.169.254/""#),
        ("vmfs", r#"RW 8192 VMFS "disk-flat.vmdk""#),
        ("zero", "RW 8192 ZERO"),
        ("without-a-name", "RW 8192 SPARSE"),
        ("with-an-empty-name", r#"RW 8192 SPARSE """#),
        ("without-a-closing-quote", r#"RW 8192 SPARSE "disk.vmdk"#),
        ("without-access", r#"NOACCESS 8192 SPARSE "disk.vmdk""#),
        ("of-a-size-that-is-no-number", r#"RW many SPARSE "disk.vmdk""#),
        ("of-more-sectors-than-there-are", r#"RW 99999999999999999999 SPARSE "disk.vmdk""#),
        ("twice", "RW 8192 SPARSE \"disk.vmdk\"\nRW 8192 SPARSE \"disk.vmdk\""),
        ("twice-and-the-second-elsewhere", "RW 8192 SPARSE \"disk.vmdk\"\nRW 8192 FLAT \"/etc/passwd\" 0"),
        ("none", ""),
    ] {
        refused(&format!("extent-{name}"), "descriptor extent", descriptor("monolithicSparse", extent, ""));
    }
    for (sectors, name) in [(0_u64, "none"), (8191, "one-less"), (8193, "one-more"), (u64::MAX, "all")] {
        let extent = format!("RW {sectors} SPARSE \"disk.vmdk\"");
        refused(&format!("extent-of-{name}-sectors"), "extent size", descriptor("monolithicSparse", &extent, ""));
    }
    let sparse = |more: &str| descriptor("monolithicSparse", EXTENT, more);
    refused("a-parents-name", "parentFileNameHint", sparse("parentFileNameHint=\"/etc/passwd\"\n"));
    refused("a-parent", "parentCID", sparse("").replace("ffffffff", "12345678"));
    refused("createType-twice", "descriptor line", sparse("createType=\"monolithicFlat\"\n"));
    refused("createType-in-a-comment", "descriptor comment", sparse("# createType=\"monolithicFlat\"\n"));
    refused("a-line-that-nobody-knows", "descriptor line", sparse("include \"/etc/passwd\"\n"));
    refused("a-control-character", "descriptor", sparse("ddb.comment = \"\u{1b}[2J\"\n"));
    group.refused("text-behind-the-end-of-the-text", "descriptor", |image| {
        put(image, (DESCRIPTOR + DESCRIPTOR_SECTORS) * SECTOR - 40, b"RW 1 FLAT \"/etc/passwd\" 0");
    });
}

/// Grain directory and grain tables.
fn tables(group: &mut Group) {
    let end = len32(DATA + 2 * GRAIN);
    for (name, entry) in [
        ("table-in-the-header", 1),
        ("table-in-the-directory", len32(DIRECTORY)),
        ("table-half-behind-the-end", end - 1),
        ("table-behind-the-end", end),
        ("table-far-behind-the-end", 0xffff_ffff),
    ] {
        group.refused(name, "grain directory", move |image| put(image, DIRECTORY * SECTOR, &entry.to_le_bytes()));
    }
    for (name, entry) in [
        ("grain-in-the-descriptor", len32(DESCRIPTOR) + 1),
        ("grain-in-its-table", len32(TABLE)),
        ("grain-mapped-twice", len32(DATA)),
        ("grain-within-a-grain", len32(DATA) + 8),
        ("grain-half-behind-the-end", end - 64),
        ("grain-behind-the-end", end),
        ("grain-far-behind-the-end", 0xffff_ffff),
    ] {
        group.refused(name, "grain table", move |image| put(image, TABLE * SECTOR + 4, &entry.to_le_bytes()));
    }
    group.valid("no-table", "a grain directory without tables", |image| {
        put(image, DIRECTORY * SECTOR, &[0; 4]);
    });
}

/// What only streams have: a footer, markers, compressed grains.
fn streams(group: &mut Group) {
    let length = stream().len();
    let footer = length - 2 * SECTOR;
    group.refused("footer-missing", "footer", move |image| image.truncate(footer));
    group.refused("end-of-stream-missing", "footer", move |image| image.truncate(length - SECTOR));
    group.cut(length / 2, "footer");
    group.cut(DATA * SECTOR, "footer");
    group.refused("garbage-behind-the-end", "footer", |image| image.extend(noise(2 * SECTOR, 30)));
    group.refused("footer-of-another-capacity", "footer", move |image| {
        put(image, footer + 12, &(2 * u64::from(CAPACITY)).to_le_bytes());
    });
    group.refused("footer-without-compression", "footer", move |image| put(image, footer + 77, &[0, 0]));
    for (name, offset) in [("none", 0), ("behind-the-end", length as u64), ("at-the-end-again", u64::MAX)] {
        group.refused(&format!("directory-{name}"), "gdOffset", move |image| {
            put(image, footer + 56, &u64::to_le_bytes(offset));
        });
    }
    group.extremes(Field::le("flags", 8, 4), "flags", &[1, 1 | 1 << 16, 1 | 1 << 17]);
    group.extremes(Field::le("compressAlgorithm", 77, 2), "flags", &[0]);
    group.extremes(Field::le("compressAlgorithm", 77, 2), "compressAlgorithm", &[2, 0xffff]);
    let plain = || noise(GRAIN * SECTOR, 24);
    for (name, place, data) in [
        ("grain-of-two-grains", 128, zlib(&[plain(), plain()].concat())),
        ("grain-of-a-thousand-grains", 128, zlib(&vec![0; 1000 * GRAIN * SECTOR])),
        ("grain-of-half-a-grain", 128, zlib(&plain()[..GRAIN * SECTOR / 2])),
        ("grain-that-is-no-zlib-stream", 128, noise(1000, 31)),
        ("grain-cut-short", 128, zlib(&plain())[..1000].to_vec()),
        ("grain-between-grains", 129, zlib(&plain())),
        ("grain-behind-the-disk", u64::from(CAPACITY), zlib(&plain())),
        ("grain-far-behind-the-disk", 511 * 128, zlib(&plain())),
    ] {
        group.refused(name, "grain", move |image| *image = stream_of(&[grains(), vec![grain(place, &data)]].concat()));
    }
    group.refused("grain-checksum", "grain", |image| {
        let last = DATA * SECTOR + 12 + zlib(&noise(GRAIN * SECTOR, 22)).len() - 1;
        image[last] ^= 1;
    });
    for (name, size) in [("0", 0_u32), ("of-4-gib", 0xffff_ffff), ("beyond-the-stream", 1 << 20)] {
        group.refused(&format!("grain-size-{name}"), "grain", move |image| {
            put(image, DATA * SECTOR + 8, &size.to_le_bytes());
        });
    }
}
