//! Which blobs of an artifact are the disk: of a manifest whose configuration is no container image's. Pure.
//!
//! The first of these that there is: the blob that the user's path names, the parts of a disk that is cut, the one disk
//! among other things as KubeVirt exports it (KubeVirt enhancement 256), the only blob. What the blob holds is looked
//! at, its media type is not: `oras push` calls any file a tar archive.

use std::collections::BTreeSet;

use super::manifest::{Descriptor, malformed};
use crate::failure::{Failure, Reason, Result};
use crate::shown::shown;

/// Disks as KubeVirt exports them.
const KUBEVIRT_DISK: &str = "application/vnd.kubevirt.disk.";
const KUBEVIRT_NAME: &str = "io.kubevirt.disk.name";
const KUBEVIRT_SIZE: &str = "io.kubevirt.disk.size";
const TITLE: &str = "org.opencontainers.image.title";

/// Which part of a disk a layer is, and of how many: a parameter of its media type, or an annotation. Lume (trycua/cua,
/// `scripts/ghcr/pushImage.sh` and `ImageContainerRegistry.swift` in `libs/lume`) publishes disks in such layers, whose
/// bytes in order are the disk, each compressed for itself or not at all.
const PART_NUMBER: &str = "part.number";
const PART_TOTAL: &str = "part.total";
const PART_ANNOTATIONS: &str = "org.trycua.lume.";

/// More names than these help nobody.
pub(super) const MOST_NAMES: usize = 8;

/// The blob that holds the disk, in its parts, and the path to look for inside, when it has not named the blob itself.
pub(super) fn choose<'a, 'p>(
    layers: &'a [Descriptor],
    path: Option<&'p str>,
) -> Result<(Vec<&'a Descriptor>, Option<&'p str>)> {
    let parts = parts(layers)?;
    if let Some(path) = path {
        let mut named = layers.iter().filter(|layer| layer.is_called(path));
        match (named.next(), named.next()) {
            (Some(part), _) if parts.contains(&part) => {
                return Err(no_disk(format!(
                    "{} is one of the {} parts of a disk; leave path away, and all of them are read",
                    shown(path),
                    parts.len()
                )));
            }
            (Some(one), None) => return Ok((vec![one], None)),
            (Some(one), Some(other)) if one.digest == other.digest => return Ok((vec![one], None)),
            (Some(one), Some(other)) => {
                let (one, other) = (&one.digest, &other.digest);
                let path = shown(path);
                return Err(no_disk(format!(
                    "both {one} and {other} are called {path}; name one by its digest in path"
                )));
            }
            (None, _) => {}
        }
    }
    if !parts.is_empty() {
        return Ok((parts, path));
    }
    let disks: Vec<&Descriptor> = layers.iter().filter(|layer| layer.is_kubevirt_disk()).collect();
    match (disks.as_slice(), layers) {
        ([disk], _) => Ok((vec![disk], path)),
        ([], [only]) => Ok((vec![only], path)),
        ([], _) => Err(no_disk(format!(
            "the artifact holds {}; name the one that is the disk in path (what is cut into several is put together if its \
             layers have part numbers, which these have not)",
            names(layers.iter())
        ))),
        (disks, _) => Err(no_disk(format!(
            "the artifact holds {} disks: {}; name the one to take in path",
            disks.len(),
            names(disks.iter().copied())
        ))),
    }
}

impl Descriptor {
    fn is_kubevirt_disk(&self) -> bool {
        self.media_type.starts_with(KUBEVIRT_DISK)
    }

    /// How large the disk is, where the one who exported it says so in a way that can be read.
    pub(super) fn disk_size(&self) -> Option<u64> {
        let text = self.annotations.get(KUBEVIRT_SIZE).filter(|_| self.is_kubevirt_disk())?;
        volume_quantity::parse(text).ok().map(i64::unsigned_abs)
    }

    /// What the user may call it in path, and what it is where it has no name.
    fn name(&self) -> String {
        match [KUBEVIRT_NAME, TITLE].into_iter().find_map(|key| self.annotations.get(key)) {
            Some(name) => shown(name),
            None => format!("{} ({})", shown(&self.digest), shown(&self.media_type)),
        }
    }

    fn is_called(&self, path: &str) -> bool {
        self.digest == path
            || [KUBEVIRT_NAME, TITLE]
                .into_iter()
                .any(|key| self.annotations.get(key).is_some_and(|name| name == path.trim_start_matches('/')))
    }

    /// A number that the media type or an annotation gives.
    fn number(&self, key: &str) -> Result<Option<usize>> {
        let parameter = || {
            let parameters = self.media_type.split(';').skip(1);
            parameters.filter_map(|parameter| parameter.split_once('=')).find(|(name, _)| name.trim() == key)
        };
        let text = match self.annotations.get(&format!("{PART_ANNOTATIONS}{key}")) {
            Some(text) => text.as_str(),
            None => match parameter() {
                Some((_, text)) => text.trim(),
                None => return Ok(None),
            },
        };
        let bad =
            || malformed(format!("says {key}={} of a layer, which is no number; push the image again", shown(text)));
        text.parse().map(Some).map_err(|_| bad())
    }
}

/// The parts of a disk that is cut, in order; none when it is not.
fn parts(layers: &[Descriptor]) -> Result<Vec<&Descriptor>> {
    let mut parts = Vec::new();
    for layer in layers {
        if let Some(number) = layer.number(PART_NUMBER)? {
            let total = layer.number(PART_TOTAL)?;
            parts.push((number, total, layer));
        }
    }
    parts.sort_by_key(|(number, ..)| *number);
    let found = parts.len();
    let first = parts.first().map_or(0, |(number, ..)| *number);
    for (index, (number, total, _)) in parts.iter().enumerate() {
        let total = total.unwrap_or(found);
        // They are counted from zero or from one; a disk with a hole in it would boot something else.
        if total != found || first > 1 || *number != first + index {
            return Err(malformed(format!(
                "cuts the disk into {total} parts and has {found}, of which number {number} follows {index} others; each \
                 number must be there once: push the image again"
            )));
        }
    }
    Ok(parts.into_iter().map(|(.., layer)| layer).collect())
}

/// The first few names; with the digests where names alone do not tell the layers apart.
fn names<'a>(layers: impl ExactSizeIterator<Item = &'a Descriptor>) -> String {
    let more = layers.len().saturating_sub(MOST_NAMES);
    let layers: Vec<&Descriptor> = layers.take(MOST_NAMES).collect();
    let unique = layers.iter().map(|layer| layer.name()).collect::<BTreeSet<_>>().len() == layers.len();
    let name = |layer: &&Descriptor| {
        let name = layer.name();
        if unique { name } else { format!("{name} {}", shown(&layer.digest)) }
    };
    let mut names: Vec<String> = layers.iter().map(name).collect();
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names.join(", ")
}

fn no_disk(message: String) -> Failure {
    Failure::new(Reason::NoDisk, message)
}

#[cfg(test)]
#[path = "artifact_tests.rs"]
mod tests;
