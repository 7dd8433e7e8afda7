use super::*;
use crate::{Options, decoder::Decode, extents::ExtentStream, testing::Disk};

const GRAIN: u64 = 65536;

/// A disk of three tables, the last of them with two grains, the last of these with one sector.
fn header() -> VmdkHeader {
    VmdkHeader {
        subformat: VmdkSubformat::MonolithicSparse,
        footer: false,
        capacity: (2 * 512 + 1) * GRAIN + 512,
        grain_size: GRAIN,
        zeroed_grains: false,
        overhead: 65536,
        descriptor: (512, 1024),
        directory: 1024,
    }
}

/// Tables whose directory has been read.
fn tables(header: VmdkHeader, directory: [u32; 3]) -> Result<GrainTables, Refusal> {
    let mut tables = GrainTables::new(header);
    assert_eq!(tables.next(), Some(Part { range: 1024..1036, field: "grain directory" }));
    let bytes: Vec<u8> = directory.into_iter().flat_map(u32::to_le_bytes).collect();
    tables.read(&bytes, &mut Map::new(true))?;
    Ok(tables)
}

#[test]
fn tables_are_read_in_the_order_of_the_image() {
    let mut tables = tables(header(), [20, 0, 10]).expect("valid");
    assert_eq!(tables.next(), Some(Part { range: 5120..7168, field: PLACE }));
    let mut map = Map::new(true);
    // The disk has two of its grains.
    let last = [[200, 0, 0, 0], [200, 1, 0, 0], [200, 2, 0, 0]].concat();
    tables.read(&last, &mut map).expect("valid");
    assert_eq!(tables.next(), Some(Part { range: 10240..12288, field: PLACE }));
    tables.read(&[0; 2048], &mut map).expect("empty");
    assert_eq!(tables.next(), None);
    assert_eq!(map.pop(), Some(Extent { image: 200 * 512, disk: 1024 * GRAIN, length: GRAIN }));
    assert_eq!(map.pop(), Some(Extent { image: 456 * 512, disk: 1025 * GRAIN, length: 512 }));
    assert_eq!(map.pop(), None);
}

#[test]
fn the_tables_of_a_full_tebibyte_in_order_are_no_reason_to_stage_it() {
    let tables = (1_u32 << 24) / 512;
    let overhead = (1024 + u64::from(tables) * (ENTRY + 2048)).next_multiple_of(65536);
    let header = VmdkHeader { subformat: VmdkSubformat::StreamOptimized, capacity: 1 << 40, overhead, ..header() };
    let sectors = |first: u32, step: u32, count: u32| -> Vec<u8> {
        (0..count).flat_map(|index| (first + index * step).to_le_bytes()).collect()
    };
    let mut stream = ExtentStream::new(GrainTables::new(header), &Options::default());
    let mut sink = Disk::default();
    let first_table = (1024 + tables * 4) / 512;
    stream.push(&[0; 1024], &mut sink).expect("a header and a descriptor");
    stream.push(&sectors(first_table, 4, tables), &mut sink).expect("a directory");
    let first_grain = u32::try_from(overhead / SECTOR).expect("fits");
    for table in 0..tables {
        // Grains that have been compressed to a little less, and now and then much less.
        let step = if table % 3 == 0 { 30 } else { 120 };
        stream.push(&sectors(first_grain + table * 512 * 120, step, 512), &mut sink).expect("a table");
    }
}

#[test]
fn directory_entries() {
    for (entries, valid) in [
        ([0, 0, 0], true),
        ([10, 14, 18], true),
        ([3, 11, 7], true),
        ([3, 8, 7], false),
        ([10, 10, 0], false),
        ([10, 13, 0], false),
        ([1, 0, 0], false),
        ([2, 0, 0], false),
        ([u32::MAX, 0, 0], true),
    ] {
        let found = tables(header(), entries).map(|_| ()).map_err(|refusal| refusal.reason);
        assert_eq!(found, if valid { Ok(()) } else { Err(Reason::Overlap) }, "{entries:?}");
    }
}

#[test]
fn table_entries() {
    let extent =
        |sector: u64, grain: u64, length| Ok(Some(Extent { image: sector * 512, disk: grain * GRAIN, length }));
    let overlap = Err(Reason::Overlap);
    let compressed = VmdkHeader { subformat: VmdkSubformat::StreamOptimized, ..header() };
    let zeroed = VmdkHeader { zeroed_grains: true, ..header() };
    for (header, grain, entry, expected) in [
        (header(), 0, 0, Ok(None)),
        (header(), 0, 1, overlap),
        (header(), 0, 2, overlap),
        (zeroed, 0, 1, Ok(None)),
        (zeroed, 0, 2, overlap),
        (header(), 7, 400, extent(400, 7, GRAIN)),
        (header(), 1025, 400, extent(400, 1025, 512)),
        (header(), 0, 300, overlap),
        (header(), 0, 303, overlap),
        (header(), 0, 304, extent(304, 0, GRAIN)),
        (header(), 0, 172, extent(172, 0, GRAIN)),
        (header(), 0, 173, overlap),
        (compressed, 0, 173, extent(173, 0, GRAIN)),
        (compressed, 0, 303, overlap),
        (header(), 0, u32::MAX, extent(u64::from(u32::MAX), 0, GRAIN)),
    ] {
        let tables = tables(header, [300, 0, 0]).expect("valid");
        let found = tables.extent(grain, entry).map_err(|refusal| refusal.reason);
        assert_eq!(found, expected, "grain {grain}, entry {entry:#x}");
    }
}
