//! The inspector's verdict on what QEMU's tools make, and on raw disks of every kind.

use std::path::Path;

use crate::support::{
    Disk, assert_same, decode_random, decode_stream, inspect,
    qemu::{Images, text},
    sample_disk,
};
use vmdisk_format::{
    Decoder, Details, Error, Format, Inspection, Options, RawContent, Reason, Scope, Verdict, VhdType, VmdkSubformat,
    inspect_prefix, inspect_reader,
};

const SIZE: u64 = 3 << 20;

fn created(images: &Images, format: &str, options: &str) -> Vec<u8> {
    let path = images.path("image");
    let mut arguments = vec!["create", "-q", "-f", format];
    if !options.is_empty() {
        arguments.extend(["-o", options]);
    }
    let size = SIZE.to_string();
    arguments.extend([text(&path), &size]);
    images.qemu_img(&arguments);
    read(&path)
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("readable")
}

/// What a stream tells: asks again with as much as is wanted, as the worker does.
fn inspect_stream(image: &[u8], size: Option<u64>) -> Result<Inspection, Error> {
    let mut length = 1;
    loop {
        let end = image.len().min(length);
        let known = if end == image.len() { Some(end as u64) } else { size };
        match inspect_prefix(&image[..end], known)? {
            Verdict::Decided(inspection) => return Ok(inspection),
            Verdict::NeedMore(more) => {
                assert!(more > length && more <= vmdisk_format::MAX_PREFIX, "{more} after {length}");
                length = more;
            }
            Verdict::NeedsRandomAccess => panic!("within the prefix"),
        }
    }
}

/// Inspects by reader and by prefix; both say the same, the prefix of an image without an end as far as it can.
fn passes(image: &[u8], case: &str) -> Inspection {
    let whole = inspect(image).unwrap_or_else(|error| panic!("{case}: {error}"));
    assert_eq!(whole.scope, Scope::Whole, "{case}");
    for size in [None, Some(image.len() as u64)] {
        let mut prefix = inspect_stream(image, size).unwrap_or_else(|error| panic!("{case}: {error}"));
        if whole.details == (Details::Vhd { kind: VhdType::Fixed }) && prefix.format == Format::Raw {
            prefix.expect(Format::Vhd).expect("not decided yet");
            continue;
        }
        prefix.scope = Scope::Whole;
        prefix.virtual_size = prefix.virtual_size.or(whole.virtual_size);
        assert_eq!(prefix, whole, "{case}");
    }
    whole.expect(whole.format).expect("itself");
    if whole.format != Format::Raw {
        let mismatch = whole.expect(Format::Raw).expect_err(case);
        assert_eq!(mismatch.reason, Reason::FormatMismatch);
    }
    whole
}

fn refused(image: &[u8], reason: Reason, case: &str) {
    let by_reader = inspect(image).err().unwrap_or_else(|| panic!("{case} passes"));
    let by_prefix = inspect_stream(image, Some(image.len() as u64)).err().unwrap_or_else(|| panic!("{case} passes"));
    for error in [by_reader, by_prefix] {
        let refusal = error.refusal().unwrap_or_else(|| panic!("{case}: {error}"));
        assert_eq!(refusal.reason, reason, "{case}: {refusal}");
    }
}

#[test]
fn vmdk() {
    for images in Images::by_every_qemu() {
        let raw = images.write("disk.raw", &sample_disk(3 << 20, 7));
        for (subformat, expected) in
            [("monolithicSparse", VmdkSubformat::MonolithicSparse), ("streamOptimized", VmdkSubformat::StreamOptimized)]
        {
            let options = format!("subformat={subformat}");
            let made = read(&images.convert(&raw, "disk.vmdk", &["-O", "vmdk", "-o", &options]));
            for image in [created(&images, "vmdk", &options), made] {
                let found = passes(&image, subformat);
                assert_eq!((found.format, found.virtual_size), (Format::Vmdk, Some(SIZE)));
                let Details::Vmdk(header) = found.details else {
                    panic!("{found:?}");
                };
                assert_eq!((header.subformat, header.footer, header.grain_size), (expected, false, 65536));
            }
        }
        for subformat in ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"] {
            let image = created(&images, "vmdk", &format!("subformat={subformat}"));
            refused(&image, Reason::ExternalExtent, subformat);
        }
        created(&images, "qcow2", "");
        let backing = format!("backing_file={},backing_fmt=qcow2", text(&images.path("base")));
        images.qemu_img(&["create", "-q", "-f", "vmdk", text(&images.path("base")), "3M"]);
        let overlay = created(&images, "vmdk", &backing.replace("qcow2", "vmdk"));
        refused(&overlay, Reason::BackingFile, "vmdk overlay");
    }
}

