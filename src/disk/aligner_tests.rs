use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn slices_are_aligned_and_whole(
        chunks in prop::collection::vec(0_usize..300, 0..40),
        granule in prop::sample::select(vec![1_usize, 8, 64]),
        hold in 0_usize..100,
    ) {
        let stream: Vec<u8> = (0..=250).cycle().take(chunks.iter().sum()).collect();
        let mut aligner = Aligner::new(granule, hold);
        let mut seen = Vec::new();
        let mut rest = &stream[..];
        for length in chunks {
            let (chunk, after) = rest.split_at(length);
            rest = after;
            aligner.push(chunk, |offset, slice| {
                assert_eq!(offset, seen.len() as u64);
                assert!(!slice.is_empty() && slice.len() % granule == 0);
                seen.extend_from_slice(slice);
                Ok(())
            }).unwrap();
            let pushed = stream.len() - rest.len();
            prop_assert_eq!(aligner.pushed(), pushed as u64);
            prop_assert!(seen.len() <= pushed.saturating_sub(hold));
            prop_assert!(pushed - seen.len() < hold + granule);
        }
        let (offset, tail) = aligner.finish();
        prop_assert_eq!(offset, seen.len() as u64);
        seen.extend(tail);
        prop_assert_eq!(seen, stream);
    }
}
