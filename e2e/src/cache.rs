//! The cache that outlives clusters and checkouts' `target`: built Go tools, the base image, installed cargo tools.
//!
//! `VMDISK_CACHE` moves it (default `~/.cache/vmdisk`). It is apart from `GOCACHE`, `GOMODCACHE` and `CARGO_HOME`, which
//! their own tools read from the environment, so that a run with all caches cold can be tried beside warm ones.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::say::say;

/// The cache's root directory.
///
/// # Errors
/// When neither `VMDISK_CACHE`, `XDG_CACHE_HOME` nor `HOME` is set.
pub fn root() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("VMDISK_CACHE") {
        return std::path::absolute(dir).context("VMDISK_CACHE is not a usable path");
    }
    if let Some(dir) = std::env::var_os("XDG_CACHE_HOME") {
        return Ok(PathBuf::from(dir).join("vmdisk"));
    }
    let home = std::env::var_os("HOME").context("set VMDISK_CACHE (or HOME) so that there is a place for the cache")?;
    Ok(PathBuf::from(home).join(".cache/vmdisk"))
}

/// A directory whose content is made once: `make` fills a temporary directory beside it, which is then renamed, so that
/// a directory of this name is always complete. A lock beside it lets one process build while others wait.
///
/// # Errors
/// When `make` fails or the file system does.
pub fn once(kind: &str, key: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let parent = root()?.join(kind);
    fs::create_dir_all(&parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let done = parent.join(key);
    if done.exists() {
        return Ok(done);
    }
    let _lock = lock(&parent.join(format!("{key}.lock")))?;
    if done.exists() {
        return Ok(done);
    }
    let partial = parent.join(format!("{key}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", partial.display()))?;
    }
    fs::create_dir_all(&partial).with_context(|| format!("cannot create {}", partial.display()))?;
    make(&partial)?;
    fs::rename(&partial, &done)
        .with_context(|| format!("cannot rename {} to {}", partial.display(), done.display()))?;
    Ok(done)
}

/// Takes the exclusive lock on `path`, waiting for whoever holds it; it is free again when the file is dropped.
///
/// # Errors
/// When the file cannot be made or locked.
pub fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    if file.try_lock().is_err() {
        say(&format!("  waiting for another process that holds {}", path.display()));
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}

/// A short key that changes with any of `parts`.
#[must_use]
pub fn key(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex(&hash.finalize()[..8])
}

/// Bytes as lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
