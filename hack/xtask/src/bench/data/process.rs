//! One process and everything that it starts: how long it took, what it used, how much memory it had.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// How often memory is looked at: peaks only grow, so that what is missed is the growth of the last moment.
const LOOK: Duration = Duration::from_millis(10);

/// Looking for new children costs more than looking at known ones.
const LOOKS_PER_CENSUS: u32 = 5;

/// What one run used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Usage {
    /// Seconds from start to end.
    pub(super) wall: f64,
    /// Seconds of CPU, user and system, of the process and the children that it waited for.
    pub(super) cpu: f64,
    /// The highest resident memory (`VmHWM`) of the process and its descendants, added up, in MiB.
    pub(super) peak_mib: f64,
}

/// Runs a command to its end. Gives what it used and what it printed on standard output.
///
/// # Errors
/// When it cannot be started, or ends with another status than 0; the message carries what it printed.
pub(super) fn run(command: &mut Command) -> Result<(Usage, String)> {
    let line = line(command);
    // Files, because a pipe that nobody empties would hold the process up.
    let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(err.try_clone()?)
        .spawn()
        .with_context(|| format!("cannot start {line}"))?;
    let (end, status, peak_mib) = watch(&mut child).with_context(|| format!("cannot wait for {line}"))?;
    let (cpu, status) = status;
    let stdout = contents(&mut out)?;
    if !status.success() {
        bail!("{line} failed ({status}): {} {}", stdout.trim(), contents(&mut err)?.trim());
    }
    Ok((Usage { wall: (end - start).as_secs_f64(), cpu, peak_mib }, stdout))
}

/// The command as a person would type it, without the environment.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn contents(file: &mut fs::File) -> Result<String> {
    use std::io::{Read as _, Seek as _};
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Waits for the end, with an eye on the memory. The account is read while the process is still a zombie.
fn watch(child: &mut Child) -> Result<(Instant, (f64, ExitStatus), f64)> {
    let pid = Pid::from_child(child);
    let ended = AtomicBool::new(false);
    let (end, peak) = thread::scope(|scope| {
        let observer = scope.spawn(|| peak(pid, &ended));
        let waited = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        let end = Instant::now();
        ended.store(true, Ordering::Relaxed);
        observer.thread().unpark();
        let peak = observer.join().unwrap_or_default();
        waited.map(|_| (end, peak))
    })?;
    let cpu = cpu_seconds(pid.as_raw_nonzero().get().unsigned_abs())?;
    Ok((end, (cpu, child.wait()?), peak))
}

/// The CPU-seconds of a process, user and system, and of its children that were waited for.
///
/// # Errors
/// When there is no such process.
pub(super) fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("there is no process {pid}"))?;
    let ticks = ticks(&stat).with_context(|| format!("/proc/{pid}/stat is not as proc(5) has it: {stat:?}"))?;
    #[expect(clippy::cast_precision_loss, reason = "hundredths of seconds")]
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// utime, stime, cutime and cstime of `/proc/PID/stat` (proc(5)), added up. The command's name before them may hold
/// anything, closing parentheses included.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // The first field behind the name is the third.
    fields.get(14 - 3..18 - 3)?.iter().map(|field| field.parse::<u64>().ok()).sum()
}

fn peak(pid: Pid, ended: &AtomicBool) -> f64 {
    let root = pid.as_raw_nonzero().get();
    let mut peaks = BTreeMap::from([(root, 0)]);
    for look in 0.. {
        if look % LOOKS_PER_CENSUS == 1 {
            descendants(root, &mut peaks);
        }
        for (pid, peak) in &mut peaks {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            *peak = (*peak).max(high_water_mark(&status).unwrap_or(0));
        }
        if ended.load(Ordering::Relaxed) {
            break;
        }
        thread::park_timeout(LOOK);
    }
    #[expect(clippy::cast_precision_loss, reason = "KiB of processes")]
    let kib = peaks.values().sum::<u64>() as f64;
    kib / 1024.0
}

/// Adds the processes below `pid`, by `/proc/PID/task/TID/children`.
fn descendants(pid: i32, peaks: &mut BTreeMap<i32, u64>) {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    for thread in threads {
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            peaks.entry(child).or_insert(0);
            descendants(child, peaks);
        }
    }
}

/// `VmHWM` of `/proc/PID/status` in KiB; `None` for what has no memory (any more).
fn high_water_mark(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
