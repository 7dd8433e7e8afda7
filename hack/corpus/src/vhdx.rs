//! vhdx, by MS-VHDX (sections in brackets).

use crate::{
    bytes::{Field, crc32c, noise, put},
    case::{Case, Layer},
    group::Group,
};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const HEADERS: [usize; 2] = [64 * KIB, 128 * KIB];
const REGIONS: [usize; 2] = [192 * KIB, 256 * KIB];
const TABLE: usize = 64 * KIB;
const LOG: usize = MIB;
const BAT: usize = 2 * MIB;
const METADATA: usize = 3 * MIB;
const DATA: usize = 4 * MIB;
const BLOCK: usize = MIB;
const BLOCKS: usize = 4;

/// `PAYLOAD_BLOCK_FULLY_PRESENT` [2.5.1.1].
const PRESENT: u64 = 6;

/// An identifier as it lies in the file: the first three parts little-endian.
fn guid(text: u128) -> [u8; 16] {
    let mut bytes = text.to_be_bytes();
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

const BAT_REGION: u128 = 0x2dc2_7766_f623_4200_9d64_115e_9bfd_4a08;
const METADATA_REGION: u128 = 0x8b7c_a206_4790_4b9a_b8fe_575f_050f_886e;
const PARENT_LOCATOR: u128 = 0xa8d3_5f2d_b30b_454d_abf7_d3d8_4834_ab0c;
const STRANGE: u128 = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;

/// Identifier, offset in the region, length and flags of each metadata item [2.6.2].
const ITEMS: [(u128, u32, u32, u32); 5] = [
    (0xcaa1_6737_fa36_4d43_b3b6_33f0_aa44_e76b, 0x1_0000, 8, 0b100),
    (0x2fa5_4224_cd1b_4876_b211_5dbe_d83b_f4b8, 0x1_0008, 8, 0b110),
    (0xbeca_12ab_b2e6_4523_93ef_c309_e000_c746, 0x1_0010, 16, 0b110),
    (0x8141_bf1d_a96f_4709_ba47_f233_a8fa_ab5f, 0x1_0020, 4, 0b110),
    (0xcda3_48c7_445d_4471_9cc9_e988_5251_c556, 0x1_0024, 4, 0b110),
];

/// Where the items' values lie.
const FILE_PARAMETERS: usize = METADATA + 0x1_0000;
const VIRTUAL_DISK_SIZE: usize = METADATA + 0x1_0008;
const LOGICAL_SECTOR_SIZE: usize = METADATA + 0x1_0020;

fn image() -> Vec<u8> {
    let mut image = vec![0; DATA];
    put(&mut image, 0, b"vhdxfile");
    for (index, at) in HEADERS.into_iter().enumerate() {
        put(&mut image, at, b"head");
        put(&mut image, at + 8, &(index as u64 + 1).to_le_bytes());
        put(&mut image, at + 16, &noise(32, 2));
        put(&mut image, at + 66, &1_u16.to_le_bytes());
        put(&mut image, at + 68, &len32(MIB).to_le_bytes());
        put(&mut image, at + 72, &(LOG as u64).to_le_bytes());
    }
    for at in REGIONS {
        put(&mut image, at, b"regi");
        put(&mut image, at + 8, &2_u32.to_le_bytes());
        put_region(&mut image, at + 16, BAT_REGION, BAT);
        put_region(&mut image, at + 48, METADATA_REGION, METADATA);
    }
    put(&mut image, METADATA, b"metadata");
    put(&mut image, METADATA + 10, &5_u16.to_le_bytes());
    for (index, item) in ITEMS.into_iter().enumerate() {
        put_item(&mut image, index, item);
    }
    put(&mut image, FILE_PARAMETERS, &len32(BLOCK).to_le_bytes());
    put(&mut image, VIRTUAL_DISK_SIZE, &((BLOCKS * BLOCK) as u64).to_le_bytes());
    put(&mut image, METADATA + 0x1_0010, &noise(16, 4));
    put(&mut image, LOGICAL_SECTOR_SIZE, &512_u32.to_le_bytes());
    put(&mut image, METADATA + 0x1_0024, &4096_u32.to_le_bytes());
    put(&mut image, BAT + 16, &(DATA as u64 | PRESENT).to_le_bytes());
    image.extend(noise(BLOCK, 12));
    seal(&mut image);
    image
}

fn len32(length: usize) -> u32 {
    u32::try_from(length).expect("small")
}

fn put_region(image: &mut [u8], at: usize, kind: u128, offset: usize) {
    put(image, at, &guid(kind));
    put(image, at + 16, &(offset as u64).to_le_bytes());
    put(image, at + 24, &len32(MIB).to_le_bytes());
    put(image, at + 28, &1_u32.to_le_bytes());
}

fn put_item(image: &mut [u8], index: usize, (kind, offset, length, flags): (u128, u32, u32, u32)) {
    let at = METADATA + 32 + 32 * index;
    put(image, at, &guid(kind));
    put(image, at + 16, &offset.to_le_bytes());
    put(image, at + 20, &length.to_le_bytes());
    put(image, at + 24, &flags.to_le_bytes());
}

/// Makes the checksums of headers and region tables fit [2.2.2, 2.2.3].
pub(crate) fn seal(image: &mut [u8]) {
    let structures = HEADERS.map(|at| (at, 4 * KIB)).into_iter().chain(REGIONS.map(|at| (at, TABLE)));
    for (at, length) in structures {
        let Some(structure) = image.get_mut(at..at + length) else {
            return;
        };
        put(structure, 4, &[0; 4]);
        let sum = crc32c(structure);
        put(structure, 4, &sum.to_le_bytes());
    }
}

/// A field that both headers have.
fn header(image: &mut [u8], at: usize, bytes: &[u8]) {
    for base in HEADERS {
        put(image, base + at, bytes);
    }
}

/// A field that both region tables have.
fn regions(image: &mut [u8], at: usize, bytes: &[u8]) {
    for base in REGIONS {
        put(image, base + at, bytes);
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut group = Group::new("vhdx", "dynamic", Layer::Image, image, seal);
    headers(&mut group);
    region_table(&mut group);
    metadata_table(&mut group);
    metadata_items(&mut group);
    table(&mut group);
    let mut cases = group.finish();
    let mut group = Group::new("vhdx", "damaged", Layer::Image, image, |_| {});
    damaged(&mut group);
    cases.extend(group.finish());
    cases
}

fn headers(group: &mut Group) {
    for (name, names, at, value) in [
        ("Version-0", "Header.Version", 66, 0_u16),
        ("Version-2", "Header.Version", 66, 2),
        ("Version-0xffff", "Header.Version", 66, 0xffff),
        ("LogVersion-1", "Header.LogVersion", 64, 1),
        ("LogVersion-0xffff", "Header.LogVersion", 64, 0xffff),
    ] {
        group.refused(name, names, move |image| header(image, at, &value.to_le_bytes()));
    }
    group.refused("a-log-to-replay", "Header.LogGuid", |image| header(image, 48, &noise(16, 5)));
    group.valid("the-older-header-has-a-log", "a log that the current header does not know", |image| {
        put(image, HEADERS[0] + 48, &noise(16, 5));
    });
    group.refused("no-header", "Header", |image| header(image, 0, b"hood"));
}

fn region_table(group: &mut Group) {
    for count in [0, 1] {
        group.refused(&format!("EntryCount-{count}"), "region table", move |image| {
            regions(image, 8, &u32::to_le_bytes(count));
        });
    }
    for count in [2048, 0xffff_fffe, 0xffff_ffff] {
        group.refused(&format!("EntryCount-{count:#x}"), "RegionTableHeader.EntryCount", move |image| {
            regions(image, 8, &u32::to_le_bytes(count));
        });
    }
    group.refused("a-required-region-that-nobody-knows", "RegionTableEntry.Guid", |image| {
        regions(image, 8, &3_u32.to_le_bytes());
        for at in REGIONS {
            put_region(image, at + 80, STRANGE, 5 * MIB);
        }
    });
    group.refused("the-bat-twice", "RegionTableEntry.Guid", |image| regions(image, 48, &guid(BAT_REGION)));
    for (region, at) in [("bat", 32), ("metadata", 64)] {
        for offset in [0, 1, 64 << 10, (2 << 20) + 1, 1 << 62, 1 << 63, u64::MAX - (MIB as u64) + 1, u64::MAX] {
            group.refused(
                &format!("FileOffset-of-{region}-{offset:#x}"),
                "RegionTableEntry.FileOffset",
                move |image| {
                    regions(image, at, &u64::to_le_bytes(offset));
                },
            );
        }
        for length in [0, 1, (1 << 20) - 1, (1 << 20) + 1, u32::MAX] {
            group.refused(&format!("Length-of-{region}-{length:#x}"), "RegionTableEntry.Length", move |image| {
                regions(image, at + 8, &u32::to_le_bytes(length));
            });
        }
        group.refused(&format!("{region}-behind-the-end"), "RegionTableEntry.FileOffset", move |image| {
            regions(image, at, &(5_u64 << 20).to_le_bytes());
        });
    }
    group.refused("bat-in-the-metadata", "RegionTableEntry.FileOffset", |image| {
        regions(image, 32, &(METADATA as u64).to_le_bytes());
    });
    group.refused("bat-reaches-into-the-metadata", "RegionTableEntry.FileOffset", |image| {
        regions(image, 40, &(2_u32 << 20).to_le_bytes());
    });
}

fn metadata_table(group: &mut Group) {
    group.refused("Signature-of-another-table", "MetadataTableHeader.Signature", |image| {
        put(image, METADATA, b"metadatb");
    });
    let count = Field::le("EntryCount-of-metadata", METADATA + 10, 2);
    group.extremes(count, "MetadataTableHeader.EntryCount", &[2048, 0xfffe, 0xffff]);
    group.extremes(count, "File Parameters", &[0]);
    group.extremes(count, "Virtual Disk Size", &[1]);
    group.extremes(count, "Logical Sector Size", &[2, 3]);
    let offset = Field::le("Offset-of-Virtual-Disk-Size", METADATA + 32 + 32 + 16, 4);
    group.extremes(offset, "MetadataTableEntry.Offset", &[0, 1, 0xffff, 0x10_0000, 0xffff_fff8, 0xffff_ffff]);
    let length = Field::le("Length-of-Virtual-Disk-Size", METADATA + 32 + 32 + 20, 4);
    group.extremes(length, "Virtual Disk Size", &[0, 1, 4, 7]);
    group.extremes(length, "MetadataTableEntry.Offset", &[0x10_0000, 0xffff_ffff]);
    group.refused("a-required-item-that-nobody-knows", "MetadataTableEntry.ItemId", |image| {
        put(image, METADATA + 10, &6_u16.to_le_bytes());
        put_item(image, 5, (STRANGE, 0x1_0028, 8, 0b100));
    });
    group.refused("the-disk-size-twice", "MetadataTableEntry.ItemId", |image| {
        put(image, METADATA + 10, &6_u16.to_le_bytes());
        put_item(image, 5, ITEMS[1]);
    });
    group.refused("a-parent-locator", "Parent Locator", |image| {
        put(image, METADATA + 10, &6_u16.to_le_bytes());
        put_item(image, 5, (PARENT_LOCATOR, 0x1_0028, 20, 0b100));
        put(image, METADATA + 0x1_0028, &guid(0xb04a_efb7_d19e_4a81_b789_25b8_e944_5913));
    });
}

fn metadata_items(group: &mut Group) {
    let le = Field::le;
    group.extremes(
        le("BlockSize", FILE_PARAMETERS, 4),
        "BlockSize",
        &[0, 1, 512, (1 << 20) - 1, (1 << 20) + 1, 3 << 20, 512 << 20, 0xffff_ffff],
    );
    group.extremes(le("HasParent", FILE_PARAMETERS + 4, 4), "HasParent", &[2, 3]);
    group.harmless(le("LeaveBlockAllocated", FILE_PARAMETERS + 4, 4), &[1]);
    group.extremes(
        le("Virtual-Disk-Size", VIRTUAL_DISK_SIZE, 8),
        "Virtual Disk Size",
        &[0, 1, 511, 513, (4 << 20) + 1, (64 << 40) + 512, 1 << 63, u64::MAX],
    );
    group.extremes(
        le("Logical-Sector-Size", LOGICAL_SECTOR_SIZE, 4),
        "Logical Sector Size",
        &[0, 1, 256, 511, 1024, 8192, 0xffff_ffff],
    );
    group.too_large("disk-of-twice-the-room", "the disk has 128Mi", |image| {
        put(image, VIRTUAL_DISK_SIZE, &(2 * crate::ROOM).to_le_bytes());
    });
}

/// Entries of the block allocation table [2.5].
fn table(group: &mut Group) {
    let at = BAT + 24;
    for (name, entry) in [
        ("state-4", 4),
        ("state-5", 5),
        ("partially-present", DATA as u64 | 7),
        ("reserved-bits", DATA as u64 | PRESENT | 1 << 3),
        ("block-in-the-headers", PRESENT),
        ("block-in-the-log", LOG as u64 | PRESENT),
        ("block-in-the-bat", BAT as u64 | PRESENT),
        ("block-in-the-metadata", METADATA as u64 | PRESENT),
        ("block-mapped-twice", DATA as u64 | PRESENT),
        ("block-behind-the-end", 5 << 20 | PRESENT),
        ("block-far-behind-the-end", 1 << 60 | PRESENT),
        ("block-at-the-last-offset", u64::MAX << 20 | PRESENT),
    ] {
        group.refused(name, "BAT", move |image| put(image, at, &u64::to_le_bytes(entry)));
    }
    group.valid("states-that-read-as-zeros", "blocks not present, undefined, zero, unmapped", |image| {
        for (block, state) in [0_u64, 1, 2, 3].into_iter().enumerate() {
            put(image, BAT + 8 * block, &state.to_le_bytes());
        }
    });
}

/// Changes after which no checksum was made to fit.
fn damaged(group: &mut Group) {
    group.valid("one-header", "the other one holds", |image| image[HEADERS[0] + 100] ^= 1);
    group.valid("one-region-table", "the other one holds", |image| image[REGIONS[0] + 1000] ^= 1);
    group.refused("both-headers", "Header.Checksum", |image| header(image, 100, &[9]));
    group.refused("both-region-tables", "RegionTableHeader.Checksum", |image| regions(image, 1000, &[9]));
    for length in [8, 64 * KIB, 128 * KIB + 4095] {
        group.cut(length, "header");
    }
    group.cut(192 * KIB, "region table");
    group.cut(MIB, "RegionTableEntry.FileOffset");
    group.cut(METADATA + TABLE, "RegionTableEntry.FileOffset");
    group.cut(DATA, "BAT");
    group.cut(DATA + BLOCK - 1, "BAT");
}
