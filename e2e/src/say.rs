//! What the launcher tells the person who waits for it: one line a step, on standard error, so that the standard output
//! of `cluster env` stays a shell script. What was asked for itself, a table, a list, is the one thing on standard output.

use std::io::Write as _;
use std::time::Instant;

use anyhow::Context as _;

/// Prints one line.
pub fn say(line: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Prints a result on standard output.
///
/// # Errors
/// When nobody can read it.
pub fn say_out(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{}", text.trim_end()).context("cannot write to the standard output")
}

/// Announces a step, runs it, and says how long it took when that was worth noticing.
///
/// # Errors
/// Whatever the step's own error is.
pub fn step<T>(what: &str, run: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    say(&format!("  {what}"));
    let start = Instant::now();
    let result = run()?;
    let elapsed = start.elapsed();
    if elapsed.as_secs() >= 5 {
        say(&format!("    took {:.0} s", elapsed.as_secs_f64()));
    }
    Ok(result)
}
