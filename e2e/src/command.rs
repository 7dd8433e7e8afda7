//! External commands with errors that say which command failed and what it printed.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// One external command to be run to its end.
pub struct Cmd {
    command: Command,
    stdin: Option<Vec<u8>>,
}

/// Starts to describe a run of `program`.
pub fn cmd(program: impl AsRef<OsStr>) -> Cmd {
    Cmd { command: Command::new(program), stdin: None }
}

impl Cmd {
    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets one environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Runs in `dir` instead of the current directory.
    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Feeds `input` to the command's standard input; without it the input is empty.
    #[must_use]
    pub fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(input.into());
        self
    }

    /// The command line as a person would type it (for messages, so without quoting).
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = self.command.get_program().to_string_lossy().into_owned();
        for arg in self.command.get_args() {
            let _ = write!(line, " {}", arg.to_string_lossy());
        }
        line
    }

    /// Runs to the end and gives what it printed on standard output.
    ///
    /// # Errors
    /// When the command cannot be started or ends with another status than 0; the message carries its standard error.
    pub fn output(mut self) -> Result<String> {
        let line = self.line();
        self.command
            .stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.command.spawn().with_context(|| format!("cannot start `{line}`"))?;
        let feeder = self.stdin.take().and_then(|input| {
            let mut pipe = child.stdin.take()?;
            // A command may end without reading all of its input; its exit status then tells the story.
            Some(std::thread::spawn(move || drop(pipe.write_all(&input))))
        });
        let out = child.wait_with_output().with_context(|| format!("cannot wait for `{line}`"))?;
        if let Some(feeder) = feeder {
            drop(feeder.join());
        }
        if !out.status.success() {
            let stderr = String::from_utf8_lossy(&out.stderr);
            bail!("`{line}` failed ({}): {}", out.status, tail(stderr.trim(), 4000));
        }
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }

    /// Runs to the end, with what it prints kept for the error message.
    ///
    /// # Errors
    /// As [`Cmd::output`].
    pub fn run(self) -> Result<()> {
        self.output().map(drop)
    }

    /// Runs to the end with the terminal's own input and outputs, for commands whose output the user wants to see.
    ///
    /// # Errors
    /// When the command cannot be started or ends with another status than 0.
    pub fn run_visibly(mut self) -> Result<()> {
        let line = self.line();
        let status = self.command.status().with_context(|| format!("cannot start `{line}`"))?;
        if !status.success() {
            bail!("`{line}` failed ({status})");
        }
        Ok(())
    }

    /// Whether the command runs and ends with status 0.
    #[must_use]
    pub fn succeeds(self) -> bool {
        self.output().is_ok()
    }
}

/// The last `limit` bytes of `text`, cut at a character's edge.
fn tail(text: &str, limit: usize) -> &str {
    let mut start = text.len().saturating_sub(limit);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
