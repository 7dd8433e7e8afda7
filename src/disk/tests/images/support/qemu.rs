//! QEMU's tools as the reference. A machine without them fails these tests: they are part of the development set-up.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

/// A directory of images.
pub(crate) struct Images(TempDir);

impl Images {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("a temporary directory"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, data: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, data).expect("written");
        path
    }

    /// The disk in an image, as QEMU sees it.
    pub(crate) fn reference(&self, format: &str, image: &Path) -> Vec<u8> {
        let raw = self.path("reference.raw");
        qemu_img(&["convert", "-f", format, "-O", "raw", text(image), text(&raw)]);
        std::fs::read(raw).expect("readable")
    }

    /// An image made of a raw one.
    pub(crate) fn convert(&self, raw: &Path, name: &str, arguments: &[&str]) -> PathBuf {
        let image = self.path(name);
        let all = [&["convert", "-f", "raw"], arguments, &[text(raw), text(&image)]].concat();
        qemu_img(&all);
        image
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

pub(crate) fn qemu_img(arguments: &[&str]) {
    run(Command::new("qemu-img").args(arguments), "");
}

/// Runs commands of qemu-io (`write -P 1 0 64k`, `write -z`, `write -c`, `discard` …) on an image.
pub(crate) fn qemu_io(format: &str, image: &Path, commands: &str) {
    let mut command = Command::new("qemu-io");
    command.args(["-f", format, "-d", "unmap", text(image)]);
    run(&mut command, commands);
}

fn run(command: &mut Command, input: &str) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; install qemu-utils"));
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("taken");
    let output = child.wait_with_output().expect("waited for");
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
