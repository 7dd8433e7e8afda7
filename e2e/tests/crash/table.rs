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
    /// How long the undisturbed life took.
    pub(crate) calm: Duration,
    /// The longest try, and what was tried.
    pub(crate) longest: (Duration, String),
}

/// The rows as a Markdown table.
#[must_use]
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = "| life | API writes | tried | failed | most fetches | undisturbed | longest | with |\n\
                    |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.1} s | {:.1} s | {} |",
            row.life,
            row.writes,
            row.tried,
            row.failed,
            row.most_fetches,
            row.calm.as_secs_f64(),
            row.longest.0.as_secs_f64(),
            row.longest.1
        );
    }
    text
}
