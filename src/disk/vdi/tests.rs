use super::*;

const MIB: u64 = 1 << 20;

fn header(disk_size: u64, blocks: u32) -> VdiHeader {
    VdiHeader { disk_size, block_size: 1 << 20, blocks, map_offset: 512, data_offset: 1 << 20 }
}

#[test]
fn entries() {
    let map = BlockMap::new(header(5 * MIB / 2, 4));
    let extent = |image, disk, length| Ok(Some(Extent { image, disk, length }));
    let bad = Err(Reason::BadTable);
    for (block, entry, expected) in [
        (0, FREE, Ok(None)),
        (0, ZERO, Ok(None)),
        (0, 0, extent(MIB, 0, MIB)),
        (1, 3, extent(4 * MIB, MIB, MIB)),
        (2, 1, extent(2 * MIB, 2 * MIB, MIB / 2)),
        (1, 4, bad),
        (1, ZERO - 1, bad),
        (1, 1 << 31, bad),
    ] {
        let found = map.extent(block, entry).map_err(|refusal| refusal.reason);
        assert_eq!(found, expected, "block {block}, entry {entry:#x}");
    }
}

#[test]
fn the_map_comes_in_parts() {
    let mut map = BlockMap::new(header(20_000 * MIB - 1, 30_000));
    let mut extents = crate::extents::Map::new(true);
    let part = map.next().expect("the first");
    assert_eq!(part.range, 512..512 + PART);
    map.read(&vec![0xff; 64 << 10], &mut extents).expect("free");
    assert_eq!(map.next().expect("the second").range, 512 + PART..512 + 20_000 * 4);
    map.read(&[0xff; 20_000 * 4 - (64 << 10)], &mut extents).expect("free");
    assert_eq!(map.next(), None);
    assert_eq!(map.data_start(), MIB);
}
