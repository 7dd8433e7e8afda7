use super::*;
use crate::{
    VhdType, inspect_reader,
    testing::{Disk, decode, refusal},
};

const MIB: u64 = 1 << 20;

fn sum(structure: &mut [u8], checksum: usize) {
    let sum: u32 = structure.iter().map(|&byte| u32::from(byte)).sum();
    structure[checksum..checksum + 4].copy_from_slice(&(!sum).to_be_bytes());
}

/// A dynamic disk of `size` bytes in blocks of `block_size`, with this table; and the header that was read from it.
fn image(size: u64, block_size: u32, table: &[u32], blocks: &[u8]) -> (Vec<u8>, VhdHeader) {
    let mut footer = [0; 512];
    footer[..8].copy_from_slice(b"conectix");
    footer[12..16].copy_from_slice(&0x0001_0000_u32.to_be_bytes());
    footer[16..24].copy_from_slice(&512_u64.to_be_bytes());
    footer[48..56].copy_from_slice(&size.to_be_bytes());
    footer[63] = 3;
    sum(&mut footer, 64);
    let mut header = [0; 1024];
    header[..8].copy_from_slice(b"cxsparse");
    header[16..24].copy_from_slice(&1536_u64.to_be_bytes());
    header[24..28].copy_from_slice(&0x0001_0000_u32.to_be_bytes());
    header[28..32].copy_from_slice(&u32::try_from(table.len()).unwrap().to_be_bytes());
    header[32..36].copy_from_slice(&block_size.to_be_bytes());
    sum(&mut header, 36);
    let mut image = [&footer[..], &header].concat();
    for entry in table {
        image.extend(entry.to_be_bytes());
    }
    image.resize(image.len().next_multiple_of(512), 0);
    image.extend(blocks);
    image.extend(footer);
    let found = inspect_reader(&&image[..]).expect("valid");
    let crate::Details::Vhd { kind: VhdType::Dynamic(header) } = found.details else {
        panic!("{found:?}");
    };
    (image, header)
}

#[test]
fn entries() {
    let (_, header) = image(5 * MIB, 2 << 20, &[UNUSED; 3], &[]);
    let table = BlockAllocationTable::new(header);
    assert_eq!(table.bitmap(), 512);
    let extent = |image, disk, length| Ok(Some(Extent { image, disk, length }));
    let overlap = Err(Reason::Overlap);
    for (block, entry, expected) in [
        (0, UNUSED, Ok(None)),
        (0, 0, overlap),
        (0, 1, overlap),
        (0, 2, overlap),
        (0, 3, overlap),
        (0, 4, extent(2048, 0, 2 * MIB)),
        (2, 9, extent(9 * 512, 4 * MIB, MIB)),
        (2, UNUSED - 1, extent(512 * u64::from(UNUSED - 1), 4 * MIB, MIB)),
        (3, 9, extent(9 * 512, 6 * MIB, 0)),
    ] {
        let found = table.extent(block, entry).map_err(|refusal| refusal.reason);
        assert_eq!(found, expected, "block {block}, entry {entry:#x}");
    }
}

#[test]
fn bitmaps_are_padded() {
    for (block_size, bitmap) in [(512, 512), (4096, 512), (2 << 20, 512), (4 << 20, 1024), (256 << 20, 64 << 10)] {
        let (_, header) = image(512, block_size, &[UNUSED], &[]);
        assert_eq!(BlockAllocationTable::new(header).bitmap(), bitmap, "{block_size}");
    }
}

/// Two blocks of 8 KiB, the second first, each with a bitmap; the disk ends within the second.
fn two_blocks() -> Vec<u8> {
    let mut blocks = vec![0; 2 * (512 + 8192)];
    for (index, (start, bits)) in
        [(0, 0b1000_0001_1000_0000_u16), (512 + 8192, 0b1111_1111_0000_1111)].iter().enumerate()
    {
        blocks[*start..start + 2].copy_from_slice(&bits.to_be_bytes());
        for (sector, data) in blocks[start + 512..start + 512 + 8192].chunks_mut(512).enumerate() {
            data.fill(u8::try_from(index * 16 + sector).unwrap() + 1);
        }
    }
    image(8192 + 4608, 8192, &[4 + 17, 4, UNUSED], &blocks).0
}

#[test]
fn sectors_whose_bit_is_not_set_are_zero() {
    let mut expected = vec![0; 8192 + 4608];
    let mut fill = |sector: usize, value: u8| expected[sector * 512..(sector + 1) * 512].fill(value);
    for sector in (0..8).chain(12..16) {
        fill(sector, u8::try_from(17 + sector).unwrap());
    }
    for sector in [0, 7, 8] {
        fill(16 + sector, u8::try_from(1 + sector).unwrap());
    }
    for chunk in [0, 1, 513, 4096, 10_000, 1 << 20] {
        assert!(decode(&two_blocks(), chunk).expect("decoded") == expected, "chunks of {chunk}");
    }
}

#[test]
fn what_is_refused() {
    let table = 1536;
    for (case, entries, reason) in [
        ("one block twice", [4_u32, 4], Reason::Overlap),
        ("blocks that overlap", [13, 4], Reason::Overlap),
        ("a block in the footer", [22, 4], Reason::Overlap),
        ("a block behind the end", [300, 4], Reason::Truncated),
    ] {
        for chunk in [0, 700, 1 << 20] {
            let mut image = two_blocks();
            for (at, entry) in (table..).step_by(4).zip(entries) {
                image[at..at + 4].copy_from_slice(&entry.to_be_bytes());
            }
            assert_eq!(refusal(&image, chunk), Some(reason), "{case}, chunks of {chunk}");
        }
    }
    // A stream has been inspected without its end.
    let image = two_blocks();
    let inspection = inspect_reader(&&image[..]).expect("valid");
    let mut decoder = crate::Decoder::new(&inspection, &crate::Options::default());
    decoder.push(&image[..image.len() - 512], &mut Disk::default()).expect("not over");
    let error = decoder.finish(&mut Disk::default()).expect_err("no footer");
    assert_eq!(error.refusal().map(|refusal| refusal.reason), Some(Reason::Truncated));
}
