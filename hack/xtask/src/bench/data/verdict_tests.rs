use super::*;

const TWO: Cpus = Cpus { machine: 2.0, limit: 2.0 };

fn stage(name: &'static str, wall: f64, cpu: f64, server_cpu: f64) -> Stage {
    Stage { name, tool: "tool", wall, cpu, server_cpu, bytes: 2_000_000_000 }
}

fn round(wall: f64, naive: f64, stages: &[Stage]) -> Round {
    let ours = Ours { wall, cpu: 1.0, peak_mib: 40.0, written: 1 << 30, fetched: 1000 };
    Round { stages: stages.to_vec(), ours, naive }
}

fn subject() -> Subject {
    Subject { name: "row", what: "a row".to_owned(), image_bytes: 1000, beats_naive: true }
}

#[test]
fn the_floor_is_the_slowest_stage_or_the_work_of_all() {
    let cases = [
        ("slow write", vec![stage("transfer", 0.5, 0.2, 0.2), stage("write", 3.0, 0.1, 0.0)], TWO, (3.0, "write")),
        ("much work", vec![stage("transfer", 1.0, 1.0, 2.0), stage("hash", 1.0, 1.0, 0.0)], TWO, (2.0, "CPU")),
        (
            "a limit binds the tools and not the servers",
            vec![stage("transfer", 1.0, 1.0, 2.0), stage("hash", 1.0, 1.0, 0.0)],
            Cpus { machine: 2.0, limit: 0.5 },
            (4.0, "CPU"),
        ),
    ];
    for (what, stages, cpus, (seconds, by)) in cases {
        assert_eq!(Floor::of(&stages, cpus), Floor { seconds, by }, "{what}");
    }
}

#[test]
fn ratios_are_made_within_a_round() {
    // A machine that is twice as slow for one round is so for both sides.
    let rounds = [
        round(1.1, 10.0, &[stage("hash", 1.0, 0.5, 0.0)]),
        round(2.2, 20.0, &[stage("hash", 2.0, 1.0, 0.0)]),
        round(1.1, 10.0, &[stage("hash", 1.0, 0.5, 0.0)]),
    ];
    let summary = subject().summary(&rounds, TWO).expect("summary");
    assert!((summary.wall_over_floor - 1.1).abs() < 1e-9);
    assert!((summary.wall_over_naive - 0.11).abs() < 1e-9);
    assert!((summary.stages[0].gb_per_s - 2.0).abs() < 1e-9);
    assert_eq!((summary.floor_by, summary.missed), ("hash", Vec::new()));
}

#[test]
fn nothing_measured_is_no_summary() {
    assert_eq!(subject().summary(&[], TWO), None);
}

/// Makes a good round bad in one way.
type Spoil = fn(&mut Round);

#[test]
fn every_target_can_be_missed() {
    let good = round(1.0, 8.0, &[stage("hash", 1.0, 0.5, 0.0)]);
    let cases: [(&str, Spoil); 4] = [
        ("1.20 times the floor", |round| round.ours.wall = 1.2),
        ("2.0 times faster", |round| round.naive = 2.0),
        ("128 MiB", |round| round.ours.peak_mib = 128.0),
        ("1.010 of the image's bytes", |round| round.ours.fetched = 1010),
    ];
    assert_eq!(subject().summary(std::slice::from_ref(&good), TWO).expect("summary").missed, Vec::<String>::new());
    for (told, spoil) in cases {
        let mut round = good.clone();
        spoil(&mut round);
        let missed = subject().summary(&[round], TWO).expect("summary").missed;
        assert!(missed.len() == 1 && missed[0].contains(told), "{told}: {missed:?}");
    }
}

#[test]
fn only_gzip_layers_must_beat_the_naive_pipeline() {
    let slow = round(1.0, 1.0, &[stage("hash", 1.0, 0.5, 0.0)]);
    let other = Subject { beats_naive: false, ..subject() };
    assert_eq!(other.summary(&[slow], TWO).expect("summary").missed, Vec::<String>::new());
}

#[test]
fn memory_and_bytes_are_the_worst_of_all_rounds() {
    let good = round(1.0, 8.0, &[stage("hash", 1.0, 0.5, 0.0)]);
    let mut bad = good.clone();
    bad.ours.peak_mib = 300.0;
    bad.ours.fetched = 2000;
    let summary = subject().summary(&[good.clone(), bad, good], TWO).expect("summary");
    assert!((summary.peak_mib - 300.0).abs() < 1e-9 && (summary.fetched_over_image - 2.0).abs() < 1e-9);
}
