//! Loop devices. They need root, as the tests of the whole project do.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Bench, run};

/// What a device holds before anything is written to it, when it is dirty.
pub(crate) const GARBAGE: u8 = 0xa5;

/// A loop device; it goes with the value.
pub(crate) struct Loop {
    pub(crate) device: PathBuf,
    pub(crate) backing: PathBuf,
    /// A file system that is there for the device alone.
    mounted: Option<PathBuf>,
    /// What others had written to a device of this name before.
    written_before: u64,
}

impl Loop {
    /// A device of `size` bytes, each of them garbage.
    pub(crate) fn dirty(bench: &Bench, size: usize, arguments: &[&str]) -> Self {
        let backing = bench.path("backing");
        std::fs::write(&backing, vec![GARBAGE; size]).unwrap();
        Self::on(backing, arguments, None)
    }

    /// A device on a file without a single block, as a thin volume is in the beginning.
    pub(crate) fn thin(bench: &Bench, size: usize, arguments: &[&str]) -> Self {
        let backing = bench.path("backing");
        std::fs::File::create(&backing).unwrap().set_len(size as u64).unwrap();
        Self::on(backing, arguments, None)
    }

    /// A device that can be told neither to zero nor to discard: its backing file cannot. It begins with `content`.
    pub(crate) fn stubborn(bench: &Bench, size: usize, content: &[u8], arguments: &[&str]) -> Self {
        let directory = bench.path("ramfs");
        std::fs::create_dir(&directory).unwrap();
        run(Command::new("mount").args(["-t", "ramfs", "ramfs"]).arg(&directory));
        let backing = directory.join("backing");
        std::fs::write(&backing, content).unwrap();
        std::fs::File::options().write(true).open(&backing).unwrap().set_len(size as u64).unwrap();
        Self::on(backing, arguments, Some(directory))
    }

    fn on(backing: PathBuf, arguments: &[&str], mounted: Option<PathBuf>) -> Self {
        assert!(rustix::process::geteuid().is_root(), "run this test as root: it makes loop devices");
        let mut command = Command::new("losetup");
        let device = run(command.args(["--find", "--show"]).args(arguments).arg(&backing));
        let device = PathBuf::from(device.trim());
        Self { written_before: written(&device), device, backing, mounted }
    }

    /// What the device holds, past every cache.
    pub(crate) fn content(&self) -> Vec<u8> {
        run(Command::new("blockdev").arg("--flushbufs").arg(&self.device));
        std::fs::read(&self.device).unwrap()
    }

    /// How many bytes have been written to it since it was made, zeroing and discarding left out.
    pub(crate) fn written(&self) -> u64 {
        written(&self.device) - self.written_before
    }
}

fn written(device: &Path) -> u64 {
    let stat = Path::new("/sys/block").join(device.file_name().unwrap()).join("stat");
    // Documentation/block/stat.rst: the seventh field counts sectors of 512 bytes.
    std::fs::read_to_string(stat).unwrap().split_whitespace().nth(6).unwrap().parse::<u64>().unwrap() * 512
}

impl Drop for Loop {
    fn drop(&mut self) {
        // A device that stays shows itself in the next run's losetup; a panic in here would hide the first one.
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
        if let Some(directory) = &self.mounted {
            let _ = Command::new("umount").arg("--lazy").arg(directory).status();
            let _ = std::fs::remove_dir(directory);
        }
    }
}

/// How many bytes of its file system a file takes.
pub(crate) fn allocated(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().blocks() * 512
}
