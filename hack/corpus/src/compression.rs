//! Compressed streams: bombs, lies about lengths and windows, damage.

use crate::{
    ROOM,
    bytes::{crc32, noise, put},
    case::{Case, Layer},
    group::Group,
    pack::{
        bzip2, bzip2_zeros, gzip, gzip_zeros, xz, xz_zeros, zstd, zstd_and_zeros, zstd_block, zstd_header, zstd_window,
        zstd_zeros,
    },
    qcow2,
};

/// More than fits, by a little.
const BOMB: u64 = ROOM + (8 << 20);
/// More than anybody waits for: it must be refused long before its end.
const LARGE_BOMB: u64 = 64 << 30;

const TOO_LARGE: &str = "the disk has at least";

pub(crate) fn cases() -> Vec<Case> {
    let group = |name, base: fn() -> Vec<u8>| Group::new(name, "image", Layer::Wrapping, base, |_| {});
    let mut cases = Vec::new();
    for (mut group, fill) in [
        (group("gzip", || gzip(&qcow2::image())), gzip_cases as fn(&mut Group)),
        (group("zstd", || zstd(&qcow2::image())), zstd_cases),
        (group("xz", || xz(&qcow2::image())), xz_cases),
        (group("bzip2", || bzip2(&qcow2::image())), bzip2_cases),
        (group("padding", || zstd(&gzip(&qcow2::image()))), padding),
        (group("wrapped", || bzip2(&xz(&zstd(&gzip(&qcow2::image()))))), wrapped),
    ] {
        fill(&mut group);
        cases.extend(group.finish());
    }
    cases
}

/// Cuts and garbage that every format must notice.
fn damage(group: &mut Group, names: &'static str, base: &[u8]) {
    let length = base.len();
    for (name, at) in [
        ("in-its-middle", length / 2),
        ("before-its-last-twelve-bytes", length - 12),
        ("before-its-last-byte", length - 1),
    ] {
        group.refused(&format!("cut-{name}"), names, move |stream| stream.truncate(at));
    }
    group.refused("a-flipped-bit", names, move |stream| stream[length / 2] ^= 0x10);
    group.refused("a-second-stream-cut-short", names, move |stream| {
        let second = stream[..length / 2].to_vec();
        stream.extend(second);
    });
    group.refused("garbage-behind-the-end", names, |stream| stream.extend(noise(1000, 3)));
}

fn gzip_cases(group: &mut Group) {
    damage(group, "gzip", &gzip(&qcow2::image()));
    group.refused("wrong-crc32", "gzip", |stream| {
        let at = stream.len() - 8;
        stream[at] ^= 1;
    });
    for (name, size) in [("0", 0_u32), ("1-less", 40_959), ("max", u32::MAX)] {
        group.refused(&format!("isize-{name}"), "gzip", move |stream| {
            let at = stream.len() - 4;
            put(stream, at, &size.to_le_bytes());
        });
    }
    group.refused("reserved-flags", "gzip", |stream| stream[3] = 0xe0);
    group.refused("extra-field-beyond-the-end", "gzip", |stream| {
        stream[3] = 4;
        put(stream, 10, &[0xff, 0xff]);
        stream.truncate(2000);
    });
    group.refused("name-without-an-end", "gzip", |stream| {
        stream[3] = 8;
        stream.truncate(10);
        stream.resize(200_000, b'n');
    });
    group.valid("name", "the name of the file", |stream| {
        stream[3] = 8;
        stream.splice(10..10, *b"../../etc/passwd\0");
    });
    group.too_large("bomb", TOO_LARGE, |stream| *stream = gzip_zeros(BOMB));
    group.too_large("bomb-in-gzip", TOO_LARGE, |stream| *stream = gzip(&gzip_zeros(BOMB)));
    group.too_large("bomb-of-many-members", TOO_LARGE, |stream| *stream = gzip_zeros(1 << 20).repeat(72));
    group.refused("a-member-of-nothing", "image", |stream| *stream = gzip(&[]));
}

