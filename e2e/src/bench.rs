//! How a bench of the controller begins and ends: its figures as a table, or as rows for machines, and the verdict.

use anyhow::{Context as _, Result, bail};

use crate::figures::{self, Figure};
use crate::say::say_out;

/// Runs a bench and prints what it measured: a table, whose last column is `reference`'s, or with `--json` among the
/// arguments of the process rows for machines.
///
/// # Errors
/// The bench's own error; or, once all is printed, the names of the figures that missed their target, and then `advice`.
pub fn run(reference: &str, advice: &str, bench: impl Future<Output = Result<Vec<Figure>>>) -> Result<()> {
    // Cargo adds an argument of its own to those of every bench.
    let json = std::env::args().any(|argument| argument == "--json");
    let figures = tokio::runtime::Runtime::new().context("cannot start the asynchronous runtime")?.block_on(bench)?;
    if json {
        say_out(&serde_json::to_string_pretty(&figures)?)?;
    } else {
        say_out(&figures::table(&figures, reference))?;
    }
    match figures::missed(&figures).as_slice() {
        [] => Ok(()),
        missed => bail!("missed: {}{advice}", missed.join(", ")),
    }
}
