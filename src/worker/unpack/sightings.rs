//! What an image without a disk holds instead, for the message that says so. Bounded, whatever the image holds.

use crate::shown::shown;

/// More names than these help nobody.
const MOST: usize = 4;

/// Beginnings of the names of kernels and of what they boot with, in lower case.
const BOOT_FILES: [&str; 6] = ["vmlinuz", "vmlinux", "bzimage", "kernel", "initrd", "initramfs"];

/// Ends of the names of disk images, in lower case.
const DISK_IMAGES: [&str; 8] = ["qcow2", "img", "raw", "vmdk", "vdi", "vhd", "vhdx", "iso"];

/// Ends of the names of compressed files.
const COMPRESSIONS: [&str; 4] = [".gz", ".xz", ".zst", ".bz2"];

/// Files that are not where the disk is looked for, the topmost layer's first. One that an upper layer hides may be among
/// them: whiteouts are remembered where they concern the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sightings {
    boot_files: Vec<String>,
    disk_images: Vec<String>,
}

impl Sightings {
    /// Notes a file, if it is worth it.
    pub(super) fn note(&mut self, path: &str) {
        let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
        let plain = COMPRESSIONS.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
        let is_image = || plain.rsplit_once('.').is_some_and(|(_, end)| DISK_IMAGES.contains(&end));
        let list = if BOOT_FILES.iter().any(|start| name.starts_with(start)) {
            &mut self.boot_files
        } else if is_image() {
            &mut self.disk_images
        } else {
            return;
        };
        add(list, shown(path));
    }

    /// Adds what was seen in a layer below.
    pub fn extend(&mut self, below: Self) {
        below.boot_files.into_iter().for_each(|path| add(&mut self.boot_files, path));
        below.disk_images.into_iter().for_each(|path| add(&mut self.disk_images, path));
    }

    /// What to do about an image that has none of its layers' files in `/disk`.
    #[must_use]
    pub fn advice(&self) -> String {
        match (self.disk_images.as_slice(), self.boot_files.as_slice()) {
            ([], []) => "put the disk image there, or name it in path".into(),
            ([], boot) => format!(
                "it holds {}, as an image for kernelBoot does, which has a kernel and no disk: name it in the \
                 VirtualMachine's firmware.kernelBoot.container, and an image with a disk here",
                boot.join(", ")
            ),
            (images, _) => format!("it holds {}: name the one that is the disk in path", images.join(", ")),
        }
    }

    /// What the user may have meant by a path that is not there.
    #[must_use]
    pub fn alternatives(&self) -> String {
        match self.disk_images.as_slice() {
            [] => "correct path".into(),
            images => format!("correct path: it holds {}", images.join(", ")),
        }
    }
}

fn add(list: &mut Vec<String>, path: String) {
    if list.len() < MOST && !list.contains(&path) {
        list.push(path);
    }
}

#[cfg(test)]
#[path = "sightings_tests.rs"]
mod tests;
