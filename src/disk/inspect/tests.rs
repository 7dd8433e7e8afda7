//! Each header field of vmdk, vdi, vhd and vhdx at its extremes, with the checksums made to fit.

use super::*;

type Change<'a> = (&'a str, usize, &'a [u8], Option<Reason>);

const PASSES: Option<Reason> = None;

/// Applies each change to `image`, lets `seal` recompute what depends on it, and compares the verdict.
fn check(image: &[u8], changes: &[Change<'_>], seal: impl Fn(&mut [u8])) {
    for (field, offset, value, expected) in changes {
        let mut image = image.to_vec();
        image[*offset..offset + value.len()].copy_from_slice(value);
        seal(&mut image);
        let verdict = inspect_reader(&&image[..]);
        let found = verdict.as_ref().err().map(|error| match error {
            Error::Refused(refusal) => refusal.reason,
            other => panic!("{field}: {other}"),
        });
        assert_eq!(found, *expected, "{field} = {value:02x?}: {verdict:?}");
    }
}

fn put(image: &mut [u8], offset: usize, bytes: &[u8]) {
    image[offset..offset + bytes.len()].copy_from_slice(bytes);
}

mod vdi {
    use super::*;

    /// Two blocks, one of them allocated.
    fn image() -> Vec<u8> {
        let mut image = vec![0; 1024 + (1 << 20)];
        put(&mut image, 0, b"<<< A disk >>>\n");
        for (offset, value) in [
            (0x40, 0xbeda_107f_u32),
            (0x44, 0x0001_0001),
            (0x48, 0x190),
            (0x4c, 1),
            (0x154, 512),
            (0x158, 1024),
            (0x168, 512),
            (0x170, 2 << 20),
            (0x178, 1 << 20),
            (0x180, 2),
            (0x184, 1),
        ] {
            put(&mut image, offset, &value.to_le_bytes());
        }
        image
    }

    #[test]
    fn fields() {
        let le = u32::to_le_bytes;
        check(
            &image(),
            &[
                ("nothing", 0x60, &[0], PASSES),
                ("u32Version", 0x44, &le(1), Some(Reason::UnsupportedFormat)),
                ("cbHeader", 0x48, &le(0x17f), Some(Reason::BadHeader)),
                ("cbHeader", 0x48, &le(u32::MAX), Some(Reason::BadHeader)),
                ("u32Type", 0x4c, &le(0), Some(Reason::UnsupportedFormat)),
                ("u32Type", 0x4c, &le(2), PASSES),
                ("u32Type", 0x4c, &le(3), Some(Reason::BackingFile)),
                ("u32Type", 0x4c, &le(4), Some(Reason::BackingFile)),
                ("offBlocks", 0x154, &le(0), Some(Reason::BadHeader)),
                ("offBlocks", 0x154, &le(513), Some(Reason::BadHeader)),
                ("offBlocks", 0x154, &le(u32::MAX - 511), Some(Reason::Overlap)),
                ("offData", 0x158, &le(512), Some(Reason::Overlap)),
                ("offData", 0x158, &le(1 << 30), Some(Reason::Truncated)),
                ("cbSector", 0x168, &le(4096), Some(Reason::BadHeader)),
                ("cbDisk", 0x170, &[0; 8], Some(Reason::Empty)),
                ("cbDisk", 0x170, &[0xff; 8], Some(Reason::BadHeader)),
                ("cbDisk", 0x170, &le((2 << 20) + 1), Some(Reason::BadHeader)),
                ("cbBlock", 0x178, &le(0), Some(Reason::UnsupportedFeature)),
                ("cbBlock", 0x178, &le(2 << 20), Some(Reason::UnsupportedFeature)),
                ("cbBlockExtra", 0x17c, &le(512), Some(Reason::UnsupportedFeature)),
                ("cBlocks", 0x180, &le(u32::MAX), Some(Reason::TooLarge)),
                ("cBlocks", 0x180, &le(1), Some(Reason::BadHeader)),
                ("cBlocksAllocated", 0x184, &le(2), Some(Reason::Truncated)),
                ("cBlocksAllocated", 0x184, &le(3), Some(Reason::BadHeader)),
                ("uuidLinkage", 0x1a8, &[1], Some(Reason::BackingFile)),
                ("uuidParentModify", 0x1c7, &[1], Some(Reason::BackingFile)),
            ],
            |_| {},
        );
    }
}

mod vhd {
    use super::*;

    fn seal(structure: &mut [u8], checksum: usize) {
        put(structure, checksum, &[0; 4]);
        let sum: u32 = structure.iter().map(|&byte| u32::from(byte)).sum();
        put(structure, checksum, &(!sum).to_be_bytes());
    }

    /// A footer, its header, a table of one block, and the footer again.
    fn image() -> Vec<u8> {
        let mut image = vec![0; 512 + 1024 + 512 + 512];
        put(&mut image, 0, b"conectix");
        put(&mut image, 8, &2_u32.to_be_bytes());
        put(&mut image, 12, &0x0001_0000_u32.to_be_bytes());
        put(&mut image, 16, &512_u64.to_be_bytes());
        put(&mut image, 40, &(2_u64 << 20).to_be_bytes());
        put(&mut image, 48, &(2_u64 << 20).to_be_bytes());
        put(&mut image, 60, &3_u32.to_be_bytes());
        put(&mut image, 512, b"cxsparse");
        put(&mut image, 512 + 8, &[0xff; 8]);
        put(&mut image, 512 + 16, &1536_u64.to_be_bytes());
        put(&mut image, 512 + 24, &0x0001_0000_u32.to_be_bytes());
        put(&mut image, 512 + 28, &1_u32.to_be_bytes());
        put(&mut image, 512 + 32, &(2_u32 << 20).to_be_bytes());
        image
    }

    fn seal_both(image: &mut [u8]) {
        seal(&mut image[..512], 64);
        seal(&mut image[512..1536], 36);
        image.copy_within(..512, 2048);
    }

    #[test]
    fn fields() {
        let be = u32::to_be_bytes;
        check(
            &image(),
            &[
                ("nothing", 0x100, &[0], PASSES),
                ("File Format Version", 12, &be(0x0002_0000), Some(Reason::UnsupportedFormat)),
                ("Data Offset", 16, &[0xff; 8], Some(Reason::Truncated)),
                ("Data Offset", 16, &0_u64.to_be_bytes(), Some(Reason::BadHeader)),
                ("Current Size", 48, &[0; 8], Some(Reason::Empty)),
                ("Current Size", 48, &[0xff; 8], Some(Reason::BadHeader)),
                ("Current Size", 48, &(1_u64 << 50).to_be_bytes(), Some(Reason::TooLarge)),
                ("Current Size", 48, &(3_u64 << 20).to_be_bytes(), Some(Reason::BadHeader)),
                ("Disk Type", 60, &be(0), Some(Reason::UnsupportedFormat)),
                ("Disk Type", 60, &be(2), Some(Reason::BadHeader)),
                ("Disk Type", 60, &be(4), Some(Reason::BackingFile)),
                ("Cookie", 512, b"c", PASSES),
                ("Cookie", 512, b"x", Some(Reason::BadHeader)),
                ("Table Offset", 528, &[0; 8], Some(Reason::BadHeader)),
                ("Table Offset", 528, &[0xff; 8], Some(Reason::BadHeader)),
                ("Table Offset", 528, &(u64::MAX - 511).to_be_bytes(), Some(Reason::Truncated)),
                ("Header Version", 536, &be(0), Some(Reason::UnsupportedFormat)),
                ("Max Table Entries", 540, &be(0), Some(Reason::BadHeader)),
                ("Max Table Entries", 540, &be(u32::MAX), Some(Reason::Truncated)),
                ("Block Size", 544, &be(0), Some(Reason::BadHeader)),
                ("Block Size", 544, &be(3 << 20), Some(Reason::BadHeader)),
                ("Block Size", 544, &be(1 << 31), Some(Reason::BadHeader)),
                ("Parent Locator Entry", 512 + 576, b"W2ku", Some(Reason::BackingFile)),
            ],
            seal_both,
        );
    }

    #[test]
    fn checksums() {
        let mut image = image();
        seal_both(&mut image);
        check(
            &image,
            &[
                ("nothing", 0x100, &[0], PASSES),
                ("copy", 0x100, &[1], Some(Reason::Corrupt)),
                ("header", 0x300, &[1], Some(Reason::Corrupt)),
                ("footer", 2048 + 0x100, &[1], Some(Reason::Corrupt)),
                ("footer", 2048, &[0], Some(Reason::Truncated)),
            ],
            |_| {},
        );
        let larger = (1_u64 << 20).to_be_bytes();
        check(
            &image,
            &[
                ("Current Size of the footer", 2048 + 48, &larger, Some(Reason::Corrupt)),
                ("Time Stamp of the footer", 2048 + 24, &[7; 4], PASSES),
            ],
            |image| seal(&mut image[2048..], 64),
        );
    }
}

mod vhdx {
    use super::*;

    const KIB: usize = 1 << 10;
    const METADATA: usize = 2 << 20;
    const REGIONS: usize = 192 * KIB;

    fn guid(text: &str) -> Vec<u8> {
        let hex: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let text = String::from_utf8(hex).unwrap();
        let byte = |index: usize| u8::from_str_radix(&text[2 * index..2 * index + 2], 16).unwrap();
        [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].map(byte).to_vec()
    }

    fn image() -> Vec<u8> {
        let mut image = vec![0; 4 << 20];
        put(&mut image, 0, b"vhdxfile");
        for (index, offset) in [(1_u8, 64 * KIB), (2, 128 * KIB)] {
            put(&mut image, offset, b"head");
            image[offset + 8] = index;
            image[offset + 66] = 1;
        }
        put(&mut image, REGIONS, b"regi");
        image[REGIONS + 8] = 2;
        for (index, (id, place)) in [
            ("2DC27766-F623-4200-9D64-115E9BFD4A08", 3_u64 << 20),
            ("8B7CA206-4790-4B9A-B8FE-575F050F886E", METADATA as u64),
        ]
        .into_iter()
        .enumerate()
        {
            let at = REGIONS + 16 + index * 32;
            put(&mut image, at, &guid(id));
            put(&mut image, at + 16, &place.to_le_bytes());
            put(&mut image, at + 24, &(1_u32 << 20).to_le_bytes());
            put(&mut image, at + 28, &1_u32.to_le_bytes());
        }
        put(&mut image, METADATA, b"metadata");
        image[METADATA + 10] = 3;
        for (index, (id, item)) in [
            ("CAA16737-FA36-4D43-B3B6-33F0AA44E76B", &(1_u64 << 20).to_le_bytes()[..]),
            ("2FA54224-CD1B-4876-B211-5DBED83BF4B8", &(5_u64 << 20).to_le_bytes()[..]),
            ("8141BF1D-A96F-4709-BA47-F233A8FAAB5F", &512_u32.to_le_bytes()[..]),
        ]
        .into_iter()
        .enumerate()
        {
            let at = METADATA + 32 + index * 32;
            let place = 64 * KIB + index * 16;
            put(&mut image, at, &guid(id));
            put(&mut image, at + 16, &u32::try_from(place).unwrap().to_le_bytes());
            put(&mut image, at + 20, &u32::try_from(item.len()).unwrap().to_le_bytes());
            put(&mut image, at + 24, &[0b110, 0, 0, 0]);
            put(&mut image, METADATA + place, item);
        }
        image
    }

    fn seal(image: &mut [u8]) {
        for (offset, length) in [(64 * KIB, 4 * KIB), (128 * KIB, 4 * KIB), (REGIONS, 64 * KIB)] {
            put(image, offset + 4, &[0; 4]);
            let sum = super::crc32c::crc32c(&[&image[offset..offset + length]]);
            put(image, offset + 4, &sum.to_le_bytes());
        }
    }

    #[test]
    fn fields() {
        let header = 128 * KIB;
        let region = REGIONS + 16 + 32;
        let item = METADATA + 32;
        let items = METADATA + 64 * KIB;
        let le = u32::to_le_bytes;
        let parent = guid("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C");
        check(
            &image(),
            &[
                ("nothing", 100, &[0], PASSES),
                ("LogGuid", header + 48, &[1], Some(Reason::UncleanLog)),
                ("LogGuid of the older header", 64 * KIB + 48, &[1], PASSES),
                ("Version", header + 66, &[2], Some(Reason::UnsupportedFormat)),
                ("LogVersion", header + 64, &[1], Some(Reason::UnsupportedFormat)),
                ("EntryCount", REGIONS + 8, &le(2048), Some(Reason::BadHeader)),
                ("EntryCount", REGIONS + 8, &le(u32::MAX), Some(Reason::BadHeader)),
                ("EntryCount", REGIONS + 8, &le(1), Some(Reason::BadHeader)),
                ("unknown region, required", region, &[0], Some(Reason::UnsupportedFeature)),
                ("FileOffset", region + 16, &[0; 8], Some(Reason::BadHeader)),
                ("FileOffset", region + 16, &[0xff; 8], Some(Reason::BadHeader)),
                ("FileOffset", region + 16, &(1_u64 << 40).to_le_bytes(), Some(Reason::Truncated)),
                ("FileOffset", region + 16, &(3_u64 << 20).to_le_bytes(), Some(Reason::Overlap)),
                ("Length", region + 24, &le(0), Some(Reason::BadHeader)),
                ("Length", region + 24, &le(100), Some(Reason::BadHeader)),
                ("Signature", METADATA, b"M", Some(Reason::BadHeader)),
                ("EntryCount", METADATA + 10, &[0xff; 2], Some(Reason::BadHeader)),
                ("EntryCount", METADATA + 10, &[0; 2], Some(Reason::BadHeader)),
                ("unknown item, required", item, &[0], Some(Reason::UnsupportedFeature)),
                ("parent locator", item, &parent, Some(Reason::BackingFile)),
                ("item Offset", item + 16, &le(0), Some(Reason::BadHeader)),
                ("item Offset", item + 16, &le(u32::MAX), Some(Reason::BadHeader)),
                ("item Length", item + 20, &le(4), Some(Reason::BadHeader)),
                ("item Length", item + 20, &le(u32::MAX), Some(Reason::BadHeader)),
                ("BlockSize", items, &le(0), Some(Reason::BadHeader)),
                ("BlockSize", items, &le(1 << 19), Some(Reason::BadHeader)),
                ("BlockSize", items, &le(1 << 29), Some(Reason::BadHeader)),
                ("LeaveBlockAllocated", items + 4, &[1], PASSES),
                ("HasParent", items + 4, &[2], Some(Reason::BackingFile)),
                ("Virtual Disk Size", items + 16, &[0; 8], Some(Reason::Empty)),
                ("Virtual Disk Size", items + 16, &[0xff; 8], Some(Reason::TooLarge)),
                ("Virtual Disk Size", items + 16, &[1], Some(Reason::BadHeader)),
                ("Logical Sector Size", items + 32, &le(4096), PASSES),
                ("Logical Sector Size", items + 32, &le(0), Some(Reason::BadHeader)),
                ("Logical Sector Size", items + 32, &le(1024), Some(Reason::BadHeader)),
            ],
            seal,
        );
    }

    #[test]
    fn checksums() {
        let mut image = image();
        seal(&mut image);
        let newer = 128 * KIB + 8;
        check(
            &image,
            &[("one header", newer, &[9], PASSES), ("region table", REGIONS + 9, &[1], Some(Reason::Corrupt))],
            |_| {},
        );
        image[64 * KIB] = 0;
        check(&image, &[("both headers", newer, &[9], Some(Reason::Corrupt))], |_| {});
    }
}

mod vmdk {
    use super::*;

    fn image(create_type: &str) -> Vec<u8> {
        let mut image = vec![0; 32 << 10];
        put(&mut image, 0, b"KDMV");
        put(&mut image, 4, &1_u32.to_le_bytes());
        put(&mut image, 8, &3_u32.to_le_bytes());
        for (offset, value) in [(12, 6144_u64), (20, 128), (28, 1), (36, 20), (48, 21), (56, 26), (64, 64)] {
            put(&mut image, offset, &value.to_le_bytes());
        }
        put(&mut image, 44, &512_u32.to_le_bytes());
        put(&mut image, 73, b"\n \r\n");
        let descriptor = format!(
            "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"{create_type}\"\n\
             RW 6144 SPARSE \"disk.vmdk\"\n"
        );
        put(&mut image, 512, descriptor.as_bytes());
        image
    }

    #[test]
    fn fields() {
        let le = u32::to_le_bytes;
        let le64 = u64::to_le_bytes;
        check(
            &image("monolithicSparse"),
            &[
                ("nothing", 100, &[0], PASSES),
                ("version", 4, &le(0), Some(Reason::UnsupportedFormat)),
                ("version", 4, &le(4), Some(Reason::UnsupportedFormat)),
                ("flags", 8, &le(0x3_0003), Some(Reason::BadHeader)),
                ("capacity", 12, &le64(0), Some(Reason::ExternalExtent)),
                ("capacity", 12, &le64(6145), Some(Reason::BadHeader)),
                ("capacity", 12, &le64(u64::MAX), Some(Reason::TooLarge)),
                ("grainSize", 20, &le64(0), Some(Reason::BadHeader)),
                ("grainSize", 20, &le64(100), Some(Reason::BadHeader)),
                ("grainSize", 20, &le64(1 << 63), Some(Reason::BadHeader)),
                ("descriptorOffset", 28, &le64(0), Some(Reason::UnsupportedFormat)),
                ("descriptorOffset", 28, &le64(40), Some(Reason::BadHeader)),
                ("descriptorOffset", 28, &le64(u64::MAX), Some(Reason::BadHeader)),
                ("descriptorOffset", 28, &le64(1 << 40), Some(Reason::Truncated)),
                ("descriptorSize", 36, &le64(0), Some(Reason::UnsupportedFormat)),
                ("descriptorSize", 36, &le64(2049), Some(Reason::TooLarge)),
                ("descriptorSize", 36, &le64(u64::MAX), Some(Reason::TooLarge)),
                ("numGTEsPerGT", 44, &le(0), Some(Reason::BadHeader)),
                ("numGTEsPerGT", 44, &le(u32::MAX), Some(Reason::BadHeader)),
                ("gdOffset", 56, &le64(0), Some(Reason::Truncated)),
                ("gdOffset", 56, &le64(64), Some(Reason::Truncated)),
                ("gdOffset", 56, &le64(u64::MAX - 1), Some(Reason::Truncated)),
                ("gdOffset: a stream's", 56, &le64(u64::MAX), Some(Reason::BadHeader)),
                ("grain tables", 12, &le64(1 << 37), Some(Reason::BadHeader)),
                ("end of line", 73, b"\r", Some(Reason::Corrupt)),
                ("compressAlgorithm", 77, &[1], Some(Reason::BadHeader)),
                ("compressAlgorithm", 77, &[2], Some(Reason::UnsupportedFeature)),
            ],
            |_| {},
        );
    }

    /// A stream that VMware's tools write: the directory is at the end, and a footer tells where.
    #[test]
    fn footer() {
        let mut image = image("streamOptimized");
        put(&mut image, 8, &0x3_0001_u32.to_le_bytes());
        image[77] = 1;
        put(&mut image, 56, &u64::MAX.to_le_bytes());
        let footer = image.len();
        image.resize(footer + 1536, 0);
        image[footer + 12] = 3;
        image.copy_within(..512, footer + 512);
        put(&mut image, footer + 512 + 56, &26_u64.to_le_bytes());
        let found = inspect_reader(&&image[..]).expect("valid");
        let Details::Vmdk(header) = found.details else {
            panic!("{found:?}");
        };
        assert_eq!((header.subformat, header.footer), (VmdkSubformat::StreamOptimized, true));
        check(
            &image,
            &[
                ("overHead", 64, &[20, 0], Some(Reason::BadHeader)),
                ("overHead", 64, &[0xff; 8], Some(Reason::BadHeader)),
                ("marker", footer + 12, &[2], Some(Reason::Truncated)),
                ("end of stream", footer + 1024 + 12, &[1], Some(Reason::Truncated)),
                ("capacity", footer + 512 + 12, &[1], Some(Reason::Corrupt)),
                ("descriptorOffset", footer + 512 + 28, &[2], Some(Reason::Corrupt)),
                ("compressAlgorithm", footer + 512 + 77, &[0], Some(Reason::Corrupt)),
                ("gdOffset", footer + 512 + 56, &[0xff; 8], Some(Reason::BadHeader)),
                ("gdOffset", footer + 512 + 56, &[0; 8], Some(Reason::Truncated)),
            ],
            |_| {},
        );
    }
}
