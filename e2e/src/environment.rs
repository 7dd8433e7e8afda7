//! What a running cluster is reached by, as variables: the file that `cluster env` prints, and that tests read.

use std::fmt::{Display, Write as _};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::instance::Instance;

/// Variables by name, in the order in which they were set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// Adds a variable.
    pub fn set(&mut self, name: &str, value: impl Display) {
        self.0.push((name.to_owned(), value.to_string()));
    }

    /// The variables that a running cluster wrote.
    ///
    /// # Errors
    /// When no cluster is up.
    pub fn load(instance: &Instance) -> Result<Self> {
        let file = instance.env_file();
        let text = fs::read_to_string(&file)
            .with_context(|| format!("no cluster is up ({} is missing): run cargo xtask cluster up", file.display()))?;
        Ok(Self::parse(&text))
    }

    /// The value of a variable.
    ///
    /// # Errors
    /// When there is no such variable.
    pub fn get(&self, name: &str) -> Result<&str> {
        let found = self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        found.with_context(|| format!("the cluster's environment has no {name}; run cargo xtask cluster up again"))
    }

    /// As [`Environment::get`], for a path.
    ///
    /// # Errors
    /// When there is no such variable.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// All variables.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The variables as lines for a shell.
    #[must_use]
    pub fn to_shell(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, (name, value)| {
            // The one variable that adds to what is there.
            let rest = if name == "PATH" { ":\"$PATH\"" } else { "" };
            let _ = writeln!(text, "export {name}='{}'{rest}", value.replace('\'', "'\\''"));
            text
        })
    }

    /// Reads what [`Environment::to_shell`] wrote.
    fn parse(text: &str) -> Self {
        let variable = |line: &str| {
            let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
            let value = value.strip_suffix(":\"$PATH\"").unwrap_or(value);
            let value = value.strip_prefix('\'')?.strip_suffix('\'')?;
            Some((name.to_owned(), value.replace("'\\''", "'")))
        };
        Self(text.lines().filter_map(variable).collect())
    }

    /// Writes the instance's file, whole or not at all, and links it from the checkout.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) fn store(&self, instance: &Instance) -> Result<()> {
        let (file, link) = (instance.env_file(), instance.env_link());
        let partial = file.with_extension("partial");
        fs::write(&partial, self.to_shell()).with_context(|| format!("cannot write {}", partial.display()))?;
        fs::rename(&partial, &file).with_context(|| format!("cannot write {}", file.display()))?;
        let parent = link.parent().context("the link lies in a directory")?;
        fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        let partial = link.with_extension("partial");
        match fs::remove_file(&partial) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        symlink(&file, &partial).with_context(|| format!("cannot link {}", partial.display()))?;
        fs::rename(&partial, &link).with_context(|| format!("cannot link {}", link.display()))
    }
}

#[cfg(test)]
#[path = "environment_tests.rs"]
mod tests;
