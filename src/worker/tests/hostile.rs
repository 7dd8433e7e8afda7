//! The hostile corpus through the worker: the right refusal, soon, in little memory, and nothing left anywhere.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use vmdisk_corpus::{Case, ESCAPE, Expected, ROOM};
use vmdisk_wire::Report;

use crate::server::{Resource, Server};

/// What a worker may take for memory that it writes to, heap and stacks, in KiB: the kernel refuses more.
const MEMORY: u64 = 256 << 10;

/// How many seconds of processors it may take: after them the kernel ends it. That is what a refusal costs however busy
/// the machine is, and what it takes on an idle one.
const SECONDS: u64 = 2;

/// After how long it hangs, rather than waits for a processor.
const HANGS: Duration = Duration::from_mins(2);

/// Runs one file through the worker. Says what is wrong with what came of it.
fn judge(case: &Case, server: &Server) -> Result<(), String> {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for directory in ["work", "tmp", "target"] {
        std::fs::create_dir(place.path().join(directory)).unwrap();
    }
    let path = format!("/{}", case.name);
    server.put(&path, Resource { body: case.bytes().into(), etag: Some("\"v1\"".into()), ..Resource::default() });
    let started = Instant::now();
    let output = Command::new("sh")
        .args(["-c", &format!("ulimit -d {MEMORY} && ulimit -t {SECONDS} && exec \"$0\" \"$@\"")])
        .arg(env!("CARGO_BIN_EXE_vmdisk-worker"))
        .args(["fetch", "--json", "--url", &server.url(&path), "--size", &ROOM.to_string(), "--output"])
        .arg(place.path().join("target/disk.img"))
        .current_dir(place.path().join("work"))
        .env("TMPDIR", place.path().join("tmp"))
        .output()
        .unwrap();
    let took = started.elapsed();
    server.remove(&path);

    let stdout = String::from_utf8_lossy(&output.stdout);
    let Some(report) = stdout.lines().next_back().and_then(Report::parse) else {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("no report; {}\n{stderr}", output.status));
    };
    if report.message.len() > 1000 || report.message.contains(char::is_control) {
        return Err(format!("no message for a terminal or an event: {:.1000?}", report.message));
    }
    let said = format!("{:?} {}: {}", report.class, report.reason, report.message);
    let mut left = files(place.path());
    match &case.expected {
        Expected::Disk if output.status.success() => {
            if !left.remove("target/disk.img") {
                return Err("success without a disk".into());
            }
        }
        Expected::Disk => return Err(format!("refused: {said}")),
        Expected::Refused { class, names } => {
            if output.status.code() != Some(class.code().into()) || report.class.code() != class.code() {
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
    if took > HANGS {
        return Err(format!("took {took:?}"));
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
    let cases = vmdisk_corpus::cases();
    let next = Mutex::new(cases.iter());
    let failures = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                // The guard goes before the case runs.
                while let Some(case) = { next.lock().unwrap().next() } {
                    if let Err(failure) = judge(case, &server) {
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
