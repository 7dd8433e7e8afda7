//! A file system that is larger than the disk it lies on: a huge disk full of holes fits, and a worker that looks for
//! room before it begins finds it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use vmdisk_e2e::command::cmd;
use vmdisk_e2e::machine::is_mounted;

/// Where it is mounted, and the file that it lies in.
const MOUNT: &str = "volume";
const FILE: &str = "volume.ext4";

/// A mounted ext4 in a sparse file; it goes when this is dropped.
pub(super) struct Volume {
    mount: PathBuf,
    file: PathBuf,
}

impl Volume {
    /// Makes a file system of at least `bytes` of room below `dir`.
    pub(super) fn new(dir: &Path, bytes: u64) -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "a disk of 100 GiB needs a file system to be mounted; run as root"
        );
        let volume = Self { mount: dir.join(MOUNT), file: dir.join(FILE) };
        fs::create_dir_all(&volume.mount).with_context(|| format!("cannot create {}", volume.mount.display()))?;
        // The file system's own tables take less than a quarter.
        cmd("truncate").args(["--size", &(bytes + bytes / 4).to_string()]).arg(&volume.file).run()?;
        cmd("/sbin/mkfs.ext4").args(["-q", "-F", "-m", "0", "-E", "lazy_itable_init=1"]).arg(&volume.file).run()?;
        // Past the page cache, as a disk of its own would be: the kernel's copying counts for no process, and would set
        // the pace of all that write here.
        cmd("losetup").args(["--find", "--direct-io=on"]).arg(&volume.file).run()?;
        let device = device(&volume.file)?.context("the loop device is gone that was just made")?;
        // What is measured must not share the disk with the making of inode tables.
        cmd("mount").args(["-o", "noinit_itable", &device]).arg(&volume.mount).run()?;
        Ok(volume)
    }

    /// A directory on it.
    pub(super) fn dir(&self) -> PathBuf {
        self.mount.join("work")
    }

    /// Removes what a bench that was killed has left below `dir`.
    pub(super) fn clean_up(dir: &Path) -> Result<()> {
        release(&dir.join(MOUNT), &dir.join(FILE))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // What stays is cleaned up by the next run.
        let _ = release(&self.mount, &self.file);
        let _ = fs::remove_file(&self.file);
    }
}

/// Takes the file system off its device, and that off `file`.
fn release(mount: &Path, file: &Path) -> Result<()> {
    if is_mounted(mount)? {
        cmd("umount").arg(mount).run()?;
    }
    match device(file)? {
        Some(device) => cmd("losetup").args(["--detach", &device]).run(),
        None => Ok(()),
    }
}

/// The loop device on `file`, if there is one.
fn device(file: &Path) -> Result<Option<String>> {
    if !file.exists() {
        return Ok(None);
    }
    let listed = cmd("losetup").args(["--noheadings", "--output", "NAME", "--associated"]).arg(file).output()?;
    Ok(listed.lines().next().map(|device| device.trim().to_owned()))
}