#[test]
fn vdi() {
    for images in Images::by_every_qemu() {
        let mut image = created(&images, "vdi", "");
        for (kind, case) in [(1, "dynamic"), (2, "static")] {
            image[0x4c] = kind;
            let found = passes(&image, case);
            assert_eq!(found.format, Format::Vdi);
            assert_eq!(found.virtual_size, Some(SIZE));
            let Details::Vdi(header) = found.details else {
                panic!("{found:?}");
            };
            assert_eq!((header.disk_size, header.block_size, header.blocks), (SIZE, 1 << 20, 3));
        }
        for kind in [3, 4] {
            image[0x4c] = kind;
            refused(&image, Reason::BackingFile, "undo, differencing");
        }
        let raw = images.write("disk.raw", &sample_disk(3 << 20, 8));
        let image = read(&images.convert(&raw, "disk.vdi", &["-O", "vdi"]));
        passes(&image, "with data");
        refused(&image[..image.len() - (1 << 20)], Reason::Truncated, "cut");
    }
}

#[test]
fn vhd() {
    for images in Images::by_every_qemu() {
        let raw = images.write("disk.raw", &sample_disk(3 << 20, 9));
        for options in ["", "force_size=on"] {
            let with = |subformat: &str| {
                let all = format!("subformat={subformat},{options}");
                let all = all.trim_end_matches(',');
                read(&images.convert(&raw, "disk.vhd", &["-O", "vpc", "-o", all]))
            };
            let dynamic = with("dynamic");
            let found = passes(&dynamic, "dynamic");
            let Details::Vhd { kind: VhdType::Dynamic(header) } = found.details else {
                panic!("{found:?}");
            };
            assert_eq!((header.block_size, header.entries, header.table_offset), (2 << 20, 2, 1536));
            // A prefix can't tell.
            let error = inspect(&dynamic[..dynamic.len() - 512]).expect_err("no footer");
            let reason = error.refusal().map(|refusal| refusal.reason);
            assert_eq!(reason, Some(Reason::Truncated));

            let fixed = with("fixed");
            let found = passes(&fixed, "fixed");
            assert_eq!(found.details, Details::Vhd { kind: VhdType::Fixed });
            assert_eq!(found.virtual_size, Some(fixed.len() as u64 - 512));
            let disk = images.reference("vpc", &images.write("fixed.vhd", &fixed));
            assert_same(&disk, &fixed[..fixed.len() - 512], "reference");
            assert_same(&decode_random(&fixed).expect("decoded"), &disk, "random access");
            for chunk in [1, 511, 4096, 1 << 20] {
                let (found, _) = decode_stream(&fixed, &[chunk, 100_000], &Options::default()).expect("decoded");
                assert_same(&found, &disk, "stream");
            }
        }
    }
}

/// A fixed vhd that comes as a stream is told from a raw disk by its end alone.
#[test]
fn vhd_by_its_end() {
    for images in Images::by_every_qemu() {
        let fixed = created(&images, "vpc", "subformat=fixed");
        let footless = &fixed[..fixed.len() - 512];
        let seen = inspect_stream(&fixed, None).expect("passes");
        assert_eq!((seen.format, seen.virtual_size), (Format::Raw, None));
        let decode = |image: &[u8], declared| {
            let options = Options { declared, ..Options::default() };
            let mut decoder = Decoder::new(&seen, &options);
            let mut disk = Disk::new(image.len(), 4096);
            decoder.push(image, &mut disk).expect("taken");
            decoder.finish(&mut disk).map(|summary| (summary.format, summary.virtual_size))
        };
        let size = footless.len() as u64;
        assert_eq!(decode(&fixed, None).expect("whole"), (Format::Vhd, size));
        assert_eq!(decode(&fixed, Some(Format::Vhd)).expect("whole"), (Format::Vhd, size));
        assert_eq!(decode(footless, Some(Format::Raw)).expect("whole"), (Format::Raw, size));
        for (image, declared) in [(&fixed[..], Format::Raw), (footless, Format::Vhd)] {
            let error = decode(image, Some(declared)).expect_err("mismatch");
            assert_eq!(error.refusal().map(|refusal| refusal.reason), Some(Reason::FormatMismatch));
        }
        let cut = [&fixed[..4096], &fixed[fixed.len() - 512..]].concat();
        let error = decode(&cut, None).expect_err("cut");
        assert_eq!(error.refusal().map(|refusal| refusal.reason), Some(Reason::Truncated));
    }
}

#[test]
fn vhdx() {
    for images in Images::by_every_qemu() {
        for options in ["subformat=dynamic", "subformat=fixed", "block_size=32M"] {
            let image = created(&images, "vhdx", options);
            let found = passes(&image, options);
            assert_eq!((found.format, found.virtual_size), (Format::Vhdx, Some(SIZE)));
            refused(&image[..2 << 20], Reason::Truncated, "cut");
        }
    }
}

