//! tar archives: links, devices, paths that lead elsewhere, lengths that lie.

use crate::{
    ESCAPE, ROOM,
    bytes::{noise, put, text},
    case::{Case, Layer},
    group::Group,
    pack::{
        bzip2, bzip2_zeros, gzip, gzip_zeros, xz, xz_zeros, zstd, zstd_and_zeros, zstd_header, zstd_window, zstd_zeros,
    },
    qcow2,
    tar::{self, archive, extended, header, kind, link, member, record},
};

const NAME: &str = "disk.img";

fn disk() -> Vec<u8> {
    noise(64 << 10, 70)
}

fn base() -> Vec<u8> {
    archive(&[member(NAME, kind::FILE, &disk())])
}

pub(crate) fn cases() -> Vec<Case> {
    let mut group = Group::new("tar", "archive", Layer::Wrapping, base, |_| {});
    members(&mut group);
    paths(&mut group);
    sizes(&mut group);
    extensions(&mut group);
    sparse(&mut group);
    beside(&mut group);
    damage(&mut group);
    group.finish()
}

/// A case whose archive is not the base's, refused for its member.
fn refused(group: &mut Group, name: &str, names: &'static str, members: Vec<Vec<u8>>) {
    group.refused(name, names, move |image| *image = archive(&members));
}

/// What is no file, and files that may not be meant.
fn members(group: &mut Group) {
    for (name, names, member) in [
        ("symbolic-link", "symbolic link", link("disk/disk.img", kind::SYMBOLIC_LINK, "/etc/passwd")),
        ("symbolic-link-that-climbs", "symbolic link", link("disk/disk.img", kind::SYMBOLIC_LINK, "../../etc/passwd")),
        ("symbolic-link-to-itself", "symbolic link", link("disk/disk.img", kind::SYMBOLIC_LINK, "disk.img")),
        ("hard-link", "hard link", link("disk/disk.img", kind::HARD_LINK, "/etc/passwd")),
        ("hard-link-to-itself", "hard link", link("disk/disk.img", kind::HARD_LINK, "disk/disk.img")),
        ("character-device", "device", header("disk/disk.img", kind::CHARACTER_DEVICE, 0)),
        ("block-device", "device", header("disk/disk.img", kind::BLOCK_DEVICE, 0)),
        ("fifo", "special", header("disk/disk.img", kind::FIFO, 0)),
        ("unknown-type", "special", header("disk/disk.img", b'~', 0)),
        (
            "link-with-a-terminal-code-in-its-name",
            "symbolic link",
            link("disk/\x1b[2J\x07\r.img", kind::SYMBOLIC_LINK, "x"),
        ),
        ("symbolic-link-alone", "no file", link("disk.img", kind::SYMBOLIC_LINK, "/etc/passwd")),
        ("device-alone", "no file", header("disk.img", kind::BLOCK_DEVICE, 0)),
        ("directory-alone", "no file", header("disk.img/", kind::DIRECTORY, 0)),
    ] {
        refused(group, name, names, vec![member]);
    }
    let file = |name| member(name, kind::FILE, &disk());
    refused(group, "two-files", "both", vec![file("one.img"), file("two.img")]);
    refused(group, "one-file-twice", "both", vec![file(NAME), file(NAME)]);
    let inner = archive(&[file(NAME)]);
    refused(group, "archive-in-an-archive", "archive in an archive", vec![member("a.tar", kind::FILE, &inner)]);
    let packed = gzip(&inner);
    refused(group, "packed-archive-in-an-archive", "archive in an archive", vec![member("a.tgz", kind::FILE, &packed)]);
    refused(group, "empty-file", "image", vec![member(NAME, kind::FILE, &[])]);
    group.valid("behind-a-link-for-its-directory", "a link that is never followed", move |image| {
        *image = archive(&[link("disk", kind::SYMBOLIC_LINK, "/tmp"), file("disk/disk.img")]);
    });
    group.refused("backing-file-in-an-archive", "backing_file_offset", |image| {
        let mut qcow2 = qcow2::image();
        put(&mut qcow2, 8, &4096_u64.to_be_bytes());
        *image = archive(&[member(NAME, kind::FILE, &qcow2)]);
    });
    group.refused("backing-file-in-zstd-in-an-archive-in-gzip", "backing_file_offset", |image| {
        let mut qcow2 = qcow2::image();
        put(&mut qcow2, 8, &4096_u64.to_be_bytes());
        *image = gzip(&archive(&[member(NAME, kind::FILE, &zstd(&qcow2))]));
    });
}

