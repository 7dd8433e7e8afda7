//! What was measured, as people read it: Markdown for the README. Pure.

use std::fmt::Write as _;

use super::verdict::Summary;

/// The stages, in the order of the data.
const STAGES: [&str; 6] = ["transfer", "hash", "decompress", "diff_id", "decode", "write"];

/// Two tables: what the worker needs, and what the stages alone reach.
pub(super) fn markdown(rows: &[Summary]) -> String {
    let mut text = String::from(
        "| image | wall | CPU | peak memory | written | fetched / image | wall / floor | floor by | wall / naive |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    // Writing to a String cannot fail.
    for row in rows {
        let missed = if row.missed.is_empty() { "" } else { " (missed)" };
        let _ = writeln!(
            text,
            "| {}{missed} | {:.2} s | {:.2} s | {:.0} MiB | {:.0} MiB | {:.2} | {:.2} | {} | {:.2} |",
            row.what,
            row.wall_s,
            row.cpu_s,
            row.peak_mib,
            row.written_mib,
            row.fetched_over_image,
            row.wall_over_floor,
            row.floor_by,
            row.wall_over_naive,
        );
    }
    let _ = writeln!(text, "\nThe stages alone, GB/s, each by the fastest independent tool:\n");
    let _ = writeln!(text, "| image | {} |\n|---{}|", STAGES.join(" | "), "|---".repeat(STAGES.len()));
    for row in rows {
        let speeds = STAGES.map(|name| {
            let stage = row.stages.iter().find(|stage| stage.name == name);
            stage.map_or_else(|| "–".to_owned(), |stage| format!("{:.2} ({})", stage.gb_per_s, stage.tool))
        });
        let _ = writeln!(text, "| {} | {} |", row.what, speeds.join(" | "));
    }
    text
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