fn zstd_cases(group: &mut Group) {
    damage(group, "zstd", &zstd(&qcow2::image()));
    let frame = |descriptor, fields: &[u8], blocks: &[u8]| [&zstd_header(descriptor, fields)[..], blocks].concat();
    let block = || zstd_block(0, true, 4, b"data");
    // Descriptor 0: no content size, no checksum, no dictionary; a window follows.
    for (name, window) in [("28", zstd_window(28)), ("31", zstd_window(31)), ("41", 0xff)] {
        let stream = frame(0, &[window], &block());
        group.refused(&format!("window-of-2-to-the-{name}"), "zstd", move |image| image.clone_from(&stream));
    }
    for (name, descriptor, fields, blocks) in [
        // 0x20: one segment, so that the content size is the window's.
        ("content-size-larger-than-the-content", 0x20, &[5][..], block()),
        ("content-size-smaller-than-the-content", 0x20, &[3], block()),
        ("content-size-max-in-one-segment", 0xe0, &[0xff; 8], block()),
        ("unknown-dictionary", 0x03, &[zstd_window(17), 1, 2, 3, 4], zstd_block(2, true, 3, &[1, 2, 3])),
        ("reserved-bit", 0x08, &[zstd_window(17)], block()),
        ("reserved-block-type", 0, &[zstd_window(17)], zstd_block(3, true, 4, b"data")),
        ("block-longer-than-the-window", 0, &[zstd_window(10)], zstd_block(1, true, 1 << 20, &[0])),
        ("without-a-last-block", 0, &[zstd_window(17)], zstd_block(0, false, 4, b"data")),
    ] {
        let stream = frame(descriptor, fields, &blocks);
        group.refused(name, "zstd", move |image| image.clone_from(&stream));
    }
    group.refused("skippable-frame-beyond-the-end", "zstd", |stream| {
        stream.extend([0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff, 1]);
    });
    group.refused("skippable-frame-alone", "image", |stream| {
        *stream = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0][..], b"note"].concat();
    });
    group.valid("skippable-frame-first", "a note before the frame", |stream| {
        stream.splice(..0, *b"\x50\x2a\x4d\x18\x04\0\0\0note");
    });
    group.too_large("bomb", TOO_LARGE, move |stream| *stream = frame(0, &[zstd_window(17)], &zstd_zeros(LARGE_BOMB)));
    group.too_large("bomb-that-says-so", TOO_LARGE, move |stream| {
        let fields = [&[zstd_window(17)][..], &[0xff; 8]].concat();
        *stream = frame(0xc0, &fields, &zstd_zeros(LARGE_BOMB));
    });
    group.too_large("bomb-in-zstd", TOO_LARGE, move |stream| {
        *stream = zstd(&frame(0, &[zstd_window(17)], &zstd_zeros(LARGE_BOMB)));
    });
}

/// The block header of an xz stream: behind the 12 bytes of the stream's header.
const XZ_BLOCK: usize = 12;

fn xz_cases(group: &mut Group) {
    damage(group, "xz", &xz(&qcow2::image()));
    // The xz format, 3.1 and 5.3.1: sizes, flags, the filter LZMA2 with the size of its dictionary.
    for (name, size) in [("96-mib", 29), ("1-gib", 36), ("4-gib", 40)] {
        group.refused(&format!("dictionary-of-{name}"), "xz", move |stream| reseal_block(stream, 4, size));
    }
    group.refused("dictionary-of-no-size", "xz", |stream| reseal_block(stream, 4, 63));
    group.refused("unknown-filter", "xz", |stream| reseal_block(stream, 2, 0x22));
    group.refused("reserved-block-flags", "xz", |stream| reseal_block(stream, 1, 0x3c));
    group.refused("unknown-check", "xz", |stream| {
        stream[7] = 0x3f;
        let sum = crc32(&stream[6..8]);
        put(stream, 8, &sum.to_le_bytes());
    });
    group.refused("stream-header-checksum", "xz", |stream| stream[8] ^= 1);
    group.refused("index-that-lies", "xz", |stream| {
        let at = stream.len() - 12 - 8;
        stream[at] ^= 1;
    });
    group.refused("padding-of-three-bytes", "xz", |stream| stream.extend([0; 3]));
    group.valid("padding-of-four-bytes", "padding between streams", |stream| stream.extend([0; 4]));
    group.too_large("bomb", TOO_LARGE, |stream| *stream = xz_zeros(BOMB));
    group.too_large("bomb-in-gzip", TOO_LARGE, |stream| *stream = gzip(&xz_zeros(BOMB)));
}

