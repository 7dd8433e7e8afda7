//! Which formats an image carries the marks of.

use super::{
    raw::RawContent,
    view::{Stop, View},
};
use crate::{
    Refusal,
    error::{Reason, quote},
};

/// How much of an image is searched for signatures: ISO 9660 and UDF lie from 32 KiB on.
const HEAD: usize = 64 << 10;

/// The sector of an optical disc, and where its volume descriptors begin (ECMA-119 §6.2.1, ECMA-167 part 2 §8.3).
const DISC_SECTOR: usize = 2048;
const DISC_DESCRIPTORS: usize = 16 * DISC_SECTOR;

/// The container format of an image, or what a raw disk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    Qcow2,
    Vmdk,
    Vdi,
    Vhd,
    Vhdx,
    None(RawContent),
}

struct Signature {
    name: &'static str,
    offset: usize,
    magic: &'static [u8],
    meaning: Meaning,
}

enum Meaning {
    Container(Container),
    Refused(Reason),
}

/// Every signature that some reader of disk images goes by. QEMU probes for all of those that are refused, so they may
/// not pass as raw either.
const SIGNATURES: &[Signature] = {
    use Meaning::{Container as Is, Refused};
    const fn signature(name: &'static str, offset: usize, magic: &'static [u8], meaning: Meaning) -> Signature {
        Signature { name, offset, magic, meaning }
    }
    &[
        signature("qcow2", 0, b"QFI\xfb", Is(Container::Qcow2)),
        signature("vmdk", 0, b"KDMV", Is(Container::Vmdk)),
        signature("vdi", 0x40, b"\x7f\x10\xda\xbe", Is(Container::Vdi)),
        signature("vhd", 0, b"conectix", Is(Container::Vhd)),
        signature("vhdx", 0, b"vhdxfile", Is(Container::Vhdx)),
        signature("qed", 0, b"QED\0", Refused(Reason::UnsupportedFormat)),
        signature("vmdk of ESX 2 (COWD)", 0, b"COWD", Refused(Reason::UnsupportedFormat)),
        signature("vmdk descriptor", 0, b"# Disk DescriptorFile", Refused(Reason::ExternalExtent)),
        signature("LUKS", 0, b"LUKS\xba\xbe", Refused(Reason::Encrypted)),
        signature("Parallels", 0, b"WithoutFreeSpace", Refused(Reason::UnsupportedFormat)),
        signature("Parallels", 0, b"WithouFreSpacExt", Refused(Reason::UnsupportedFormat)),
        signature("Bochs", 0, b"Bochs Virtual HD Image", Refused(Reason::UnsupportedFormat)),
        signature("cloop", 0, b"#!/bin/sh\n#V2.0 Format\n", Refused(Reason::UnsupportedFormat)),
        // What people pack images in, and is not unpacked here: as a raw disk it would boot nothing.
        signature("zip archive", 0, b"PK\x03\x04", Refused(Reason::NotADisk)),
        signature("7z archive", 0, b"7z\xbc\xaf\x27\x1c", Refused(Reason::NotADisk)),
        signature("rar archive", 0, b"Rar!\x1a\x07", Refused(Reason::NotADisk)),
        signature("lz4 stream", 0, b"\x04\x22\x4d\x18", Refused(Reason::NotADisk)),
        signature("Apple lz4 stream", 0, b"bv41", Refused(Reason::NotADisk)),
        signature("lzfse stream", 0, b"bvx2", Refused(Reason::NotADisk)),
        signature("lzip stream", 0, b"LZIP\x01", Refused(Reason::NotADisk)),
        signature("lzop stream", 0, b"\x89LZO\0\r\n\x1a\n", Refused(Reason::NotADisk)),
        signature("Git LFS pointer", 0, b"version https://git-lfs", Refused(Reason::NotADisk)),
    ]
};

