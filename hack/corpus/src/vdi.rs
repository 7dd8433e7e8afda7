//! vdi, by `VDICore.h` of VirtualBox (header version 1.1).

use crate::{
    bytes::{Field, noise, put},
    case::{Case, Layer},
    group::Group,
};

const MAP: usize = 512;
const DATA: usize = 1024;
const BLOCK: usize = 1 << 20;
/// The blocks of the disk, of which so many lie in the image.
const BLOCKS: u32 = 4;
const ALLOCATED: u32 = 2;
const FREE: u32 = 0xffff_ffff;

fn image() -> Vec<u8> {
    let mut image = vec![0; DATA];
    put(&mut image, 0, b"<<< Oracle VM VirtualBox Disk Image >>>\n");
    for (at, value) in [
        (0x40, 0xbeda_107f_u32),
        (0x44, 0x0001_0001),
        (0x48, 0x190),
        (0x4c, 1),
        (0x154, 512),
        (0x158, 1024),
        (0x168, 512),
        (0x170, BLOCKS << 20),
        (0x178, 1 << 20),
        (0x180, BLOCKS),
        (0x184, ALLOCATED),
    ] {
        put(&mut image, at, &value.to_le_bytes());
    }
    put(&mut image, 0x188, &noise(32, 1));
    // Out of order, so that the map is needed.
    for (block, place) in [1, FREE, FREE, 0_u32].into_iter().enumerate() {
        put(&mut image, MAP + 4 * block, &place.to_le_bytes());
    }
    for block in 0..u64::from(ALLOCATED) {
        image.extend(noise(BLOCK, 40 + block));
    }
    image
}

pub(crate) fn cases() -> Vec<Case> {
    let mut group = Group::new("vdi", "dynamic", Layer::Image, image, |_| {});
    header(&mut group);
    geometry(&mut group);
    places(&mut group);
    map(&mut group);
    for (length, names) in [(72, "header"), (511, "header"), (512, "cBlocksAllocated"), (DATA, "cBlocksAllocated")] {
        group.cut(length, names);
    }
    group.cut(DATA + BLOCK, "cBlocksAllocated");
    group.valid("garbage-behind-the-end", "bytes that nothing refers to", |image| image.extend(noise(5000, 6)));
    group.finish()
}

fn header(group: &mut Group) {
    let le = Field::le;
    group.extremes(
        le("u32Version", 0x44, 4),
        "u32Version",
        &[0, 1, 0x0001_0000, 0x0001_0002, 0x0002_0000, 0xffff_ffff],
    );
    group.extremes(le("cbHeader", 0x48, 4), "cbHeader", &[0, 1, 0x17f, 0x1001, 0xffff_fffe, 0xffff_ffff]);
    group.extremes(le("u32Type", 0x4c, 4), "u32Type", &[0, 3, 4, 5, 0xffff_fffe, 0xffff_ffff]);
    group.harmless(le("fFlags", 0x50, 4), &[1, 0xffff_ffff]);
    group.extremes(le("uuidLinkage", 0x1a8, 8), "uuidLinkage", &[1, u64::MAX]);
    group.extremes(le("uuidParentModify", 0x1c0, 8), "uuidParentModify", &[1, u64::MAX]);
}

fn geometry(group: &mut Group) {
    let le = Field::le;
    let size = u64::from(BLOCKS) << 20;
    group.extremes(le("cbSector", 0x168, 4), "cbSector", &[0, 1, 511, 4096, 0xffff_ffff]);
    group.extremes(le("cbDisk", 0x170, 8), "cbDisk", &[0, size + 1, size + 512, 1 << 63, u64::MAX - 1, u64::MAX]);
    group.extremes(
        le("cbBlock", 0x178, 4),
        "cbBlock",
        &[0, 1, 512, (1 << 20) - 1, (1 << 20) + 1, 1 << 31, 0xffff_ffff],
    );
    group.extremes(le("cbBlockExtra", 0x17c, 4), "cbBlockExtra", &[1, 512, 0xffff_ffff]);
    group.extremes(le("cBlocks", 0x180, 4), "cBlocks", &[0x4000_0000, 0xffff_fffe, 0xffff_ffff]);
    group.extremes(le("cBlocks", 0x180, 4), "cbDisk", &[0, 1, u64::from(BLOCKS) - 1]);
    let allocated = le("cBlocksAllocated", 0x184, 4);
    group.extremes(allocated, "cBlocksAllocated", &[u64::from(BLOCKS), u64::from(BLOCKS) + 1, 0xffff_ffff]);
    group.too_large("disk-of-twice-the-room", "the disk has 128Mi", |image| {
        put(image, 0x170, &(2 * crate::ROOM).to_le_bytes());
        put(image, 0x180, &128_u32.to_le_bytes());
        put(image, MAP + 16, &[0xff; 496]);
    });
}

fn places(group: &mut Group) {
    let le = Field::le;
    group.extremes(le("offBlocks", 0x154, 4), "offBlocks", &[0, 1, 511, 513, 0xffff_ffff]);
    // The map then reaches into the data.
    group.extremes(le("offBlocks", 0x154, 4), "offData", &[1024, 0xffff_fe00]);
    group.extremes(le("offData", 0x158, 4), "offData", &[0, 1, 512, 1023, 1025, 0xffff_ffff]);
    group.extremes(le("offData", 0x158, 4), "cBlocksAllocated", &[1 << 30, 0xffff_fe00]);
}

/// Entries of the block map.
fn map(group: &mut Group) {
    for (name, block, place) in [
        ("block-behind-those-allocated", 1, ALLOCATED),
        ("block-far-behind-the-end", 1, 0x7fff_ffff),
        ("block-last-number-that-is-no-mark", 1, 0xffff_fffd),
        ("block-mapped-twice", 1, 0),
    ] {
        group.refused(name, "block map", move |image| put(image, MAP + 4 * block, &place.to_le_bytes()));
    }
    group.valid("block-discarded", "a block that reads as zeros", |image| {
        put(image, MAP + 4, &0xffff_fffe_u32.to_le_bytes());
    });
}
