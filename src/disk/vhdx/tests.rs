use super::*;
use crate::inspect::vhdx::{Region, Regions};

const MIB: u64 = 1 << 20;

fn header(virtual_size: u64, block_size: u32, logical_sector_size: u32) -> VhdxHeader {
    let region = |offset: u64| Region { offset: offset * MIB, length: MIB };
    let regions = Regions { log: region(1), metadata: region(2), bat: region(3) };
    VhdxHeader { virtual_size, block_size, logical_sector_size, regions }
}

#[test]
fn entries() {
    let table = BlockAllocationTable::new(header(3 * MIB - 512, 1 << 20, 512));
    let present = |image: u64, disk: u64, length| Ok(Some(Extent { image: image * MIB, disk: disk * MIB, length }));
    let (bad, overlap) = (Err(Reason::BadTable), Err(Reason::Overlap));
    for (index, entry, expected) in [
        (0, 0, Ok(None)),
        (0, 1 | 9 << 20, Ok(None)),
        (0, 2, Ok(None)),
        (0, 3 | 9 << 20, Ok(None)),
        (0, 4, bad),
        (0, 5, bad),
        (0, 6 | 9 << 20, present(9, 0, MIB)),
        (2, 6 | 4 << 20, present(4, 2, MIB - 512)),
        (0, 7 | 9 << 20, bad),
        (0, 6, overlap),
        (0, 6 | 1 << 20, overlap),
        (0, 6 | 2 << 20, overlap),
        (0, 6 | 3 << 20, overlap),
        (0, 6 | 9 << 20 | 1 << 3, bad),
        (0, 6 | 9 << 20 | 1 << 19, bad),
        (0, 6 | 1 << 62, present(1 << 42, 0, MIB)),
        (0, 6 | OFFSET, Err(Reason::Truncated)),
        (4096, 0, Ok(None)),
        (4096, 6 | 9 << 20, Ok(None)),
        (4096, 2, bad),
    ] {
        let found = table.extent(index, entry).map_err(|refusal| refusal.reason);
        assert_eq!(found, expected, "index {index}, entry {entry:#x}");
    }
}

#[test]
fn a_sector_bitmap_stands_behind_each_chunk() {
    for (block_size, sector, ratio) in [(1 << 20, 512, 4096), (256 << 20, 512, 16), (1 << 20, 4096, 32768)] {
        let header = header(1 << 44, block_size, sector);
        assert_eq!(header.chunk_ratio(), ratio);
        let table = BlockAllocationTable::new(header);
        for (index, expected) in [
            (0, Kind::Payload { block: 0 }),
            (ratio - 1, Kind::Payload { block: ratio - 1 }),
            (ratio, Kind::SectorBitmap),
            (ratio + 1, Kind::Payload { block: ratio }),
            (2 * ratio + 1, Kind::SectorBitmap),
            (2 * ratio + 2, Kind::Payload { block: 2 * ratio }),
        ] {
            assert_eq!(table.kind(index), expected, "{index} of {ratio}");
        }
    }
}

#[test]
fn the_table_ends_with_the_disk() {
    let chunk = 4096 * MIB;
    for (size, entries) in [(1, 1), (MIB, 1), (MIB + 1, 2), (chunk, 4096), (chunk + 1, 4098), (2 * chunk + 1, 8195)] {
        let header = header(size, 1 << 20, 512);
        assert_eq!(header.bat_entries(), entries, "{size}");
        let mut table = BlockAllocationTable::new(header);
        let mut map = Map::new(true);
        let mut length = 0;
        while let Some(part) = table.next() {
            assert_eq!(part.range.start, 3 * MIB + length);
            length = part.range.end - 3 * MIB;
            table.read(&vec![0; usize::try_from(part.range.end - part.range.start).unwrap()], &mut map).expect("free");
        }
        assert_eq!(length, entries * ENTRY, "{size}");
    }
}
