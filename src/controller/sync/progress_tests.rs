use super::*;

fn said(bytes: u64) -> wire::Progress {
    wire::Progress { stage: wire::Stage::Fetching, bytes_fetched: bytes, bytes_written: 1, percent: Some(42) }
}

#[test]
fn progress_is_written_seldom_and_with_its_speed() {
    let start = Instant::now();
    let mut meter = Meter::new(start);
    let first = meter.take(said(1_000), start).unwrap();
    assert_eq!((first.percent, first.bytes_fetched, first.bytes_per_second), (Some(42), 1_000, None));
    assert_eq!(first.stage, Some(Stage::Fetching));
    assert_eq!(meter.take(said(2_000), start + INTERVAL - Duration::from_millis(1)), None);
    let second = meter.take(said(11_000), start + INTERVAL).unwrap();
    assert_eq!(second.bytes_per_second, Some(2_000));
    // A worker that was told again from the start, as after a broken log.
    let third = meter.take(said(0), start + 3 * INTERVAL).unwrap();
    assert_eq!((third.bytes_fetched, third.bytes_per_second), (0, None));
}
