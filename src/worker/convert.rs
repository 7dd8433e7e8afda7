//! qemu-img, for the formats that have no decoder of ours, and behind bars.
//!
//! qemu-img opens whatever an image names. So the image has passed our inspector as a whole before, the format is
//! said and never probed, and the process runs under Landlock with two files to open and no network, under limits of
//! memory, CPU time and file size. The restrictions are put on by this program itself, started again as
//! `vmdisk-worker sandboxed`, which then becomes qemu-img: nothing between fork and exec needs unsafe code.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use vmdisk_format::Format;
use vmdisk_wire::Stage;

use crate::failure::{Failure, Reason, Result};
use crate::progress::Counters;

/// qemu-img itself needs far less; an image that makes it need more is hostile.
const MEMORY_LIMIT: u64 = 2 << 30;

/// Converting a terabyte takes a fraction of this.
const CPU_SECONDS: u64 = 6 * 3600;

/// The Landlock version whose rights are asked for; an older kernel gives what it has.
const LANDLOCK: ABI = ABI::V5;

/// What a program needs of the system: libraries and a few kernel facts about devices.
const SYSTEM: [&str; 9] =
    ["/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/sys", "/dev/null", "/dev/urandom", "/proc/self"];

/// How to start a program behind bars.
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// This program.
    pub program: PathBuf,
}

impl Sandbox {
    /// A sandbox made of the running program.
    ///
    /// # Errors
    ///
    /// [`Reason::Internal`] when the program cannot find itself.
    pub fn current() -> Result<Self> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::new(Reason::Internal, format!("failed to find this program: {error}")))?;
        Ok(Self { program })
    }
}

/// Converts `image`, which has passed inspection as `format`, into `target`, which reads as zeros and is large enough.
///
/// # Errors
///
/// [`Reason::ConversionFailed`] with what qemu-img says.
pub fn run(sandbox: &Sandbox, format: Format, image: &Path, target: &Path, counters: &Counters) -> Result<()> {
    let failed = |what: String| Failure::new(Reason::ConversionFailed, what);
    let absolute = |path: &Path| {
        // From the root on, no name can be taken for a protocol (`nbd:`, `json:`).
        std::path::absolute(path).map_err(|error| Failure::target("find", path, &error))
    };
    let (image, target) = (absolute(image)?, absolute(target)?);
    counters.begin(Stage::Converting, Some(PERCENT_SCALE));
    let mut child = Command::new(&sandbox.program)
        .arg("sandboxed")
        .arg("--read")
        .arg(&image)
        .arg("--write")
        .arg(&target)
        .arg("--")
        .args(["qemu-img", "convert", "-p", "-f", driver(format), "-O", "raw"])
        .args(["-n", "--target-is-zero", "-W", "-m", "8", "-t", cache_mode(&target)])
        .arg(&image)
        .arg(&target)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        // Each arena of glibc's reserves address space, which is limited; on many cores they alone would fill it.
        .env("MALLOC_ARENA_MAX", "2")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("failed to start qemu-img: {error}")))?;
    let said = child.stderr.take().map(|stderr| {
        std::thread::spawn(move || {
            let mut text = String::new();
            // What is longer is no message; it is still read, so that the child never waits for us.
            let mut stderr = BufReader::new(stderr);
            let _ = stderr.by_ref().take(4096).read_to_string(&mut text);
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            text
        })
    });
    if let Some(stdout) = child.stdout.take() {
        follow(BufReader::new(stdout), counters);
    }
    let status = child.wait().map_err(|error| failed(format!("failed to wait for qemu-img: {error}")))?;
    let said = said.and_then(|reader| reader.join().ok()).unwrap_or_default();
    if status.success() {
        return Ok(());
    }
    if is_full(&target) {
        return Err(Failure::new(Reason::TargetIo, format!("the target {} is full", target.display())));
    }
    Err(failed(match status.signal() {
        Some(signal) => format!(
            "qemu-img was ended by signal {signal}, as by its limits of memory and time; \
             convert the image with qemu-img convert -O qcow2 and upload the result"
        ),
        None => format!(
            "qemu-img cannot convert the image ({}); check it with qemu-img check and upload it again",
            last_line(&said)
        ),
    }))
}

