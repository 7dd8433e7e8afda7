//! What was tried, as a table. Pure.

use std::fmt::Write as _;
use std::time::Duration;

/// One life's row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    /// The life.
    pub(crate) life: String,
    /// The writes of the undisturbed life.
    pub(crate) writes: usize,
    /// How often something was tried that happened.
    pub(crate) tried: usize,
    /// How often of those something must not have been.
    pub(crate) failed: usize,
    /// The most fetches of the image.
    pub(crate) most_fetches: usize,
    /// The undisturbed life, and the longest.
    pub(crate) took: (Duration, Duration),
}

/// The rows as a Markdown table.
#[must_use]
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = "| life | API writes | tried | failed | most fetches | undisturbed | longest |\n\
                    |---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.1} s | {:.1} s |",
            row.life,
            row.writes,
            row.tried,
            row.failed,
            row.most_fetches,
            row.took.0.as_secs_f64(),
            row.took.1.as_secs_f64()
        );
    }
    text
}