/// Paths that lead out of wherever the archive would be extracted.
fn paths(group: &mut Group) {
    let climbing = format!("..{ESCAPE}");
    let deep = format!("disk/../../../../../..{ESCAPE}");
    for (name, path) in [
        ("path-that-climbs", climbing.clone()),
        ("path-that-climbs-later", deep.clone()),
        ("path-of-dots", "..".to_owned()),
    ] {
        refused(group, name, "path", vec![member(&path, kind::FILE, &disk())]);
    }
    refused(group, "absolute-path", "path", vec![member(ESCAPE, kind::FILE, &disk())]);
    refused(group, "absolute-path-of-many-slashes", "path", vec![member(&format!("//{ESCAPE}"), kind::FILE, &disk())]);
    let long = member("././@LongLink", kind::LONG_NAME, format!("{deep}\0").as_bytes());
    refused(group, "long-name-that-climbs", "path", vec![long, member(NAME, kind::FILE, &disk())]);
    let long = extended(&record("path", &format!("disk/{}", "n".repeat(100_000))));
    refused(group, "link-with-an-endless-name", "symbolic link", vec![long, link(NAME, kind::SYMBOLIC_LINK, "x")]);
    let renamed = extended(&record("path", ESCAPE));
    refused(group, "pax-path-that-is-absolute", "path", vec![renamed, member(NAME, kind::FILE, &disk())]);
    let renamed = extended(&record("path", &climbing));
    refused(group, "pax-path-that-climbs", "path", vec![renamed, member(NAME, kind::FILE, &disk())]);
    group.valid("path-with-a-dot", "what tar -C makes", |image| {
        *image = archive(&[member("./disk/./disk.img", kind::FILE, &disk())]);
    });
}

