//! vhd, by Microsoft's "Virtual Hard Disk Image Format Specification" 1.0.

use crate::{
    bytes::{Field, noise, put},
    case::{Case, Layer},
    group::Group,
};

const FOOTER: usize = 512;
const HEADER: usize = 512;
const TABLE: usize = 1536;
const DATA: usize = 2048;
const BLOCK: usize = 512 << 10;
const BLOCKS: u32 = 8;
/// A block as it lies in the image: a bitmap of its sectors, a sector long, and its data.
const STORED: usize = 512 + BLOCK;
const SIZE: u64 = BLOCKS as u64 * BLOCK as u64;
const UNUSED: u32 = 0xffff_ffff;

fn footer(kind: u32, size: u64, header: u64) -> Vec<u8> {
    let mut footer = vec![0; FOOTER];
    put(&mut footer, 0, b"conectix");
    put(&mut footer, 8, &2_u32.to_be_bytes());
    put(&mut footer, 12, &0x0001_0000_u32.to_be_bytes());
    put(&mut footer, 16, &header.to_be_bytes());
    put(&mut footer, 28, b"win ");
    put(&mut footer, 32, &0x000a_0000_u32.to_be_bytes());
    put(&mut footer, 36, b"Wi2k");
    put(&mut footer, 40, &size.to_be_bytes());
    put(&mut footer, 48, &size.to_be_bytes());
    // Cylinders, heads, sectors: as many as the disk has.
    let cylinders = u16::try_from(size / 512 / (4 * 17)).expect("small");
    put(&mut footer, 56, &cylinders.to_be_bytes());
    put(&mut footer, 58, &[4, 17]);
    put(&mut footer, 60, &kind.to_be_bytes());
    put(&mut footer, 68, &noise(16, 3));
    seal(&mut footer, 64);
    footer
}

/// Puts the one's complement of the sum of a structure's bytes at `checksum`.
fn seal(structure: &mut [u8], checksum: usize) {
    put(structure, checksum, &[0; 4]);
    let sum: u32 = structure.iter().map(|&byte| u32::from(byte)).sum();
    put(structure, checksum, &(!sum).to_be_bytes());
}

fn dynamic() -> Vec<u8> {
    let mut image = footer(3, SIZE, HEADER as u64);
    image.resize(DATA, 0);
    put(&mut image, HEADER, b"cxsparse");
    put(&mut image, HEADER + 8, &[0xff; 8]);
    put(&mut image, HEADER + 16, &(TABLE as u64).to_be_bytes());
    put(&mut image, HEADER + 24, &0x0001_0000_u32.to_be_bytes());
    put(&mut image, HEADER + 28, &BLOCKS.to_be_bytes());
    put(&mut image, HEADER + 32, &u32::try_from(BLOCK).expect("small").to_be_bytes());
    put(&mut image, TABLE, &[0xff; 512]);
    for (place, block) in [5, 0].into_iter().enumerate() {
        put(&mut image, TABLE + 4 * block, &sector(DATA + place * STORED).to_be_bytes());
        image.extend([0xff; 512]);
        image.extend(noise(BLOCK, 60 + place as u64));
    }
    image.resize(image.len() + FOOTER, 0);
    seal_dynamic(&mut image);
    image
}

fn sector(offset: usize) -> u32 {
    u32::try_from(offset / 512).expect("small")
}

/// Makes the checksums of whatever structures are there fit.
pub(crate) fn seal_all(image: &mut [u8]) {
    let length = image.len();
    if length < DATA {
        return;
    }
    for (at, size, checksum) in [(0, FOOTER, 64), (HEADER, TABLE - HEADER, 36), (length - FOOTER, FOOTER, 64)] {
        seal(&mut image[at..at + size], checksum);
    }
}

/// Makes the checksums fit, and the footer like its copy.
fn seal_dynamic(image: &mut [u8]) {
    if image.len() < 2 * DATA {
        return;
    }
    seal(&mut image[..FOOTER], 64);
    seal(&mut image[HEADER..TABLE], 36);
    let last = image.len() - FOOTER;
    image.copy_within(..FOOTER, last);
}

fn fixed() -> Vec<u8> {
    let mut image = noise(1 << 20, 9);
    image.extend(footer(2, 1 << 20, u64::MAX));
    image
}

fn seal_fixed(image: &mut [u8]) {
    let last = image.len() - FOOTER;
    seal(&mut image[last..], 64);
}

pub(crate) fn cases() -> Vec<Case> {
    let mut group = Group::new("vhd", "dynamic", Layer::Image, dynamic, seal_dynamic);
    footer_fields(&mut group);
    header_fields(&mut group);
    table(&mut group);
    let mut cases = group.finish();
    let mut group = Group::new("vhd", "damaged", Layer::Image, dynamic, |_| {});
    damaged(&mut group);
    cases.extend(group.finish());
    let mut group = Group::new("vhd", "fixed", Layer::Image, fixed, seal_fixed);
    fixed_footer(&mut group);
    cases.extend(group.finish());
    cases
}

