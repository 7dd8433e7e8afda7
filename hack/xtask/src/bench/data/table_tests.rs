use super::super::verdict::{StageSummary, Summary};
use super::*;

fn row() -> Summary {
    let hash =
        StageSummary { name: "hash", tool: "openssl", wall_s: 1.0, cpu_s: 1.0, server_cpu_s: 0.0, gb_per_s: 1.8 };
    Summary {
        name: "http-raw",
        what: "HTTP: raw".to_owned(),
        wall_s: 1.25,
        floor_s: 1.0,
        naive_s: 2.5,
        wall_over_floor: 1.25,
        wall_over_naive: 0.5,
        cpu_s: 1.5,
        peak_mib: 40.4,
        written_mib: 1044.0,
        fetched_over_image: 1.0,
        floor_by: "hash",
        stages: vec![hash],
        missed: vec!["1.25 times the floor instead of 1.15".to_owned()],
    }
}

#[test]
fn a_miss_shows_and_absent_stages_are_dashes() {
    let text = markdown(&[row()]);
    let expected = "| HTTP: raw (missed) | 1.25 s | 1.50 s | 40 MiB | 1044 MiB | 1.00 | 1.25 | hash | 0.50 |\n";
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("| HTTP: raw | – | 1.80 (openssl) | – | – | – | – |\n"), "{text}");
}

#[test]
fn every_line_of_a_table_has_the_same_columns() {
    for table in markdown(&[row(), row()]).split("\n\n") {
        let columns: Vec<_> =
            table.lines().filter(|line| line.starts_with('|')).map(|line| line.matches('|').count()).collect();
        assert!(columns.windows(2).all(|pair| pair[0] == pair[1]), "{table}");
    }
}

#[test]
fn machines_find_every_figure_by_its_name() {
    let json = serde_json::to_value(row()).expect("json");
    let names = [
        "name",
        "wall_s",
        "wall_over_floor",
        "wall_over_naive",
        "cpu_s",
        "peak_mib",
        "written_mib",
        "fetched_over_image",
    ];
    for name in names {
        assert!(json.get(name).is_some(), "{name}");
    }
}
