//! The hostile corpus through the worker: the right refusal, for little work, in little memory, and nothing left anywhere.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use vmdisk_corpus::{Case, ESCAPE, Expected, ROOM};
use vmdisk_wire::Report;

use crate::repository::gzip;
use crate::server::{Resource, Server};
use crate::support::noise;

/// What a worker may take for memory that it writes to, heap and stacks, in KiB: the kernel refuses more.
const MEMORY: u64 = 256 << 10;

/// How often over a file may be fetched: a table is read ahead of the stream, a layout that needs it is staged.
const FETCHED: u64 = 2;

/// What comes with it, whatever the length: a first look, and the ranges in flight when the end shows.
const ALSO_FETCHED: u64 = 1 << 20;

/// How many times the processor's time of an honest image that fills the room a file may take. What a second is worth
/// depends on the machine, and on what else it does; the honest image is read on the same machine, at the same time. The
/// dearest file takes 8 of them, in a build without optimisation; what grows with the square of its file would take
/// hundreds.
const TIMES: u32 = 20;

/// How often the two are measured before the file is to blame: one of them may have had all the bad luck.
const TRIES: usize = 5;

/// After how many seconds it hangs, rather than waits for a processor; then it is ended.
const HANGS: &str = "600";

/// What a worker said and took.
struct Run {
    report: Report,
    success: bool,
    code: Option<i32>,
    /// The processor's time.
    cpu: Duration,
    /// What is there afterwards.
    left: BTreeSet<String>,
}

/// Runs one file through the worker.
fn run(server: &Server, name: &str, bytes: Vec<u8>) -> Result<Run, String> {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for directory in ["work", "tmp", "target"] {
        std::fs::create_dir(place.path().join(directory)).unwrap();
    }
    let path = format!("/{name}");
    server.put(&path, Resource { body: bytes.into(), etag: Some("\"v1\"".into()), ..Resource::default() });
    // The shell tells what its children took.
    let script = format!("ulimit -d {MEMORY} || exit; \"$0\" \"$@\"; code=$?; times >&2; exit $code");
    let output = Command::new("timeout")
        .args(["--signal=KILL", HANGS, "sh", "-c", &script])
        .arg(env!("CARGO_BIN_EXE_vmdisk-worker"))
        .args(["fetch", "--json", "--url", &server.url(&path), "--size", &ROOM.to_string(), "--output"])
        .arg(place.path().join("target/disk.img"))
        .current_dir(place.path().join("work"))
        .env("TMPDIR", place.path().join("tmp"))
        .output()
        .unwrap();
    server.remove(&path);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let (Some(report), Some(cpu)) =
        (stdout.lines().next_back().and_then(Report::parse), stderr.lines().next_back().and_then(spent))
    else {
        return Err(format!("no report; {}\n{stderr}", output.status));
    };
    let left = files(place.path());
    Ok(Run { report, success: output.status.success(), code: output.status.code(), cpu, left })
}

/// User and system time in a line of the shell's `times`: `0m1.250s 0m0.030s`.
fn spent(line: &str) -> Option<Duration> {
    line.split(' ')
        .map(|time| {
            let (minutes, seconds) = time.strip_suffix('s')?.split_once('m')?;
            Some(
                Duration::from_secs(60 * minutes.parse::<u64>().ok()?) + Duration::from_secs_f64(seconds.parse().ok()?),
            )
        })
        .sum()
}

/// An honest image that fills the room, compressed as the hostile ones are.
struct Honest(Vec<u8>);

impl Honest {
    fn new() -> Self {
        Self(gzip(&noise(usize::try_from(ROOM).unwrap(), 1)))
    }

    /// What it costs now.
    fn cpu(&self, server: &Server, case: &Case) -> Duration {
        let run = run(server, &format!("honest-beside-{}", case.name), self.0.clone()).unwrap();
        assert!(run.success, "the honest image is refused: {}", run.report.message);
        run.cpu
    }
}

/// Says what is wrong with what came of a file.
fn judge(case: &Case, server: &Server, honest: &Honest, yardstick: Duration) -> Result<(), String> {
    let bytes = case.bytes();
    let length = bytes.len() as u64;
    let Run { report, success, code, mut cpu, mut left } = run(server, &case.name, bytes)?;
    if report.message.len() > 1000 || report.message.contains(char::is_control) {
        return Err(format!("no message for a terminal or an event: {:.1000?}", report.message));
    }
    let said = format!("{:?} {}: {}", report.class, report.reason, report.message);
    match &case.expected {
        Expected::Disk if success => {
            if !left.remove("target/disk.img") {
                return Err("success without a disk".into());
            }
        }
        Expected::Disk => return Err(format!("refused: {said}")),
        Expected::Refused { class, names } => {
            if code != Some(class.code().into()) || report.class.code() != class.code() {
                return Err(format!("expected class {}: {said}", class.code()));
            }
            if !report.message.contains(names) {
                return Err(format!("{names:?} is not named: {said}"));
            }
        }
    }
    if !left.is_empty() {
        return Err(format!("left behind: {left:?}"));
    }
    if report.bytes_fetched > FETCHED * length + ALSO_FETCHED || report.bytes_written > ROOM {
        let (fetched, written) = (report.bytes_fetched, report.bytes_written);
        return Err(format!("{fetched} bytes fetched of {length}, {written} written to a room of {ROOM}: {said}"));
    }
    let mut most = yardstick * TIMES;
    for _ in 1..TRIES {
        if cpu <= most {
            break;
        }
        most = most.max(honest.cpu(server, case) * TIMES);
        cpu = cpu.min(run(server, &case.name, case.bytes())?.cpu);
    }
    if cpu > most {
        return Err(format!("took {cpu:?} of a processor, expected at most {most:?}, {TIMES} times an honest image"));
    }
    Ok(())
}

/// The files below `root`, hidden ones too.
fn files(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
            } else {
                found.insert(entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

#[test]
fn every_hostile_file_is_refused_for_what_is_wrong_with_it() {
    let server = Server::start();
    let honest = Honest::new();
    let cases = vmdisk_corpus::cases();
    let yardstick = honest.cpu(&server, &cases[0]);
    let next = Mutex::new(cases.iter());
    let failures = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                // The guard goes before the case runs.
                while let Some(case) = { next.lock().unwrap().next() } {
                    if let Err(failure) = judge(case, &server, &honest, yardstick) {
                        failures.lock().unwrap().push(format!("{case:?}: {failure}"));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
    assert!(!Path::new(ESCAPE).exists(), "{ESCAPE} was written");
}