/// Hundredths of a percent, as qemu-img prints them.
const PERCENT_SCALE: u64 = 10_000;

/// Follows lines such as `    (12.50/100%)` that end in carriage returns.
fn follow(mut output: impl BufRead, counters: &Counters) {
    let mut reached = 0;
    let mut line = Vec::new();
    while output.read_until(b'\r', &mut line).is_ok_and(|count| count > 0) {
        if let Some(now) = hundredths(&String::from_utf8_lossy(&line)).filter(|now| *now > reached) {
            counters.advance(now - reached);
            reached = now;
        }
        line.clear();
    }
}

fn hundredths(line: &str) -> Option<u64> {
    let number = line.trim().strip_prefix('(')?.split_once('/')?.0;
    let (whole, fraction) = number.split_once('.')?;
    Some(whole.trim().parse::<u64>().ok()? * 100 + fraction.parse::<u64>().ok()?)
}

fn last_line(text: &str) -> &str {
    let line = text.trim().lines().next_back().unwrap_or("it gives no reason");
    &line[..line.floor_char_boundary(300)]
}

/// The name of a format's driver in QEMU.
fn driver(format: Format) -> &'static str {
    match format {
        Format::Raw => "raw",
        Format::Qcow2 => "qcow2",
        Format::Vmdk => "vmdk",
        Format::Vdi => "vdi",
        Format::Vhd => "vpc",
        Format::Vhdx => "vhdx",
    }
}

/// Past the page cache, which counts against the container's memory, where the target can do that.
fn cache_mode(target: &Path) -> &'static str {
    let direct =
        OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::DIRECT.bits().cast_signed()).open(target);
    if direct.is_ok() { "none" } else { "writeback" }
}

fn is_full(target: &Path) -> bool {
    target.is_file() && rustix::fs::statvfs(target).is_ok_and(|stat| stat.f_bavail * stat.f_frsize < 1 << 20)
}

/// Becomes `command`, able to read `read` and to write `write` and nothing else of what is not the system's.
///
/// # Errors
///
/// Comes back only when that fails.
#[must_use]
pub fn become_sandboxed(read: &Path, write: &Path, command: &[OsString]) -> anyhow::Error {
    if let Err(error) = restrict(read, write) {
        return error.context("failed to restrict the process");
    }
    let Some((program, arguments)) = command.split_first() else {
        return anyhow::anyhow!("no command is given");
    };
    let error = Command::new(program).args(arguments).exec();
    anyhow::Error::new(error).context(format!("failed to start {}; install qemu-utils", program.display()))
}

fn restrict(read: &Path, write: &Path) -> anyhow::Result<()> {
    // Whoever ends the worker ends this too.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let file_size = std::fs::metadata(write)?.len();
    for (resource, limit) in [
        (Resource::As, MEMORY_LIMIT),
        (Resource::Cpu, CPU_SECONDS),
        (Resource::Core, 0),
        (Resource::Nofile, 64),
        // Means nothing for devices, whose length shows as zero here.
        (Resource::Fsize, if file_size == 0 { u64::MAX } else { file_size }),
    ] {
        let limit = (limit != u64::MAX).then_some(limit);
        setrlimit(resource, Rlimit { current: limit, maximum: limit })?;
    }
    let reading: BitFlags<AccessFs> = AccessFs::ReadFile.into();
    let writing = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .create()?
        .add_rules(path_beneath_rules(SYSTEM, AccessFs::from_read(LANDLOCK)))?
        .add_rule(PathBeneath::new(PathFd::new(read)?, reading))?
        .add_rule(PathBeneath::new(PathFd::new(write)?, writing))?
        .restrict_self()?;
    if status.ruleset == RulesetStatus::NotEnforced {
        tracing::warn!("this kernel has no Landlock; qemu-img runs with the container's own restrictions alone");
    }
    Ok(())
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
