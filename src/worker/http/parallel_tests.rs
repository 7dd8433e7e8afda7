use super::*;

/// How many connections a reader ends up with whose source brings `rate(connections)` MiB a second.
fn settle(rate: impl Fn(usize) -> f64, waiting: f64) -> Vec<usize> {
    let mut parallelism = Parallelism::new();
    let mut steps = vec![1];
    for _ in 0..1000 {
        let elapsed = Duration::from_secs_f64(1.0 / rate(parallelism.connections()));
        parallelism.observe(1 << 20, elapsed, elapsed.mul_f64(waiting));
        if steps.last() != Some(&parallelism.connections()) {
            steps.push(parallelism.connections());
        }
    }
    steps
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn each(connections: usize) -> f64 {
    connections as f64 * 50.0
}

#[test]
fn connections_are_added_as_long_as_they_pay() {
    for (name, rate, waiting, expected) in [
        ("slow for each connection", &each as &dyn Fn(usize) -> f64, 0.9, &[1, 2, 4, 6][..]),
        ("a link that one fills", &|_| 100.0, 0.9, &[1, 2, 1]),
        ("a link that four fill", &|connections| each(connections).min(180.0), 0.9, &[1, 2, 4, 6, 3]),
        ("two would be too many", &|connections| 100.0 / each(connections), 0.9, &[1, 2, 1]),
        ("one that brings plenty", &|_| 2000.0, 0.9, &[1]),
        ("a reader that is the slower side", &each, 0.3, &[1]),
    ] {
        assert_eq!(settle(rate, waiting), expected, "{name}");
    }
}

#[test]
fn a_slow_network_is_told_from_a_decompressor_that_fills_its_blocks() {
    for (name, seconds, expected) in [("slow", 1.0, 2), ("fast", 0.1, 1)] {
        let mut parallelism = Parallelism::new();
        parallelism.observe(SAMPLE, Duration::from_secs_f64(seconds), Duration::from_secs_f64(seconds));
        assert_eq!(parallelism.connections(), expected, "{name}");
        for sample in 0..100 {
            // At work on what it took in, with a hiccup now and then.
            let waited = if sample % 10 == 9 { 900 } else { 100 };
            parallelism.observe(SAMPLE, Duration::from_secs(1), Duration::from_millis(waited));
            assert!(expected == 2 || parallelism.connections() == 1, "{name}: sample {sample}");
        }
    }
}

#[test]
fn a_server_that_asks_for_less_gets_one_for_good() {
    let mut parallelism = Parallelism::new();
    parallelism.observe(SAMPLE, Duration::from_secs(1), Duration::from_secs(1));
    assert_eq!(parallelism.connections(), 2);
    parallelism.retreat();
    parallelism.observe(100 * SAMPLE, Duration::from_secs(1), Duration::from_secs(1));
    assert_eq!(parallelism.connections(), 1);
}