#[test]
fn qcow2_that_is_not_whole() {
    for images in Images::by_every_qemu() {
        let base = images.path("base");
        images.qemu_img(&["create", "-q", "-f", "qcow2", text(&base), "3M"]);
        let backing = format!("backing_file={},backing_fmt=qcow2", text(&base));
        refused(&created(&images, "qcow2", &backing), Reason::BackingFile, "overlay");
        for raw in ["off", "on"] {
            let data_file = format!("data_file={},data_file_raw={raw}", text(&images.path("data")));
            refused(&created(&images, "qcow2", &data_file), Reason::DataFile, &data_file);
        }
        // By a cipher of long ago: QEMU takes seconds to set up a newer one.
        let secret = images.path("secret");
        let options = "encrypt.format=aes,encrypt.key-secret=key";
        let key = ["create", "-q", "--object", "secret,id=key,data=secret", "-f", "qcow2", "-o", options];
        images.qemu_img(&[&key[..], &[text(&secret), "3M"]].concat());
        refused(&read(&secret), Reason::Encrypted, options);
        let mut encrypted = created(&images, "qcow2", "");
        for method in [1, 2] {
            encrypted[35] = method;
            refused(&encrypted, Reason::Encrypted, "crypt_method");
        }
        refused(&with(&[(0, b"LUKS\xba\xbe\0\x02")]), Reason::Encrypted, "LUKS");
    }
}

#[test]
fn formats_that_are_not_supported() {
    for images in Images::by_every_qemu() {
        for format in ["qcow", "qed", "parallels"] {
            refused(&created(&images, format, ""), Reason::UnsupportedFormat, format);
        }
    }
}

fn with(marks: &[(usize, &[u8])]) -> Vec<u8> {
    let mut disk = vec![0; 1 << 20];
    for (offset, mark) in marks {
        disk[*offset..offset + mark.len()].copy_from_slice(mark);
    }
    disk
}

const MBR: (usize, &[u8]) = (510, b"\x55\xaa");
const GPT: (usize, &[u8]) = (512, b"EFI PART");
const ISO: (usize, &[u8]) = (32768, b"\x01CD001\x01");

#[test]
fn raw_disks() {
    for (disk, content) in [
        (with(&[]), RawContent::Unknown),
        (with(&[MBR]), RawContent::Mbr),
        (with(&[MBR, GPT]), RawContent::Gpt),
        (with(&[MBR, (4096, b"EFI PART")]), RawContent::Gpt),
        (with(&[ISO]), RawContent::Iso9660),
        (with(&[MBR, GPT, ISO]), RawContent::Iso9660),
        (with(&[(32768, b"\0BEA01"), (34816, b"\0NSR03")]), RawContent::Udf),
        (vec![1; 100], RawContent::Unknown),
    ] {
        let found = passes(&disk, "raw");
        assert_eq!(found.format, Format::Raw);
        assert_eq!(found.virtual_size, Some(disk.len() as u64));
        assert_eq!(found.details, Details::Raw { content });
        assert_same(&decode_random(&disk).expect("decoded"), &disk, "raw");
        let (found, _) = decode_stream(&disk, &[3, 9999], &Options::default()).expect("decoded");
        assert_same(&found, &disk, "raw");
    }
}

#[test]
fn polyglots_and_what_is_no_disk() {
    for images in Images::by_every_qemu() {
        for format in ["qcow2", "vmdk", "vdi", "vpc", "vhdx"] {
            let image = created(&images, format, "");
            for (mark, name) in [(ISO, "ISO"), (MBR, "MBR"), (GPT, "GPT")] {
                let mut both = image.clone();
                both.resize(both.len().max(65536), 0);
                both[mark.0..mark.0 + mark.1.len()].copy_from_slice(mark.1);
                refused(&both, Reason::Polyglot, &format!("{format} and {name}"));
            }
            if format != "vdi" {
                let mut both = image.clone();
                both[0x40..0x44].copy_from_slice(b"\x7f\x10\xda\xbe");
                refused(&both, Reason::Polyglot, &format!("{format} and vdi"));
            }
        }
        refused(b"", Reason::Empty, "nothing");
        refused(b"\n <!DOCTYPE HTML><title>Sign in", Reason::NotADisk, "a web page");
        refused(b"version https://git-lfs.github.com/spec/v1\n", Reason::NotADisk, "a pointer");
        refused(b"#\n\nversion=1\ncreateType=\"monolithicFlat\"", Reason::ExternalExtent, "a descriptor");
        assert!(inspect_reader(&&b""[..]).is_err());
    }
}
