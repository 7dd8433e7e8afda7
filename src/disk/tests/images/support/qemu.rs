//! QEMU's tools as the reference. A machine without them fails these tests: they are part of the development set-up.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;
use vmdisk_format::{Error, Options};

use super::{Random, Route, assert_same, decode_looking_ahead, decode_random, decode_stream, decode_switching};

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

    /// Decodes an image by every route and compares; gives the route that a stream takes by default.
    pub(crate) fn check(&self, format: &str, image: &Path, case: &str) -> Route {
        let bytes = std::fs::read(image).expect("readable");
        Self::compare(&bytes, &self.reference(format, image), case)
    }

    fn compare(bytes: &[u8], expected: &[u8], case: &str) -> Route {
        let found = decode_random(bytes).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_same(&found, expected, &format!("{case}, random access"));
        let tight = Options { orphan_window: 0, ..Options::default() };
        for chunks in [&[700, 3, 5000][..], &[65_536], &[1 << 20, 100]] {
            match decode_looking_ahead(bytes, chunks, &tight) {
                Ok((found, _)) => assert_same(&found, expected, &format!("{case}, looking ahead")),
                Err(Error::NeedsWholeImage { .. }) => {}
                Err(error) => panic!("{case}, looking ahead: {error}"),
            }
        }
        let scattered = Options { map_limit: 0, ..Options::default() };
        let mut route = Route::OnePass;
        for (way, chunks, options) in [
            ("tiny chunks", &[700, 3, 5000][..], Options::default()),
            ("large chunks", &[1 << 20], Options::default()),
            ("no orphans", &[100_000], tight),
            ("no mappings", &[65_536, 100], scattered),
        ] {
            let (found, taken) =
                decode_stream(bytes, chunks, &options).unwrap_or_else(|error| panic!("{case}, {way}: {error}"));
            assert_same(&found, expected, &format!("{case}, {way}"));
            if way == "large chunks" {
                route = taken;
            }
        }
        route
    }

    /// Converts the raw disk `disk` with `options`, in and out of order; each must take one pass.
    pub(crate) fn check_converted(&self, format: &str, disk: &[u8], options: &str) {
        let raw = self.write("disk.raw", disk);
        for (order, how) in [(&[][..], ""), (&["-W", "-m", "16"], ", out of order")] {
            let image = self.convert(&raw, "disk.image", &[order, &["-O", format, "-o", options]].concat());
            self.check_one_pass(format, &image, &format!("{options}, {} bytes{how}", disk.len()));
        }
    }

    /// Creates an image with `options` and writes to it at random, twice; each time it must take one pass.
    pub(crate) fn check_written_at_random(&self, format: &str, seed: u64, options: &str) {
        let mut random = Random::new(seed);
        let size = (40 << 20) + 512 * seed;
        let image = self.path("disk.image");
        qemu_img(&["create", "-q", "-f", format, "-o", options, text(&image), &size.to_string()]);
        self.check_one_pass(format, &image, &format!("{options}, empty"));
        for _ in 0..2 {
            let writes: Vec<String> = (0..15)
                .map(|_| format!("write -P {} {}\n", random.below(255) + 1, place(&mut random, size, 512)))
                .collect();
            qemu_io(format, &image, &writes.concat());
            self.check_one_pass(format, &image, options);
        }
    }

    /// As [`Images::check`], for formats other than qcow2, of which each can be left to reading at any byte.
    pub(crate) fn check_one_pass(&self, format: &str, image: &Path, case: &str) {
        let expected = self.reference(format, image);
        let bytes = std::fs::read(image).expect("readable");
        assert_eq!(Self::compare(&bytes, &expected, case), Route::OnePass, "{case}");
        let mut random = Random::new(bytes.len() as u64);
        for _ in 0..4 {
            let position = usize::try_from(random.below(bytes.len() as u64)).expect("fits");
            let found = decode_switching(&bytes, position).unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_same(&found, &expected, &format!("{case}, left to reading at {position}"));
        }
    }
}

/// A random stretch of a disk, as qemu-io's commands take it, in multiples of `unit`.
pub(crate) fn place(random: &mut Random, size: u64, unit: u64) -> String {
    let offset = random.below(size / unit) * unit;
    let length = (random.below(200_000 / unit + 1) + 1) * unit;
    format!("{offset} {}", length.min(size - offset))
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
