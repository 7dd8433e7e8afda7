use proptest::prelude::*;

use super::*;

#[test]
fn a_single_bit_anywhere_is_seen() {
    for length in [1, 7, 8, 63, 64, 65, 4095, 4096, 4097, 8192, 10_000] {
        let mut data = vec![0_u8; length];
        assert!(is_zero(&data), "{length} zeros");
        for position in 0..length {
            data[position] = 0x80;
            assert!(!is_zero(&data), "bit at {position} of {length}");
            data[position] = 0;
        }
    }
    assert!(is_zero(&[]));
}

#[test]
fn runs_are_maximal_and_aligned() {
    let mut data = vec![0_u8; 10 * GRANULE + 100];
    data[GRANULE] = 1;
    data[3 * GRANULE - 1] = 1;
    data[7 * GRANULE + 5] = 1;
    data[10 * GRANULE + 99] = 1;
    let runs: Vec<_> = non_zero_runs(&data).collect();
    assert_eq!(runs, [GRANULE..3 * GRANULE, 7 * GRANULE..8 * GRANULE, 10 * GRANULE..10 * GRANULE + 100]);
}

proptest! {
    #[test]
    fn runs_rebuild_the_data(pattern in prop::collection::vec(any::<bool>(), 0..20), tail in 0_usize..GRANULE) {
        let mut data = Vec::new();
        for &filled in &pattern {
            data.extend_from_slice(&[u8::from(filled); GRANULE]);
        }
        data.extend(std::iter::repeat_n(1, tail));
        let mut rebuilt = vec![0_u8; data.len()];
        let mut end = 0;
        for run in non_zero_runs(&data) {
            prop_assert!(run.start >= end && run.start % GRANULE == 0);
            prop_assert!(!is_zero(&data[run.clone()]));
            end = run.end;
            rebuilt[run.clone()].copy_from_slice(&data[run]);
        }
        prop_assert_eq!(rebuilt, data);
    }
}
