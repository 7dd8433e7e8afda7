//! The demo as its user sees it: numbered steps, commands, what they printed, and the time since the start.

use std::io::{IsTerminal as _, Stdout, Write as _};
use std::time::Instant;

use anyhow::{Context as _, Result};

/// How many steps the demo has.
const STEPS: u32 = 7;

/// The story so far.
pub(super) struct Story {
    out: Stdout,
    start: Instant,
    step: u32,
    colour: bool,
}

impl Story {
    /// Begins with a title.
    pub(super) fn begin(title: &str) -> Self {
        let out = std::io::stdout();
        let colour = out.is_terminal();
        let story = Self { out, start: Instant::now(), step: 0, colour };
        story.quote_plain(&story.bold(title));
        story
    }

    /// Announces the next step.
    pub(super) fn step(&mut self, title: &str) -> Result<()> {
        self.step += 1;
        let title = format!("{}/{STEPS}  {title}", self.step);
        self.say(&format!("\n{}  [{:.0} s]", self.bold(&title), self.seconds()))
    }

    /// One line of text.
    pub(super) fn say(&self, text: &str) -> Result<()> {
        writeln!(self.out.lock(), "{text}").context("cannot write to the standard output")
    }

    /// A fact below a step.
    pub(super) fn detail(&self, text: &str) -> Result<()> {
        self.say(&format!("     {text}"))
    }

    /// A command as a user types it.
    pub(super) fn command(&self, line: &str) -> Result<()> {
        self.say(&format!("     {}", self.bold(&format!("$ {line}"))))
    }

    /// What a command or a guest printed.
    pub(super) fn quote(&self, text: &str) {
        for line in text.lines() {
            self.quote_plain(&format!("     │ {line}"));
        }
    }

    /// The happy end.
    pub(super) fn end(&self, text: &str) -> Result<()> {
        let title = format!("The VM booted from its claim, {:.0} s after the start.", self.seconds());
        self.say(&format!("\n{}\n{text}\n", self.bold(&title)))
    }

    /// The seconds since the start.
    pub(super) fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    fn quote_plain(&self, text: &str) {
        // A closed terminal is found out by the next step; a quotation need not fail.
        let _ = self.say(text);
    }

    fn bold(&self, text: &str) -> String {
        if self.colour { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
