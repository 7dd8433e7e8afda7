use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn exposition(metrics: &Metrics) -> String {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}

#[test]
fn keeps_the_names_that_dashboards_know() {
    let metrics = Metrics::default();
    metrics.started("a", at(0));
    metrics.started("b", at(0));
    metrics.ended("a", Outcome::Success, at(90));
    metrics.failed("api");
    let text = exposition(&metrics);
    for line in [
        "volume_populator_operation_seconds_sum{result=\"success\"} 90.0",
        "volume_populator_operation_seconds_bucket{le=\"60.0\",result=\"success\"} 0",
        "volume_populator_operation_seconds_bucket{le=\"120.0\",result=\"success\"} 1",
        "volume_populator_operations_in_flight 1",
        "volume_populator_pass_errors_total{reason=\"api\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn counts_a_filling_from_its_first_start_and_only_once() {
    let metrics = Metrics::default();
    metrics.started("a", at(0));
    metrics.started("a", at(50));
    assert!(metrics.is_in_flight("a"));
    metrics.ended("a", Outcome::Cancelled, at(60));
    metrics.ended("a", Outcome::Cancelled, at(99));
    metrics.ended("never started", Outcome::Success, at(99));
    assert!(!metrics.is_in_flight("a"));
    let text = exposition(&metrics);
    assert!(text.contains("operation_seconds_count{result=\"cancelled\"} 1"), "{text}");
    assert!(text.contains("operation_seconds_sum{result=\"cancelled\"} 60.0"), "{text}");
    assert!(!text.contains("success"), "{text}");
}