/// Finds the one format of an image.
pub(super) fn detect(view: &View<'_>) -> Result<Container, Stop> {
    let head = view.head(HEAD)?;
    if head.is_empty() {
        return Err(Refusal::new(Reason::Empty, "image", "size", 0, "a disk").into());
    }
    let found: Vec<&Signature> =
        SIGNATURES.iter().filter(|signature| has(&head, signature.offset, signature.magic)).collect();
    let content = raw_content(&head);
    match found[..] {
        [] => {
            refuse_text(&head)?;
            Ok(Container::None(content))
        }
        [one] => {
            if let Some(second) = second_disk(&head, one) {
                return Err(polyglot(one.name, second));
            }
            match one.meaning {
                Meaning::Container(container) => Ok(container),
                Meaning::Refused(reason) => Err(Refusal::new(
                    reason,
                    "image",
                    "format",
                    one.name,
                    "raw, qcow2, vmdk (one file), vdi, vhd or vhdx, as it is or in gzip, zstd, xz, bzip2 or tar",
                )
                .into()),
            }
        }
        [first, second, ..] => Err(polyglot(first.name, second.name)),
    }
}

fn polyglot(first: &str, second: &str) -> Stop {
    Refusal::new(
        Reason::Polyglot,
        "image",
        "format",
        format_args!("signatures of {first} and of {second}"),
        "one format",
    )
    .into()
}

fn has(head: &[u8], offset: usize, magic: &[u8]) -> bool {
    head.get(offset..).is_some_and(|rest| rest.starts_with(magic))
}

/// What the first bytes of a raw disk hold, as firmware and kernels look for it.
fn raw_content(head: &[u8]) -> RawContent {
    let descriptor = |identifiers: &[&[u8]]| {
        (DISC_DESCRIPTORS..head.len())
            .step_by(DISC_SECTOR)
            .any(|sector| identifiers.iter().any(|magic| has(head, sector + 1, magic)))
    };
    if descriptor(&[b"CD001"]) {
        RawContent::Iso9660
    } else if descriptor(&[b"NSR02", b"NSR03"]) {
        RawContent::Udf
    } else if has(head, 512, b"EFI PART") || has(head, 4096, b"EFI PART") {
        RawContent::Gpt
    } else if has(head, 510, b"\x55\xaa") {
        RawContent::Mbr
    } else {
        RawContent::Unknown
    }
}

/// A disk's own structures in a container's header: somebody made them valid on purpose. Only offsets at which no
/// container has guest data are looked at; behind them a match is the guest's.
fn second_disk(head: &[u8], container: &Signature) -> Option<&'static str> {
    // With clusters of one sector, qcow2 may have data from byte 512 on (cluster_bits is at byte 20).
    let sector_clusters = container.magic == b"QFI\xfb" && has(head, 20, &9_u32.to_be_bytes());
    let first_descriptor = |magic| has(head, DISC_DESCRIPTORS + 1, magic);
    if first_descriptor(b"CD001") {
        Some("ISO 9660")
    } else if first_descriptor(b"BEA01") || first_descriptor(b"NSR02") || first_descriptor(b"NSR03") {
        Some("UDF")
    } else if has(head, 512, b"EFI PART") && !sector_clusters {
        Some("a GPT")
    } else if has(head, 510, b"\x55\xaa") {
        Some("an MBR")
    } else {
        None
    }
}

/// Text in place of a disk: a web page that a portal gave instead of the image, or a vmdk descriptor without the usual
/// first line, which QEMU finds by its first line that is neither comment nor blank.
fn refuse_text(head: &[u8]) -> Result<(), Refusal> {
    const PAGES: [&[u8]; 3] = [b"<!doctype html", b"<html", b"<?xml"];
    let start = &head[..head.len().min(512)];
    let text = start.trim_ascii_start();
    if PAGES.iter().any(|page| text.get(..page.len()).is_some_and(|first| first.eq_ignore_ascii_case(page))) {
        return Err(Refusal::new(
            Reason::NotADisk,
            "image",
            "first bytes",
            format_args!("a web page: {}", quote(text)),
            "a disk image",
        ));
    }
    let line = start
        .split(|&byte| byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .find(|line| !line.is_empty() && !line.starts_with(b"#"));
    match line {
        Some(line) if line.starts_with(b"version=") => {
            Err(Refusal::new(Reason::ExternalExtent, "image", "format", "a vmdk descriptor", "a disk in one file"))
        }
        _ => Ok(()),
    }
}
