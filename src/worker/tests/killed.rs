//! The worker killed at a random byte, again and again: the next one on the same volume ends with exactly the right
//! disk, and pays no more than it must.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use vmdisk_wire::Job;

use crate::device::Loop;
use crate::server::{Fault, Resource, Server};
use crate::support::{Bench, assert_disk, patterned, run};
use crate::{block, jobs};

/// Repeats a run that failed.
const SEED: &str = "VMDISK_TEST_SEED";

/// Where the kills fall; a test that fails tells the seed.
struct Dice {
    seed: u64,
    state: u64,
}

impl Dice {
    fn new() -> Self {
        let seed = match std::env::var(SEED) {
            Ok(seed) => seed.parse().expect("a number"),
            Err(_) => u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos()),
        };
        Self { seed, state: seed }
    }

    /// A number from `range`, by the splitmix64 generator.
    fn roll(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        range.start() + (mixed ^ (mixed >> 31)) % (range.end() - range.start() + 1)
    }
}

impl Drop for Dice {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "again with {SEED}={}", self.seed);
        }
    }
}

/// Runs the worker until the server has sent so many bytes, and no instant longer. How many it has sent by then.
pub(crate) fn killed_after(bytes: u64, bench: &Bench, server: &Server, job: &Job) -> u64 {
    let before = server.delivered();
    let mut worker = start(bench, job);
    server.wait_for_delivered(before + bytes, || worker.try_wait().unwrap().is_some());
    kill(worker, server);
    server.delivered() - before
}

/// Runs the worker until the server has sent what lies before `offset` at `/d`, which is all it sends, and `ready` says
/// that the worker has done what it does with that: on a busy machine that is later.
pub(crate) fn killed_at(offset: u64, ready: impl Fn() -> bool, bench: &Bench, server: &Server, job: &Job) {
    let before = server.delivered();
    server.change("/d", |resource| resource.faults = [Fault::Stall(usize::try_from(offset).unwrap())].into());
    let mut worker = start(bench, job);
    server.wait_for_delivered(before + offset, || worker.try_wait().unwrap().is_some());
    while !ready() && worker.try_wait().unwrap().is_none() {
        std::thread::sleep(LOOK);
    }
    kill(worker, server);
    server.change("/d", |resource| resource.faults.clear());
}

/// How often it is looked whether a worker is ready to be killed.
const LOOK: Duration = Duration::from_millis(50);

