use super::*;
use crate::VmdkSubformat;

fn ledger(zeroed_grains: bool) -> Ledger {
    Ledger::new(&VmdkHeader {
        subformat: VmdkSubformat::StreamOptimized,
        footer: true,
        capacity: 3 << 25,
        grain_size: 65536,
        zeroed_grains,
        overhead: 65536,
        descriptor: (512, 10240),
        directory: 0,
    })
}

fn table(entries: &[(usize, u32)]) -> Vec<u8> {
    let mut table = [0; ENTRIES];
    for (index, sector) in entries {
        table[*index] = *sector;
    }
    table.into_iter().flat_map(u32::to_le_bytes).collect()
}

fn bytes(entries: [u32; 3]) -> Vec<u8> {
    entries.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// Three grains in two of three tables; the tables lie at sectors 500 and 600, an empty one at 700.
fn grains(zeroed_grains: bool) -> Ledger {
    let mut ledger = ledger(zeroed_grains);
    for (grain, sector) in [(3, 130), (511, 140), (1024, 150)] {
        ledger.grain(grain, sector * 512).expect("rising");
    }
    ledger
}

#[test]
fn tables_that_say_the_same() {
    for directory in [[500, 0, 600], [500, 700, 600]] {
        let mut ledger = grains(false);
        ledger.table(&table(&[(3, 130), (511, 140)]), 500 * 512);
        ledger.table(&table(&[(0, 150)]), 600 * 512);
        ledger.table(&table(&[]), 700 * 512);
        ledger.directory(&bytes(directory), 3, 800 * 512).expect("right");
        assert!(ledger.has_directory(800) && !ledger.has_directory(801));
        ledger.grain(1025, 900 * 512).expect_err("a grain behind the directory");
    }
}

#[test]
fn a_zeroed_grain_is_none() {
    for zeroed in [false, true] {
        let mut ledger = grains(zeroed);
        ledger.table(&table(&[(3, 130), (400, 1), (511, 140)]), 500 * 512);
        ledger.table(&table(&[(0, 150)]), 600 * 512);
        assert_eq!(ledger.directory(&bytes([500, 0, 600]), 3, 0).is_ok(), zeroed);
    }
}

#[test]
fn tables_that_say_something_else() {
    let first = [(3, 130), (511, 140)];
    for (case, first, directory) in [
        ("another place", &[(3, 131), (511, 140)][..], [500, 0, 600]),
        ("a grain less", &first[..1], [500, 0, 600]),
        ("a grain more", &[(3, 130), (4, 130), (511, 140)], [500, 0, 600]),
        ("no table", &first, [0, 0, 600]),
        ("no last table", &first, [500, 0, 0]),
        ("a table that never came", &first, [500, 555, 600]),
        ("exchanged", &first, [600, 0, 500]),
        ("a table twice", &first, [500, 500, 600]),
    ] {
        let mut ledger = grains(false);
        ledger.table(&table(first), 500 * 512);
        ledger.table(&table(&[(0, 150)]), 600 * 512);
        let refusal = ledger.directory(&bytes(directory), 3, 0).expect_err(case);
        assert_eq!(refusal.reason, Reason::Corrupt, "{case}");
    }
}

#[test]
fn the_order_of_grains() {
    let mut ledger = ledger(false);
    ledger.grain(0, 65536).expect("the first");
    for (grain, image, reason) in [(0, 70_000, Reason::BadTable), (1, 1 << 41, Reason::TooLarge)] {
        assert_eq!(ledger.grain(grain, image).map_err(|refusal| refusal.reason), Err(reason));
    }
    ledger.grain(1000, 70_144).expect("rising");
    assert_eq!(ledger.grain(2, 80_384).map_err(|refusal| refusal.reason), Err(Reason::BadTable));
}
