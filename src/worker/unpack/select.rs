//! Which file of a container image or an archive is the disk.
//!
//! The rules are those of KubeVirt's containerDisks (`GetImage` in `pkg/container-disk`): the one file in `/disk`,
//! unless the user names another. An archive that is no container image may also hold its only file anywhere.

use std::collections::BTreeSet;

use super::sightings::Sightings;
use super::tar::{Entry, Kind};
use super::{StageError, refused};
use crate::failure::{Failure, Reason};
use crate::shown::shown;

/// The directory of a containerDisk.
const DISK_DIRECTORY: &str = "disk";

/// More whiteouts near the disk than this are no honest image.
const MAX_WHITEOUTS: usize = 10_000;

/// What an archive is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Container {
    /// One layer of a container image.
    Layer,
    /// An archive by itself.
    #[default]
    Plain,
}

/// What the upper layers of an image hide of the lower ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hidden {
    /// Paths that are gone, with everything below them.
    gone: BTreeSet<String>,
    /// Directories whose earlier content is gone.
    opaque: BTreeSet<String>,
}

/// Judges the entries of one archive.
pub(super) struct Selector<'a> {
    wanted: Option<String>,
    container: Container,
    above: &'a Hidden,
    here: Hidden,
    chosen: Option<String>,
    seen: Sightings,
}

/// What to do with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the disk.
    Take,
    /// It is not.
    Skip,
}

impl<'a> Selector<'a> {
    /// A selector for an archive below the layers that hide `above`; `wanted` is the path that the user names.
    ///
    /// # Errors
    ///
    /// As those of [`check_path`].
    pub(super) fn new(wanted: Option<&str>, container: Container, above: &'a Hidden) -> Result<Self, Failure> {
        Ok(Self {
            wanted: wanted.map(wanted_path).transpose()?,
            container,
            above,
            here: Hidden::default(),
            chosen: None,
            seen: Sightings::default(),
        })
    }

    /// Judges the next entry.
    ///
    /// # Errors
    ///
    /// A second candidate, or one that is no plain file.
    pub(super) fn judge(&mut self, entry: &Entry) -> Result<Verdict, StageError> {
        if self.wanted.is_none() && self.container == Container::Plain && leads_out(entry) {
            return Err(refused(
                Reason::MalformedArchive,
                format!(
                    "the path {} leads out of the archive; pack the disk image under its plain name",
                    shown(&entry.path)
                ),
            ));
        }
        let Some(path) = canonical(&entry.path) else {
            return Ok(Verdict::Skip);
        };
        if self.container == Container::Layer && self.whiteout(&path, entry.kind)? {
            return Ok(Verdict::Skip);
        }
        if self.above.hides(&path) {
            return Ok(Verdict::Skip);
        }
        if !self.is_candidate(&path, entry.kind) {
            if entry.kind == Kind::Regular {
                self.seen.note(&path);
            }
            return Ok(Verdict::Skip);
        }
        match entry.kind {
            Kind::Regular => {}
            Kind::Directory | Kind::SymbolicLink | Kind::HardLink | Kind::Special => {
                return Err(refused(
                    Reason::UnsupportedImage,
                    format!("{} is {}, the disk must be a plain file", shown(&path), kind_name(entry.kind)),
                ));
            }
        }
        if let Some(first) = &self.chosen {
            let place = if self.wanted.is_some() {
                "the path stands twice in the archive"
            } else {
                "name the one that is the disk in path"
            };
            return Err(refused(
                Reason::NoDisk,
                format!("both {} and {} may be the disk; {place}", shown(first), shown(&path)),
            ));
        }
        self.chosen = Some(path);
        Ok(Verdict::Take)
    }

    /// What lower layers must not show any more, and what is there that is not the disk.
    #[must_use]
    pub(super) fn end(self) -> (Hidden, Sightings) {
        let mut all = self.above.clone();
        all.gone.extend(self.here.gone);
        all.opaque.extend(self.here.opaque);
        (all, self.seen)
    }

    fn is_candidate(&self, path: &str, kind: Kind) -> bool {
        if let Some(wanted) = &self.wanted {
            return path == wanted;
        }
        if kind == Kind::Directory {
            return false;
        }
        match (self.container, path.split_once('/')) {
            (_, Some((DISK_DIRECTORY, name))) => !name.contains('/'),
            (Container::Layer, _) => false,
            // macOS writes a shadow of resource forks beside every file; links hold no disk by themselves.
            (Container::Plain, _) => {
                let name = path.rsplit('/').next().unwrap_or(path);
                !name.starts_with("._") && kind == Kind::Regular
            }
        }
    }

    /// Notes what the entry hides of lower layers; true for entries that are nothing but such a mark.
    fn whiteout(&mut self, path: &str, kind: Kind) -> Result<bool, StageError> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let join = |name: &str| {
            if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") }
        };
        let mark = name.starts_with(".wh.");
        if name == ".wh..wh..opq" {
            if self.concerns(parent) {
                self.here.opaque.insert(parent.to_owned());
            }
        } else if let Some(hidden) = name.strip_prefix(".wh.") {
            let hidden = join(hidden);
            if self.concerns(&hidden) {
                self.here.gone.insert(hidden);
            }
        } else if kind != Kind::Directory && self.concerns(path) {
            // A file in the place of a directory hides what the directory held.
            self.here.gone.insert(path.to_owned());
        }
        if self.here.gone.len() + self.here.opaque.len() > MAX_WHITEOUTS {
            return Err(refused(
                Reason::MalformedArchive,
                format!("a layer has more than {MAX_WHITEOUTS} files and whiteouts beside the disk"),
            ));
        }
        Ok(mark)
    }

    /// Whether hiding `path` can hide a candidate.
    fn concerns(&self, path: &str) -> bool {
        let wanted = self.wanted.as_deref().unwrap_or(DISK_DIRECTORY);
        path.is_empty() || is_at_or_below(wanted, path) || is_at_or_below(path, wanted)
    }
}

impl Hidden {
    fn hides(&self, path: &str) -> bool {
        self.gone.iter().any(|gone| is_at_or_below(path, gone))
            || self.opaque.iter().any(|directory| path != directory && is_at_or_below(path, directory))
    }
}

fn is_at_or_below(path: &str, directory: &str) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Refuses a path that the user names and no file can have.
///
/// # Errors
///
/// [`Reason::BadJob`] when it is empty, the root, or leads upwards.
pub fn check_path(path: &str) -> Result<(), Failure> {
    wanted_path(path).map(|_| ())
}

fn wanted_path(path: &str) -> Result<String, Failure> {
    canonical(path).ok_or_else(|| {
        Failure::new(
            Reason::BadJob,
            format!(
                "path is \"{}\", which names no file; name the disk image in the container image or archive, such as \
                 disk/disk.img, or leave path out",
                shown(path)
            ),
        )
    })
}

/// The path without leading and doubled slashes and dots; `None` for one that climbs, or names the root.
fn canonical(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    (!parts.is_empty() && !parts.contains(&"..")).then(|| parts.join("/"))
}

/// Whether a file would come to lie outside of where the archive is extracted. Nothing is extracted here; but whoever
/// makes such an archive does not mean a disk. In layers paths are absolute by nature.
fn leads_out(entry: &Entry) -> bool {
    entry.kind == Kind::Regular && (entry.path.starts_with('/') || entry.path.split('/').any(|part| part == ".."))
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Regular => "a file",
        Kind::Directory => "a directory",
        Kind::SymbolicLink => "a symbolic link",
        Kind::HardLink => "a hard link",
        Kind::Special => "a device or another special file",
    }
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
