use super::*;

#[test]
fn percent_is_known_only_with_a_total_and_is_never_100_before_the_end() {
    let counters = Counters::default();
    assert_eq!(counters.progress().stage, Stage::Connecting);
    for (stage, total, position, expected) in [
        (Stage::Connecting, Some(10), 5, None),
        (Stage::Fetching, None, 5, None),
        (Stage::Fetching, Some(10), 0, Some(0)),
        (Stage::Fetching, Some(10), 5, Some(50)),
        (Stage::Fetching, Some(10), 10, Some(99)),
        (Stage::Fetching, Some(u64::MAX), u64::MAX, Some(99)),
        (Stage::Converting, Some(3), 1, Some(33)),
        (Stage::Finalizing, None, 0, Some(99)),
    ] {
        counters.begin(stage, total);
        counters.advance(position);
        let progress = counters.progress();
        assert_eq!((progress.stage, progress.percent), (stage, expected), "{total:?} {position}");
    }
}

#[test]
fn bytes_are_counted_across_stages() {
    let counters = Counters::default();
    counters.add_fetched(3);
    counters.begin(Stage::Fetching, None);
    counters.clone().add_fetched(4);
    counters.add_written(5);
    assert_eq!((counters.fetched(), counters.written()), (7, 5));
}
