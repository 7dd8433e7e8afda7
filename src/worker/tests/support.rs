//! Running the worker, making images, comparing disks.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use vmdisk_wire::{ExitClass, Job, Report};

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) report: Report,
    pub(crate) stderr: String,
}

impl Run {
    /// Asserts success.
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert_eq!(self.report.class, ExitClass::Done, "{}\n{}", self.report.message, self.stderr);
        self
    }

    /// Asserts a failure of this class and reason whose message contains `text`.
    #[track_caller]
    pub(crate) fn failed(self, class: ExitClass, reason: &str, text: &str) -> Self {
        assert_eq!(
            (self.report.class, self.report.reason.as_str()),
            (class, reason),
            "{}\n{}",
            self.report.message,
            self.stderr
        );
        assert!(self.report.message.contains(text), "{text:?} is not in {:?}", self.report.message);
        self
    }
}

/// A directory to work in, and the worker.
pub(crate) struct Bench {
    pub(crate) directory: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        // Not /tmp, which may be a tmpfs: what is tested is a real file system.
        Self { directory: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where `fetch` puts the disk.
    pub(crate) fn output(&self) -> PathBuf {
        self.path("disk.img")
    }

    /// `vmdisk-worker fetch --url URL` with further arguments.
    pub(crate) fn fetch(&self, url: &str, arguments: &[&str]) -> Run {
        let output = self.output();
        let mut all = vec!["fetch", "--json", "--url", url, "--output", output.to_str().unwrap()];
        all.extend(arguments);
        self.run(&all, &[])
    }

    /// The worker with these arguments; its report is the last line of stdout.
    pub(crate) fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Run {
        let output = Command::new(env!("CARGO_BIN_EXE_vmdisk-worker"))
            .args(arguments)
            .envs(environment.iter().copied())
            .current_dir(self.directory.path())
            .output()
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let report = stdout
            .lines()
            .next_back()
            .and_then(Report::parse)
            .unwrap_or_else(|| panic!("no report in {stdout:?}\n{stderr}"));
        let code = output.status.code().unwrap();
        assert_eq!(code, i32::from(report.class.code()), "exit code and report agree");
        Run { report, stderr }
    }

    /// The worker as a pod runs it.
    pub(crate) fn job(&self, job: &Job) -> Run {
        let log = self.path("termination-log");
        let text = serde_json::to_string(job).unwrap();
        let run = self.run(&[], &[("VMDISK_JOB", &text), ("VMDISK_TERMINATION_LOG", log.to_str().unwrap())]);
        assert_eq!(Report::parse(&std::fs::read_to_string(log).unwrap()), Some(run.report.clone()));
        run
    }

    /// A directory with one file a key, as a Secret is mounted.
    pub(crate) fn secret(&self, values: &[(&str, &str)]) -> String {
        let directory = self.path("secret");
        std::fs::create_dir_all(&directory).unwrap();
        for (key, value) in values {
            std::fs::write(directory.join(key), value).unwrap();
        }
        directory.to_str().unwrap().to_owned()
    }

    /// A raw disk with data and holes, at `name`.
    pub(crate) fn raw(&self, name: &str, size: usize) -> Vec<u8> {
        let disk = patterned(size);
        std::fs::write(self.path(name), &disk).unwrap();
        disk
    }

    /// `qemu-img convert` of a raw file to another format; the image's bytes.
    pub(crate) fn convert(&self, raw: &str, format: &str, options: &[&str]) -> Vec<u8> {
        let target = self.path(&format!("image.{format}"));
        let mut command = Command::new("qemu-img");
        command.args(["convert", "-f", "raw", "-O", format]).args(options).arg(self.path(raw)).arg(&target);
        run(&mut command);
        std::fs::read(target).unwrap()
    }

    /// Names of the files beside the output, hidden ones too.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// Bytes that look random, compress a little, and repeat never.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Half of each word, so that compressors find something.
        bytes.extend_from_slice(&(state & 0x0fff_ffff_ffff).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The digest of `bytes` as registries write it.
pub(crate) fn digest(algorithm: &'static ring::digest::Algorithm, bytes: &[u8]) -> String {
    let name = if algorithm.output_len() == 64 { "sha512:" } else { "sha256:" };
    let digest = ring::digest::digest(algorithm, bytes);
    digest.as_ref().iter().fold(name.to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// A disk with data, holes of every size from a block on, and data at its very end.
pub(crate) fn patterned(size: usize) -> Vec<u8> {
    let mut disk = vec![0; size];
    let mut at = 0;
    for (index, length) in [1usize << 20, 4096, 512, 70_000, 3 << 20, 200_000].iter().cycle().enumerate() {
        let end = (at + length).min(size);
        disk[at..end].copy_from_slice(&noise(end - at, index as u64 + 1));
        at = end + [4096, 65_536, 1 << 20, 300_000, 2 << 20][index % 5];
        if at >= size {
            break;
        }
    }
    let tail = size - 512;
    disk[tail..].copy_from_slice(&noise(512, 99));
    disk
}

/// Asserts that the file holds `disk`, then zeros to its end.
#[track_caller]
pub(crate) fn assert_disk(path: &Path, disk: &[u8]) {
    let found = std::fs::read(path).unwrap();
    assert!(found.len() >= disk.len(), "the disk has {} bytes, expected {}", found.len(), disk.len());
    assert_eq!(found.len() % (1 << 20), 0, "whole mebibytes");
    // Comparing slices is fast in debug builds, too; looking for the place is only for the message.
    if found[..disk.len()] != *disk {
        let differing = found.iter().zip(disk).position(|(a, b)| a != b);
        panic!("the disk differs first at {differing:?}");
    }
    assert!(is_zero(&found[disk.len()..]), "zeros behind the image");
}

/// Whether there are only zeros.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(1 << 20).all(|chunk| *chunk == ZEROS[..chunk.len()])
}

static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

/// Runs a program that must succeed.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; is it installed?"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
