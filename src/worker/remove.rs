//! Removing what an attempt leaves on a target.

use std::io::ErrorKind;
use std::path::Path;

use crate::failure::{Failure, Result};

/// Removes a file, if it is there.
///
/// # Errors
///
/// [`Reason::TargetIo`](crate::failure::Reason::TargetIo).
pub(crate) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Failure::target("remove", path, &error)),
        _ => Ok(()),
    }
}