/// Changes a byte of the block header and makes its checksum fit.
fn reseal_block(stream: &mut [u8], at: usize, value: u8) {
    let length = (usize::from(stream[XZ_BLOCK]) + 1) * 4;
    stream[XZ_BLOCK + at] = value;
    let sum = crc32(&stream[XZ_BLOCK..XZ_BLOCK + length - 4]);
    put(stream, XZ_BLOCK + length - 4, &sum.to_le_bytes());
}

fn bzip2_cases(group: &mut Group) {
    damage(group, "bzip2", &bzip2(&qcow2::image()));
    // Block magic, then the block's checksum.
    group.refused("block-checksum", "bzip2", |stream| stream[10] ^= 1);
    group.refused("randomised-block-without-data", "bzip2", |stream| stream.truncate(14));
    group.too_large("bomb", TOO_LARGE, |stream| *stream = bzip2_zeros(BOMB));
    group.too_large("bomb-in-gzip", TOO_LARGE, |stream| *stream = gzip(&bzip2_zeros(BOMB)));
}

/// What a format puts up with behind its end or between its parts is not read for ever.
fn padding(group: &mut Group) {
    for (name, inner) in [
        ("behind-an-image", qcow2::image()),
        ("behind-gzip", gzip(&qcow2::image())),
        ("behind-xz", xz(&qcow2::image())),
        // A skippable frame of 4 GiB, more than is there.
        ("in-a-frame-that-is-skipped", [&zstd(&qcow2::image())[..], b"\x50\x2a\x4d\x18\xff\xff\xff\xff"].concat()),
    ] {
        group.refused(&format!("endless-{name}"), "beside the disk", move |stream| {
            *stream = zstd_and_zeros(&inner, LARGE_BOMB);
        });
    }
    for (name, inner) in [("an-image", qcow2::image()), ("gzip", gzip(&qcow2::image()))] {
        group.valid(&format!("behind-{name}"), "as much as any disk", move |stream| {
            *stream = zstd_and_zeros(&inner, ROOM - (8 << 20));
        });
    }
    group.refused("members-of-nothing", "beside the disk", |stream| {
        *stream = zstd(&gzip(&[]).repeat((80 << 20) / 20));
    });
}

/// Compressed more than once.
fn wrapped(group: &mut Group) {
    let wrap =
        |times: usize| move |stream: &mut Vec<u8>| *stream = (0..times).fold(qcow2::image(), |inner, _| gzip(&inner));
    group.valid("three-times", "gzip in gzip in gzip", wrap(3));
    for times in [6, 7, 50] {
        group.refused(&format!("{times}-times"), "wrapped more than", wrap(times));
    }
    group.too_large("bomb-of-all-kinds", TOO_LARGE, |stream| {
        let frame = [zstd_header(0, &[zstd_window(17)]), zstd_zeros(1 << 30)].concat();
        *stream = bzip2(&xz(&gzip(&frame)));
    });
    group.refused("a-polyglot-in-gzip", "format", |stream| {
        let mut image = qcow2::image();
        put(&mut image, 510, b"\x55\xaa");
        *stream = gzip(&image);
    });
    group.refused("a-backing-file-in-xz", "backing_file_offset", |stream| {
        let mut image = qcow2::image();
        put(&mut image, 8, &4096_u64.to_be_bytes());
        *stream = xz(&image);
    });
}
