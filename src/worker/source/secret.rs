//! The image's Secret, mounted as one file a key.

use std::collections::BTreeMap;
use std::path::Path;

use crate::failure::{Failure, Reason, Result};

/// No credential is longer; a registry's `.dockerconfigjson` may hold many.
const MAX_VALUE: u64 = 1 << 20;

/// The keys and values of a Secret. Never printed.
#[derive(Clone, Default)]
pub struct Secret(BTreeMap<String, String>);

impl Secret {
    /// Reads the files of a directory; one that is not there is an empty Secret, since the mount is optional.
    ///
    /// # Errors
    ///
    /// [`Reason::InvalidSecret`] naming the key that cannot be read.
    pub fn read(directory: &Path) -> Result<Self> {
        let mut values = BTreeMap::new();
        let Ok(entries) = std::fs::read_dir(directory) else {
            return Ok(Self::default());
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let key = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // The kubelet's bookkeeping starts with two dots; .dockerconfigjson is a key like any other.
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            if key.starts_with("..") || !metadata.is_file() {
                continue;
            }
            let invalid = |why: &str| Failure::new(Reason::InvalidSecret, format!("the Secret's key {key} {why}"));
            if metadata.len() > MAX_VALUE {
                return Err(invalid("is longer than 1 MiB"));
            }
            let value = std::fs::read_to_string(&path).map_err(|error| invalid(&format!("cannot be read: {error}")))?;
            values.insert(key, value);
        }
        Ok(Self(values))
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of the first of `keys` that is there, without the newline that editors leave at its end.
    #[must_use]
    pub fn get(&self, keys: &[&str]) -> Option<&str> {
        keys.iter().find_map(|key| self.0.get(*key)).map(|value| value.trim_end_matches(['\n', '\r']))
    }

    /// User name and password, when there are any.
    ///
    /// # Errors
    ///
    /// [`Reason::InvalidSecret`] when one is there without the other.
    pub fn basic(&self) -> Result<Option<(&str, &str)>> {
        self.pair(&["username"], &["password"])
    }

    /// The values of two keys that belong together.
    ///
    /// # Errors
    ///
    /// [`Reason::InvalidSecret`] when one is there without the other.
    pub fn pair(&self, first: &[&str], second: &[&str]) -> Result<Option<(&str, &str)>> {
        match (self.get(first), self.get(second)) {
            (Some(first), Some(second)) => Ok(Some((first, second))),
            (None, None) => Ok(None),
            (Some(_), None) => Err(incomplete(first[0], second[0])),
            (None, Some(_)) => Err(incomplete(second[0], first[0])),
        }
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Secret {
    fn from(values: [(&str, &str); N]) -> Self {
        Self(values.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }
}

fn incomplete(found: &str, missing: &str) -> Failure {
    Failure::new(Reason::InvalidSecret, format!("the Secret has the key {found} but not {missing}; add it"))
}

#[cfg(test)]
#[path = "secret_tests.rs"]
mod tests;
