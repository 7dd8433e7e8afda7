//! What is no disk, what is not supported, and what is two things at once.

use crate::{
    bytes::{noise, put},
    case::{Case, Layer},
    group::Group,
    qcow2, vmdk,
};

fn raw() -> Vec<u8> {
    noise(1 << 20, 50)
}

pub(crate) fn cases() -> Vec<Case> {
    let mut group = Group::new("raw", "disk", Layer::Image, raw, |_| {});
    signatures(&mut group);
    pages(&mut group);
    descriptors(&mut group);
    let mut cases = group.finish();
    let mut group = Group::new("polyglot", "qcow2", Layer::Image, qcow2::image, |_| {});
    polyglots(&mut group);
    cases.extend(group.finish());
    let mut group = Group::new("nested", "in-qcow2", Layer::Disk, qcow2::image, |_| {});
    nested(&mut group);
    cases.extend(group.finish());
    cases
}

/// Formats of other readers: QEMU probes for each of the first, so they cannot pass for raw either.
fn signatures(group: &mut Group) {
    for (name, magic) in [
        ("qed", &b"QED\0"[..]),
        ("cowd", b"COWD"),
        ("luks", b"LUKS\xba\xbe"),
        ("parallels", b"WithoutFreeSpace"),
        ("parallels-extended", b"WithouFreSpacExt"),
        ("bochs", b"Bochs Virtual HD Image"),
        ("cloop", b"#!/bin/sh\n#V2.0 Format\n"),
        ("git-lfs-pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"),
    ] {
        group.refused(&format!("begins-like-{name}"), "format", move |image| put(image, 0, magic));
    }
    for (name, magic) in [
        ("zip", &b"PK\x03\x04"[..]),
        ("7z", b"7z\xbc\xaf\x27\x1c"),
        ("rar", b"Rar!\x1a\x07"),
        ("lz4", b"\x04\x22\x4d\x18"),
        ("apple-lz4", b"bv41"),
        ("lzfse", b"bvx2"),
        ("lzip", b"LZIP\x01"),
        ("lzop", b"\x89LZO\0\r\n\x1a\n"),
    ] {
        group.refused(&format!("begins-like-{name}"), "format", move |image| put(image, 0, magic));
    }
    group.refused("vdi-magic-alone", "vdi", |image| put(image, 0x40, b"\x7f\x10\xda\xbe"));
    group.refused("empty", "size", Vec::clear);
}

/// What a portal sends in place of an image.
fn pages(group: &mut Group) {
    for (name, text) in [
        ("web-page", "<!DOCTYPE html><html><body>Please log in</body></html>"),
        ("web-page-in-capitals", "\n\n  <HTML><BODY>404</BODY></HTML>"),
        ("s3-error", "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>"),
    ] {
        group.refused(name, "first bytes", move |image| *image = text.as_bytes().to_vec());
    }
}

/// Descriptors of vmdk disks whose data lies elsewhere.
fn descriptors(group: &mut Group) {
    for (name, kind, extent) in [
        ("flat", "monolithicFlat", r#"RW 8192 FLAT "disk-flat.vmdk" 0"#),
        ("absolute-path", "monolithicFlat", r#"RW 8192 FLAT "/etc/passwd" 0"#),
        ("path-that-climbs", "monolithicFlat", r#"RW 8192 FLAT "../../etc/passwd" 0"#),
        ("device", "fullDevice", r#"RW 8192 FLAT "/dev/sda" 0"#),
        ("json-name", "monolithicFlat", r#"RW 8192 FLAT "json:{\"driver\":\"nbd\"}" 0"#),
        ("nbd-name", "monolithicFlat", r#"RW 8192 FLAT "nbd://127.0.0.1/" 0"#),
    ] {
        group.refused(&format!("vmdk-descriptor-{name}"), "format", move |image| *image = vmdk::alone(kind, extent));
        group.refused(&format!("vmdk-descriptor-{name}-without-its-first-line"), "format", move |image| {
            *image = vmdk::alone(kind, extent)[b"# Disk DescriptorFile\n".len()..].to_vec();
        });
    }
}

/// Valid to two readers.
fn polyglots(group: &mut Group) {
    for (name, at, magic) in [
        ("iso-9660", 0x8001, &b"CD001"[..]),
        ("udf", 0x8001, b"BEA01"),
        ("gpt", 512, b"EFI PART"),
        ("mbr", 510, b"\x55\xaa"),
        ("vdi", 0x40, b"\x7f\x10\xda\xbe"),
    ] {
        group.refused(&format!("and-{name}"), "format", move |image| {
            // Behind the header and its extensions; the reader of qcow2 does not look there.
            image.resize(0x10000, 0);
            put(image, at, magic);
        });
    }
    group.refused("and-vdi-in-a-vmdk", "format", |image| {
        *image = vmdk::image();
        put(image, 0x50, b"x");
        put(image, 0x40, b"\x7f\x10\xda\xbe");
    });
    group.refused("and-mbr-in-a-vmdk", "format", |image| {
        *image = vmdk::image();
        put(image, 510, b"\x55\xaa");
    });
    group.refused("and-iso-9660-in-a-vmdk", "format", |image| {
        *image = vmdk::image();
        put(image, 0x8001, b"CD001");
    });
}

/// A disk that the next reader would take for an image.
fn nested(group: &mut Group) {
    for (name, beginning) in [
        ("qcow2", qcow2::image()[..4096].to_vec()),
        ("vmdk", vmdk::image()[..4096].to_vec()),
        ("vmdk-descriptor", vmdk::alone("monolithicFlat", r#"RW 8192 FLAT "/etc/passwd" 0"#)),
        (
            "vmdk-descriptor-without-its-first-line",
            vmdk::alone("monolithicFlat", r#"RW 8192 FLAT "/etc/passwd" 0"#)[22..].to_vec(),
        ),
        ("qed", b"QED\0".to_vec()),
        ("cowd", b"COWD".to_vec()),
        ("parallels", b"WithoutFreeSpace".to_vec()),
        ("bochs", b"Bochs Virtual HD Image".to_vec()),
        ("vhdx", b"vhdxfile".to_vec()),
        ("vhd", b"conectix".to_vec()),
        ("luks", b"LUKS\xba\xbe".to_vec()),
    ] {
        group.refused(name, "begins like", move |image| *image = qcow2::image_of(&beginning));
    }
}