fn footer_fields(group: &mut Group) {
    let be = Field::be;
    group.harmless(be("Features", 8, 4), &[0, 3]);
    group.extremes(
        be("File_Format_Version", 12, 4),
        "File Format Version",
        &[0, 1, 0x0001_0001, 0x0002_0000, 0xffff_ffff],
    );
    group.extremes(be("Data_Offset", 16, 8), "dynamic disk header", &[0, 1, 1024, 1 << 40, u64::MAX - 1, u64::MAX]);
    group.harmless(be("Original_Size", 40, 8), &[0, u64::MAX]);
    group.extremes(be("Current_Size", 48, 8), "Current Size", &[0, 1, 511, SIZE + 1, 1 << 50, 1 << 63, u64::MAX]);
    group.extremes(be("Current_Size", 48, 8), "Max Table Entries", &[SIZE + 512, 1 << 40]);
    group.extremes(be("Disk_Type", 60, 4), "Disk Type", &[0, 1, 2, 4, 5, 6, 0xffff_ffff]);
    group.too_large("disk-of-twice-the-room", "the disk has 128Mi", |image| {
        put(image, 48, &(2 * crate::ROOM).to_be_bytes());
        put(image, HEADER + 32, &(16_u32 << 20).to_be_bytes());
        put(image, TABLE, &[0xff; 512]);
    });
}

fn header_fields(group: &mut Group) {
    let be = |name, at, width| Field::be(name, HEADER + at, width);
    group.refused("cookie-of-another-structure", "dynamic disk header", |image| put(image, HEADER, b"cxsparsf"));
    group.extremes(
        be("Table_Offset", 16, 8),
        "Table Offset",
        &[0, 1, 511, 1537, 1 << 40, (1 << 63) + 512, u64::MAX - 511, u64::MAX],
    );
    // In the footer's copy and in the header are no tables either.
    group.extremes(be("Table_Offset", 16, 8), "Table Offset", &[512, 1024]);
    group.extremes(be("Header_Version", 24, 4), "Header Version", &[0, 1, 0x0001_0001, 0xffff_ffff]);
    group.extremes(be("Max_Table_Entries", 28, 4), "Max Table Entries", &[0, 1, u64::from(BLOCKS) - 1]);
    group.extremes(be("Max_Table_Entries", 28, 4), "Table Offset", &[0x0100_0000, 0xffff_ffff]);
    group.extremes(
        be("Block_Size", 32, 4),
        "Block Size",
        &[0, 1, 256, 513, (512 << 10) - 1, (512 << 10) + 512, 512 << 20, 1 << 31, 0xffff_ffff],
    );
    for locator in [0, 7] {
        group.refused(&format!("parent-locator-{locator}"), "Parent Locator Entry", move |image| {
            put(image, HEADER + 576 + 24 * locator, b"W2ku");
            put(image, HEADER + 576 + 24 * locator + 4, &[0, 0, 2, 0, 0, 0, 0, 22]);
        });
    }
}

/// Entries of the block allocation table.
fn table(group: &mut Group) {
    let end = dynamic().len();
    for (name, entry) in [
        ("block-in-the-footers-copy", 0),
        ("block-in-the-header", 1),
        ("block-in-the-table", sector(TABLE)),
        ("block-mapped-twice", sector(DATA)),
        ("block-within-a-block", sector(DATA) + 8),
        ("block-in-the-footer", sector(end) - 1),
        ("block-half-behind-the-end", sector(end) - 512),
        ("block-behind-the-end", sector(end)),
        ("block-far-behind-the-end", 0x7fff_ffff),
        ("block-at-the-last-sector-number", UNUSED - 1),
    ] {
        group.refused(name, "BAT", move |image| put(image, TABLE + 4, &entry.to_be_bytes()));
    }
    group.valid("sectors-not-in-use", "a bitmap with gaps", |image| put(image, DATA, &[0x0f; 16]));
}

/// Changes after which no checksum was made to fit.
fn damaged(group: &mut Group) {
    group.refused("footers-copy", "Checksum", |image| image[70] ^= 1);
    group.refused("header", "Checksum", |image| image[HEADER + 60] ^= 1);
    group.refused("footer-of-another-disk", "footer", |image| {
        let last = image.len() - FOOTER;
        put(image, last, &footer(3, SIZE / 2, HEADER as u64));
    });
    group.refused("footer-missing", "footer", |image| {
        let last = image.len() - FOOTER;
        image[last..].fill(7);
    });
    for (length, names) in
        [(8, "footer copy"), (511, "footer copy"), (512, "dynamic disk header"), (TABLE, "Table Offset")]
    {
        group.cut(length, names);
    }
    group.cut(DATA, "footer");
    group.cut(DATA + BLOCK, "footer");
    group.cut(dynamic().len() - FOOTER, "footer");
    group.refused("garbage-behind-the-end", "footer", |image| image.extend(noise(1024, 8)));
}

fn fixed_footer(group: &mut Group) {
    let be = |name, at: usize, width| Field::be(name, (1 << 20) + at, width);
    group.extremes(be("File_Format_Version", 12, 4), "File Format Version", &[0, 0x0002_0000, 0xffff_ffff]);
    group.extremes(be("Current_Size", 48, 8), "Current Size", &[0, 1, 512, (1 << 20) - 512, (1 << 20) + 512, u64::MAX]);
    group.extremes(be("Disk_Type", 60, 4), "Disk Type", &[0, 1, 3, 4, 0xffff_ffff]);
    group.refused("cut-at-the-beginning", "Current Size", |image| {
        image.drain(..512);
    });
}