fn start(bench: &Bench, job: &Job) -> Child {
    Command::new(env!("CARGO_BIN_EXE_vmdisk-worker"))
        .env("VMDISK_JOB", serde_json::to_string(job).unwrap())
        .env("VMDISK_TERMINATION_LOG", bench.path("termination-log"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn kill(mut worker: Child, server: &Server) {
    worker.kill().unwrap();
    worker.wait().unwrap();
    // What is on its way to nobody counts as well.
    server.wait_for_silence();
}

/// Runs the worker to its end. What that cost.
pub(crate) fn completed(bench: &Bench, server: &Server, job: &Job) -> u64 {
    let before = server.delivered();
    let run = bench.job(job).done();
    server.wait_for_silence();
    let paid = server.delivered() - before;
    assert_eq!(run.report.bytes_fetched, paid, "the report says what was paid");
    paid
}

/// So fast a source that a record is due every two seconds.
const SLOW: u64 = 8 << 20;

/// How much is written between two records.
const INTERVAL: u64 = 16 << 20;

/// How much of the disk the last record in a directory vouches for.
pub(crate) fn recorded(target: &Path) -> u64 {
    let Ok(record) = std::fs::read(target.join("disk.img.part.json")) else { return 0 };
    bytes_of(&record)
}

/// How much of the disk the last record on a device vouches for: it lies where the last 64 KiB begin that have room for
/// it, behind its digest.
pub(crate) fn recorded_on(device: &Loop) -> u64 {
    let content = device.content();
    let record = &content[(content.len() - 4096) / (64 << 10) * (64 << 10)..][..4096];
    let text = &record[32..];
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    if text.starts_with(b"{") { bytes_of(&text[..end]) } else { 0 }
}

/// A record that is just being written vouches for nothing.
fn bytes_of(record: &[u8]) -> u64 {
    serde_json::from_slice::<serde_json::Value>(record).map_or(0, |record| record["bytes"].as_u64().unwrap())
}

#[test]
fn a_raw_file_goes_on_where_the_last_record_was() {
    let (bench, server, mut dice) = (Bench::new(), Server::start(), Dice::new());
    let disk = patterned(64 << 20);
    let size = disk.len() as u64;
    server.serve("/d", disk.clone());
    let mut job = jobs::job(&bench, &server, "/d");
    job.limits.bandwidth_bytes_per_second = Some(SLOW);
    let target = bench.path("target");
    for _ in 0..2 {
        std::fs::write(target.join("disk.img.part"), vec![0xa5; 70 << 20]).unwrap();
        let mut kept = 0;
        // The first kill falls where more than one record is due; behind the second one, something is left to do.
        for (range, least) in [(size * 5 / 8..=size * 3 / 4, INTERVAL), (1..=size / 5, 0)] {
            let at = dice.roll(range);
            if least > 0 {
                killed_at(at, || recorded(&target) >= least, &bench, &server, &job);
            } else {
                killed_after(at, &bench, &server, &job);
            }
            assert!(!target.join("disk.img").exists(), "nothing is visible");
            let before = std::mem::replace(&mut kept, recorded(&target));
            assert!(kept >= before.max(least), "{before} bytes were recorded before, {kept} are now");
        }
        assert_eq!(completed(&bench, &server, &job), size - kept, "what is recorded is not paid again");
        assert_disk(&target.join("disk.img"), &disk);
        assert_eq!(std::fs::read_dir(&target).unwrap().count(), 1, "nothing else is left");
        std::fs::remove_file(target.join("disk.img")).unwrap();
    }
}

/// A disk as images that a later attempt cannot go on with.
fn images(bench: &Bench, disk: &[u8]) -> Vec<Vec<u8>> {
    let compressed = |name: &str, arguments: &[&str]| {
        run(Command::new(arguments[0]).args(&arguments[1..]).arg(bench.path(name)));
    };
    compressed("raw", &["gzip", "--fast", "--keep", "--force"]);
    let gz = std::fs::read(bench.path("raw.gz")).unwrap();
    assert!(disk.len() > gz.len());
    vec![gz, bench.convert("raw", "qcow2", &[]), bench.convert("raw", "qcow2", &["-c"])]
}

/// So slow that the worker is in the middle of something at every byte.
fn resource(image: Vec<u8>) -> Resource {
    Resource { body: image.into(), etag: Some("\"a\"".into()), bytes_per_second: Some(24 << 20), ..Resource::default() }
}

const ROUNDS: usize = 5;

#[test]
fn every_other_file_starts_again() {
    let (bench, server, mut dice) = (Bench::new(), Server::start(), Dice::new());
    let disk = bench.raw("raw", 24 << 20);
    let job = jobs::job(&bench, &server, "/d");
    let target = bench.path("target/disk.img");
    for image in images(&bench, &disk) {
        let size = image.len() as u64;
        server.put("/d", resource(image));
        for _ in 0..ROUNDS {
            for _ in 0..2 {
                killed_after(dice.roll(1..=size), &bench, &server, &job);
                if target.exists() {
                    // The last byte had been sent, and the worker was faster than the kill.
                    assert_disk(&target, &disk);
                }
            }
            assert_eq!(completed(&bench, &server, &job), size, "all of it, and once");
            assert_disk(&target, &disk);
            assert_eq!(std::fs::read_dir(bench.path("target")).unwrap().count(), 1, "nothing else is left");
            std::fs::remove_file(&target).unwrap();
        }
    }
}

#[test]
fn a_raw_device_goes_on_where_the_last_record_was() {
    let (bench, server, mut dice) = (Bench::new(), Server::start(), Dice::new());
    let disk = bench.raw("raw", 48 << 20);
    let size = disk.len() as u64;
    server.serve("/d", disk.clone());
    for (room, arguments) in [
        // The disk's own end takes the place of the record.
        (disk.len(), &[][..]),
        (disk.len() + (4 << 20) + 4096 + 512, &[][..]),
        (disk.len() + 4096, &["--sector-size", "4096"]),
    ] {
        let device = Loop::dirty(&bench, room, arguments);
        let mut job = block::job(&server, "/d", &device.device);
        job.limits.bandwidth_bytes_per_second = Some(2 * SLOW);
        let mut kept = 0;
        for (range, least) in [(size * 5 / 8..=size * 3 / 4, INTERVAL), (1..=size / 8, 0)] {
            let at = dice.roll(range);
            if least > 0 {
                killed_at(at, || recorded_on(&device) >= least, &bench, &server, &job);
            } else {
                killed_after(at, &bench, &server, &job);
            }
            let before = std::mem::replace(&mut kept, recorded_on(&device));
            assert!(kept >= before.max(least), "{before} bytes were recorded before, {kept} are now");
        }
        job.limits.bandwidth_bytes_per_second = None;
        assert_eq!(completed(&bench, &server, &job), size - kept, "what is recorded is not paid again");
        block::assert_device(&device, &disk);
    }
}

#[test]
fn a_device_ends_with_the_disk_whatever_was_half_written() {
    let (bench, server, mut dice) = (Bench::new(), Server::start(), Dice::new());
    let disk = bench.raw("raw", 24 << 20);
    let device = Loop::dirty(&bench, (28 << 20) + 4096, &[]);
    let job = block::job(&server, "/d", &device.device);
    for image in images(&bench, &disk) {
        let size = image.len() as u64;
        server.put("/d", resource(image));
        for _ in 0..ROUNDS {
            killed_after(dice.roll(1..=size), &bench, &server, &job);
            assert_eq!(completed(&bench, &server, &job), size, "all of it, and once");
            block::assert_device(&device, &disk);
            // Another disk's remains, for the next round to cover.
            let garbage = vec![0x5a; 28 << 20];
            let file = std::fs::File::options().write(true).open(&device.device).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &garbage, 0).unwrap();
            file.sync_all().unwrap();
        }
    }
}