/// Lengths that lie.
fn sizes(group: &mut Group) {
    for (name, names, size) in [
        ("larger-than-the-archive", "ends in the middle", b"00000400001\0"),
        ("of-8-gib", "ends in the middle", b"77777777777\0"),
        ("of-no-number", "size", b"0000020000x\0"),
        ("negative", "size", b"-0000000001\0"),
        ("negative-in-base-256", "size", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"),
        ("of-2-to-the-63", "size", b"\x80\0\0\0\x80\0\0\0\0\0\0\0"),
        ("of-2-to-the-64", "size", b"\x80\0\0\x01\0\0\0\0\0\0\0\0"),
        ("of-ones-in-base-256", "size", b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        // The content is then taken for the next header.
        ("0", "checksum", b"00000000000\0"),
    ] {
        group.refused(&format!("size-{name}"), names, move |image| {
            put(image, tar::SIZE, size);
            tar::seal(image);
        });
    }
    // These are there, or as much of them as anybody would wait for.
    for (name, size, zeros) in [
        ("of-twice-the-room", format!("{:011o}\0", 2 * ROOM).into_bytes(), 2 * ROOM),
        ("of-8-exbibytes", b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xfe\0".to_vec(), 64 << 30),
    ] {
        group.too_large(&format!("size-{name}"), "the disk has", move |image| {
            let mut header = header(NAME, kind::FILE, 0);
            put(&mut header, tar::SIZE, &size);
            tar::seal(&mut header);
            *image = zstd(&header);
            image.extend(zstd_header(0, &[zstd_window(17)]));
            image.extend(zstd_zeros(zeros + (1 << 20)));
        });
    }
}

/// PAX headers and long names.
fn extensions(group: &mut Group) {
    let with = |records: String| vec![extended(&records), member(NAME, kind::FILE, &disk())];
    for (name, value) in [
        ("max", u64::MAX.to_string()),
        ("of-2-to-the-64", "18446744073709551616".to_owned()),
        ("of-2-to-the-63", (1_u64 << 63).to_string()),
        ("max-but-a-block", (u64::MAX - 511).to_string()),
        ("negative", "-1".to_owned()),
        ("of-no-number", "many".to_owned()),
        ("of-nothing", String::new()),
    ] {
        refused(group, &format!("pax-size-{name}"), "PAX", with(record("size", &value)));
    }
    let larger = with(record("size", "1000000"));
    refused(group, "pax-size-larger-than-the-archive", "ends in the middle", larger);
    for (name, records) in [
        ("without-an-equals-sign", "9 nothing\n"),
        ("without-a-newline", "12 path=disk"),
        ("with-a-length-of-0", "0 path=disk\n"),
        ("with-a-length-of-1", "1 path=disk\n"),
        ("with-a-length-beyond-the-end", "99 path=disk\n"),
        ("with-a-length-of-2-to-the-64", "18446744073709551615 path=disk\n"),
        ("with-a-negative-length", "-5 path=disk\n"),
        ("of-zeros", "\0\0\0\0\0\0\0\0"),
    ] {
        refused(group, &format!("pax-record-{name}"), "PAX", with(records.to_owned()));
    }
    let global = member("GlobalHead", kind::GLOBAL, record("size", "-7").as_bytes());
    refused(group, "pax-global-size-negative", "PAX", vec![global, member(NAME, kind::FILE, &disk())]);
    for (name, kind) in
        [("pax-header", kind::EXTENDED), ("global-pax-header", kind::GLOBAL), ("long-name", kind::LONG_NAME)]
    {
        let long = member("long", kind, &text((1 << 20) + 1));
        refused(group, &format!("{name}-of-more-than-1-mib"), "longer than", vec![long, member(NAME, b'0', &disk())]);
        refused(group, &format!("{name}-of-8-gib"), "longer than", vec![header("long", kind, (8 << 30) - 1)]);
        refused(group, &format!("{name}-that-is-cut"), "ends in the middle", vec![header("long", kind, 9000)]);
    }
}

/// Sparse members whose maps do not add up.
fn sparse(group: &mut Group) {
    let data = || noise(1024, 71);
    for (name, map, size) in [
        ("out-of-order", &[(8192, 512), (4096, 512)][..], 16_384),
        ("overlapping", &[(0, 512), (256, 512)], 16_384),
        ("beyond-the-file", &[(0, 512), (16_384, 512)], 16_384),
        ("of-more-than-is-there", &[(0, 512), (4096, 4096)], 16_384),
        ("of-less-than-is-there", &[(0, 512)], 16_384),
        ("at-the-last-offset", &[(0, 512), (u64::MAX - 511, 512)], 16_384),
        ("of-the-greatest-length", &[(0, 512), (512, u64::MAX)], 16_384),
        ("at-2-to-the-63", &[(0, 512), (1 << 63, 512)], u64::MAX),
    ] {
        refused(group, &format!("sparse-map-1.0-{name}"), "sparse", pax_1_0(map, size, &data()));
        refused(group, &format!("sparse-map-0.1-{name}"), "sparse", pax_0_1(map, size, &data()));
    }
    for (name, map) in
        [("no-number", "two\n0\n512\n"), ("too-few", "3\n0\n512\n"), ("max", "18446744073709551615\n0\n512\n")]
    {
        let mut content = map.as_bytes().to_vec();
        content.resize(tar::BLOCK, 0);
        content.extend(data());
        refused(group, &format!("sparse-map-1.0-of-{name}"), "sparse", pax_sparse(16_384, &content));
    }
    for (name, entries) in [
        ("out-of-order", [(8192, 512), (4096, 512)]),
        ("overlapping", [(0, 512), (256, 512)]),
        ("beyond-the-file", [(0, 512), (16_384, 512)]),
    ] {
        refused(group, &format!("sparse-map-old-gnu-{name}"), "sparse", vec![old_gnu(&entries, 16_384, &data())]);
    }
}

/// The form that keeps the map in the content (GNU tar manual, "PAX Format, Version 1.0").
fn pax_1_0(map: &[(u64, u64)], size: u64, data: &[u8]) -> Vec<Vec<u8>> {
    let numbers = map.iter().flat_map(|(offset, length)| [*offset, *length]);
    let lines: Vec<String> =
        std::iter::once(map.len() as u64).chain(numbers).map(|number| format!("{number}\n")).collect();
    let mut content = lines.concat().into_bytes();
    content.resize(content.len().next_multiple_of(tar::BLOCK), 0);
    content.extend(data);
    pax_sparse(size, &content)
}

fn pax_sparse(size: u64, content: &[u8]) -> Vec<Vec<u8>> {
    let records = [
        record("GNU.sparse.major", "1"),
        record("GNU.sparse.minor", "0"),
        record("GNU.sparse.name", NAME),
        record("GNU.sparse.realsize", &size.to_string()),
    ];
    vec![extended(&records.concat()), member("GNUSparseFile.0/disk.img", kind::FILE, content)]
}

/// The form that keeps it in one record.
fn pax_0_1(map: &[(u64, u64)], size: u64, data: &[u8]) -> Vec<Vec<u8>> {
    let numbers: Vec<String> = map.iter().map(|(offset, length)| format!("{offset},{length}")).collect();
    let records = [
        record("GNU.sparse.size", &size.to_string()),
        record("GNU.sparse.numblocks", &map.len().to_string()),
        record("GNU.sparse.map", &numbers.join(",")),
        record("GNU.sparse.name", NAME),
    ];
    vec![extended(&records.concat()), member("GNUSparseFile.0/disk.img", kind::FILE, data)]
}

/// The form that keeps it in the header.
fn old_gnu(map: &[(u64, u64); 2], size: u64, data: &[u8]) -> Vec<u8> {
    let mut member = member(NAME, kind::SPARSE, data);
    put(&mut member, 257, b"ustar  \0");
    for (index, (offset, length)) in map.iter().enumerate() {
        put(&mut member, 386 + 24 * index, format!("{offset:011o}\0{length:011o}\0").as_bytes());
    }
    put(&mut member, 483, format!("{size:011o}\0").as_bytes());
    tar::seal(&mut member);
    member
}

/// What lies beside the disk is read, but not for ever.
fn beside(group: &mut Group) {
    const MUCH: u64 = 64 << 30;
    // A name that cannot be the disk's.
    let before = || {
        let mut header = header("._notes.txt", kind::FILE, 0);
        put(&mut header, tar::SIZE, b"\x80\0\0\0\0\0\0\x10\0\0\0\0");
        tar::seal(&mut header);
        header
    };
    let first = move || [member(NAME, kind::FILE, &disk()), before()].concat();
    let named = "notes.txt, which is not the disk,";
    group.refused("bomb-before-the-disk", named, move |image| *image = zstd_and_zeros(&before(), MUCH));
    group.refused("bomb-behind-the-disk", named, move |image| *image = zstd_and_zeros(&first(), MUCH));
    group.refused("bomb-in-gzip", named, move |image| {
        *image = [gzip(&first()), gzip_zeros(1 << 20).repeat(1024)].concat();
    });
    group.refused("bomb-in-xz", named, move |image| {
        *image = [xz(&first()), xz_zeros(1 << 20).repeat(1024)].concat();
    });
    group.refused("bomb-in-bzip2-in-gzip", named, move |image| {
        *image = gzip(&[bzip2(&first()), bzip2_zeros(16 << 20).repeat(64)].concat());
    });
    group.refused("bomb-behind-the-end", "what follows the last file", |image| {
        *image = zstd_and_zeros(&base(), MUCH);
    });
    group.refused("bomb-of-many-members", "beside the disk", |image| {
        let many = member("._notes.txt", kind::FILE, b"").repeat(2048);
        *image = [zstd(&member(NAME, kind::FILE, &disk())), zstd(&many).repeat(80)].concat();
    });
    group.valid("as-much-again-as-any-disk", "a file that is mostly a hole", move |image| {
        let other = header("._notes.txt", kind::FILE, ROOM - (8 << 20));
        *image = zstd_and_zeros(&[member(NAME, kind::FILE, &disk()), other].concat(), ROOM - (4 << 20));
    });
}

fn damage(group: &mut Group) {
    group.refused("checksum-of-the-second-header", "checksum", |image| {
        let mut second = header("notes.txt", kind::FILE, 0);
        second[0] ^= 1;
        let at = image.len() - 2 * tar::BLOCK;
        put(image, at, &second);
    });
    group.cut(tar::BLOCK, "ends in the middle");
    group.cut(40_000, "ends in the middle");
    group.refused("cut-in-the-second-header", "ends in the middle", |image| {
        let at = image.len() - 2 * tar::BLOCK;
        put(image, at, &header("notes.txt", kind::FILE, 0));
        image.truncate(at + 100);
    });
    group.valid("without-its-end", "no blocks of zeros at the end", |image| {
        image.truncate(image.len() - 2 * tar::BLOCK);
    });
    group.valid("garbage-behind-the-end", "bytes that no reader of archives reads", |image| {
        image.extend(noise(5000, 72));
    });
}
