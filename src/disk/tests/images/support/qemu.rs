//! QEMU's tools as the reference. A machine without them fails these tests: they are part of the development set-up.
//!
//! What one version writes, the next may write in another way. So there are two: the installed one, and one from the
//! other side of [`NEWER`], whose directory [`OTHER`] names; `cargo xtask test` fetches it.

use std::{
    env,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
};

use tempfile::TempDir;
use vmdisk_format::{Error, Options};

use super::{Random, Route, assert_same, decode_looking_ahead, decode_random, decode_stream, decode_switching};

/// Names the directory that holds another version's `qemu-img` and `qemu-io`.
const OTHER: &str = "VMDISK_OTHER_QEMU";

/// The first major version that counts as newer than Debian 12's.
const NEWER: u32 = 8;

/// QEMU's tools of one version.
#[derive(Clone, Debug)]
pub(crate) struct Qemu {
    /// Where they are; nothing for those in the search path.
    directory: PathBuf,
    /// The major version.
    version: u32,
}

/// All versions there are, the installed one first.
static EVERY: LazyLock<Vec<Qemu>> = LazyLock::new(|| {
    let installed = Qemu::at(PathBuf::new());
    let Some(directory) = env::var_os(OTHER) else {
        assert!(env::var_os("CI").is_none(), "{OTHER} is not set: run these tests by `cargo xtask test`");
        let version = installed.version;
        // Not by a macro, whose text only failing tests show.
        let _ = writeln!(
            std::io::stderr(),
            "\nnote: only the installed QEMU {version} writes images for these tests; `cargo xtask test` fetches another"
        );
        return vec![installed];
    };
    let other = Qemu::at(directory.into());
    assert_ne!(
        installed.version < NEWER,
        other.version < NEWER,
        "one of {installed:?}, {other:?} is older than {NEWER}"
    );
    vec![installed, other]
});

impl Qemu {
    fn at(directory: PathBuf) -> Self {
        let mut qemu = Self { directory, version: 0 };
        let told = run(qemu.tool("qemu-img").arg("--version"), "");
        let version = told.strip_prefix("qemu-img version ").and_then(|rest| rest.split('.').next());
        qemu.version = version.and_then(|major| major.parse().ok()).unwrap_or_else(|| panic!("{qemu:?}: {told}"));
        qemu
    }

    fn tool(&self, name: &str) -> Command {
        Command::new(self.directory.join(name))
    }
}

/// A directory of images, and the QEMU that makes and reads them.
pub(crate) struct Images {
    directory: TempDir,
    qemu: Qemu,
}

/// Tells of the version that a failure is about.
impl Drop for Images {
    #[expect(clippy::print_stderr, reason = "it is shown with the failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("with QEMU {}", self.qemu.version);
        }
    }
}

impl Images {
    /// Images of the installed QEMU, for what does not depend on who wrote them.
    pub(crate) fn new() -> Self {
        Self::of(&EVERY[0])
    }

    /// A directory for each version.
    pub(crate) fn by_every_qemu() -> impl Iterator<Item = Self> {
        EVERY.iter().map(Self::of)
    }

    /// As [`Images::by_every_qemu`], without versions too old for what is tested.
    pub(crate) fn by_newer_qemu() -> impl Iterator<Item = Self> {
        EVERY.iter().filter(|qemu| qemu.version >= NEWER).map(Self::of)
    }

    fn of(qemu: &Qemu) -> Self {
        Self { directory: TempDir::new().expect("a temporary directory"), qemu: qemu.clone() }
    }

    pub(crate) fn qemu_img(&self, arguments: &[&str]) {
        run(self.qemu.tool("qemu-img").args(arguments), "");
    }

    /// Runs commands of qemu-io (`write -P 1 0 64k`, `write -z`, `write -c`, `discard` …) on an image.
    pub(crate) fn qemu_io(&self, format: &str, image: &Path, commands: &str) {
        let mut command = self.qemu.tool("qemu-io");
        command.args(["-f", format, "-d", "unmap", text(image)]);
        run(&mut command, commands);
    }

    /// As [`Images::qemu_io`], on an image that is opened with all these options.
    pub(crate) fn qemu_io_opened(&self, options: &str, commands: &str) {
        run(self.qemu.tool("qemu-io").args(["--image-opts", options]), commands);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, data: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, data).expect("written");
        path
    }

    /// The disk in an image, as QEMU sees it.
    pub(crate) fn reference(&self, format: &str, image: &Path) -> Vec<u8> {
        let raw = self.path("reference.raw");
        self.qemu_img(&["convert", "-f", format, "-O", "raw", text(image), text(&raw)]);
        std::fs::read(raw).expect("readable")
    }

    /// An image made of a raw one.
    pub(crate) fn convert(&self, raw: &Path, name: &str, arguments: &[&str]) -> PathBuf {
        let image = self.path(name);
        let all = [&["convert", "-f", "raw"], arguments, &[text(raw), text(&image)]].concat();
        self.qemu_img(&all);
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
        self.qemu_img(&["create", "-q", "-f", format, "-o", options, text(&image), &size.to_string()]);
        self.check_one_pass(format, &image, &format!("{options}, empty"));
        for _ in 0..2 {
            let writes: Vec<String> = (0..15)
                .map(|_| format!("write -P {} {}\n", random.below(255) + 1, place(&mut random, size, 512)))
                .collect();
            self.qemu_io(format, &image, &writes.concat());
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

/// Runs a command to its end; gives what it printed.
fn run(command: &mut Command, input: &str) -> String {
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
    String::from_utf8(output.stdout).expect("UTF-8")
}
