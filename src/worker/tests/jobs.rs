//! The worker as a pod runs it: jobs, policy, dirty volumes, retries.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use vmdisk_wire::{ExitClass, Format, Job, Limits, Operation, SCHEMA_VERSION, Source, SourceType, Target, TargetKind};

use crate::server::{Fault, Resource, Server};
use crate::support::{Bench, assert_disk, digest, patterned};

const SIZE: usize = 100 << 20;

/// A job that fills the directory `target` of the bench from the server.
pub(crate) fn job(bench: &Bench, server: &Server, path: &str) -> Job {
    let target = bench.path("target");
    std::fs::create_dir_all(&target).unwrap();
    Job {
        schema_version: SCHEMA_VERSION,
        operation: Operation::Fill,
        source: Source {
            source_type: SourceType::Http,
            url: server.url(path),
            format: Format::Auto,
            path: None,
            checksum: None,
            region: None,
            pinned: None,
            secret: None,
        },
        target: Some(Target {
            kind: TargetKind::Filesystem,
            path: target.to_str().unwrap().into(),
            requested_bytes: Some(512 << 20),
            overhead_per_mille: 60,
            claim_uid: Some("claim".into()),
        }),
        limits: Limits { allowed_sources: vec![server.url("")], ..Limits::default() },
    }
}

fn disk_of(bench: &Bench) -> PathBuf {
    bench.path("target/disk.img")
}

fn files(bench: &Bench) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(bench.path("target"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_volume_holds_a_disk_grown_to_its_room_that_belongs_to_qemu() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(5 << 20);
    server.serve("/d", disk.clone());
    bench.job(&job(&bench, &server, "/d")).done();
    assert_disk(&disk_of(&bench), &disk);
    let found = std::fs::metadata(disk_of(&bench)).unwrap();
    // 512 MiB / 1.06, rounded down.
    assert_eq!(found.len(), 483 << 20);
    assert_eq!(found.permissions().mode() & 0o777, 0o660);
    assert!(rustix::process::geteuid().is_root(), "run this test as root: it looks at owners");
    assert_eq!((found.uid(), found.gid()), (107, 107));
    assert!(found.blocks() * 512 < (6 << 20), "sparse");
    assert_eq!(files(&bench), ["disk.img"]);
}

#[test]
fn the_policy_decides_before_any_connection() {
    let (bench, server) = (Bench::new(), Server::start());
    server.serve("/d", patterned(1 << 20));
    let mut job = job(&bench, &server, "/d");
    job.limits.allowed_sources = Vec::new();
    bench.job(&job).failed(ExitClass::Denied, "SourceNotAllowed", "loopback");
    job.source.url = job.source.url.replace("127.0.0.1", "localhost");
    bench.job(&job).failed(ExitClass::Denied, "SourceNotAllowed", "loopback");
    job.limits.allowed_sources = vec!["https://images.example.com/lab".into()];
    bench.job(&job).failed(ExitClass::Denied, "SourceNotAllowed", "https://images.example.com:443/lab");
    assert!(server.seen("/d").is_empty());
    job.limits.allowed_sources = vec!["images.example.com".into()];
    bench.job(&job).failed(ExitClass::BadJob, "BadJob", "scheme://host");
}

#[test]
fn a_redirect_to_where_the_policy_does_not_lead_is_refused() {
    let (bench, server, other) = (Bench::new(), Server::start(), Server::start());
    other.serve("/d", patterned(1 << 20));
    let faults = vec![Fault::Answer(302, vec![("location", other.url("/d"))], String::new()); 2].into();
    server.put("/d", Resource { faults, ..Resource::default() });
    let mut job = job(&bench, &server, "/d");
    bench.job(&job).failed(ExitClass::Denied, "SourceNotAllowed", &other.url("/d"));
    assert!(other.seen("/d").is_empty());
    job.limits.allowed_sources.push(other.url("/d"));
    bench.job(&job).done();
}

#[test]
fn a_dirty_volume_ends_with_the_right_disk() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(5 << 20);
    server.serve("/d", disk.clone());
    let job = job(&bench, &server, "/d");
    let full = vec![0xff; 500 << 20];
    for stale in ["disk.img", "disk.img.part", ".vmdisk-staged-1"] {
        std::fs::write(bench.path("target").join(stale), &full).unwrap();
    }
    std::fs::write(
        bench.path("target/disk.img.part.json"),
        "{\"identity\": \"\\\"v1\\\"\", \"size\": 5, \"bytes\": 5}",
    )
    .unwrap();
    bench.job(&job).done();
    assert_disk(&disk_of(&bench), &disk);
    assert_eq!(files(&bench), ["disk.img"]);
}

#[test]
fn a_raw_image_goes_on_in_a_later_attempt() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(SIZE);
    let breaking = |etag: &str, faults: Vec<Fault>| Resource {
        body: disk.clone().into(),
        etag: Some(etag.into()),
        faults: faults.into(),
        ..Resource::default()
    };
    let gone = || Fault::Answer(404, Vec::new(), String::new());
    server.put("/d", breaking("\"a\"", vec![Fault::Cut(80 << 20), gone()]));
    let job = job(&bench, &server, "/d");
    let first = bench.job(&job).failed(ExitClass::SourceMissing, "NotFound", "404");
    assert!(first.report.resumable);
    assert_eq!(files(&bench), ["disk.img.part", "disk.img.part.json"]);
    let second = bench.job(&job).done();
    assert_disk(&disk_of(&bench), &disk);
    let kept = SIZE as u64 - second.report.bytes_fetched;
    // Lost is at most what several connections had fetched ahead of the place that failed, and what was on its way.
    let came = first.report.bytes_fetched;
    assert!(kept + (32 << 20) >= came, "only {kept} bytes of {came} were not paid again");
    assert_eq!(files(&bench), ["disk.img"]);

    // The same, but the object is another one by then: all of it is fetched, and right.
    std::fs::remove_file(disk_of(&bench)).unwrap();
    server.put("/d", breaking("\"a\"", vec![Fault::Cut(80 << 20), gone()]));
    bench.job(&job).failed(ExitClass::SourceMissing, "NotFound", "404");
    let mut other = disk.clone();
    other.reverse();
    server.put("/d", Resource { body: other.clone().into(), etag: Some("\"b\"".into()), ..Resource::default() });
    let run = bench.job(&job).done();
    assert_eq!(run.report.bytes_fetched, SIZE as u64);
    assert_disk(&disk_of(&bench), &other);

    // Another place may use the same tag for other bytes.
    std::fs::remove_file(disk_of(&bench)).unwrap();
    server.put("/d", breaking("\"a\"", vec![Fault::Cut(80 << 20), gone()]));
    bench.job(&job).failed(ExitClass::SourceMissing, "NotFound", "404");
    server.put("/e", Resource { body: other.clone().into(), etag: Some("\"a\"".into()), ..Resource::default() });
    let mut elsewhere = job.clone();
    elsewhere.source.url = server.url("/e");
    bench.job(&elsewhere).done();
    assert_disk(&disk_of(&bench), &other);
}

#[test]
fn a_raw_image_in_an_archive_starts_again_since_offsets_differ() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = bench.raw("one.raw", SIZE);
    let archive = bench.path("archive.tar");
    let mut tar = std::process::Command::new("tar");
    crate::support::run(tar.arg("-C").arg(bench.directory.path()).arg("-cf").arg(&archive).arg("one.raw"));
    let body = std::fs::read(&archive).unwrap();
    let faults = [Fault::Cut(80 << 20), Fault::Answer(404, Vec::new(), String::new())].into();
    server.put("/d", Resource { body: body.into(), etag: Some("\"a\"".into()), faults, ..Resource::default() });
    let job = job(&bench, &server, "/d");
    let first = bench.job(&job).failed(ExitClass::SourceMissing, "NotFound", "404");
    assert!(!first.report.resumable);
    bench.job(&job).done();
    assert_disk(&disk_of(&bench), &disk);
}

#[test]
fn a_wrong_checksum_is_told_once_the_whole_image_was_fetched_in_one_attempt() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(SIZE);
    let faults = [Fault::Cut(80 << 20), Fault::Answer(404, Vec::new(), String::new())].into();
    server.put("/d", Resource { body: disk.clone().into(), etag: Some("\"a\"".into()), faults, ..Resource::default() });
    let mut job = job(&bench, &server, "/d");
    let promised = digest(&ring::digest::SHA256, b"another disk");
    job.source.checksum = Some(promised.clone());
    let first = bench.job(&job).report;
    assert!(first.resumable);
    let second = bench.job(&job).failed(ExitClass::VerificationFailed, "DigestMismatch", &promised).report;
    assert!(!second.resumable);
    // Until then, what the first attempt left might have been at fault.
    let kept = 2 * disk.len() as u64 - second.bytes_fetched;
    assert!((1..=first.bytes_fetched).contains(&kept), "{first:?} {second:?}");
    assert!(files(&bench).is_empty());
}

#[test]
fn a_pinned_attempt_gets_the_same_bytes_or_none() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(1 << 20);
    server.serve("/d", disk.clone());
    let mut job = job(&bench, &server, "/d");
    job.source.pinned = Some("\"v1\"".into());
    bench.job(&job).done();
    job.source.pinned = Some("\"v0\"".into());
    bench.job(&job).failed(ExitClass::Transient, "SourceChanged", "");
}

#[test]
fn a_blank_disk_fills_the_room() {
    let (bench, server) = (Bench::new(), Server::start());
    let mut job = job(&bench, &server, "/");
    job.source.source_type = SourceType::Blank;
    job.source.url = String::new();
    let run = bench.job(&job).done();
    assert_eq!(run.report.source.virtual_size, Some(483 << 20));
    assert_eq!(std::fs::metadata(disk_of(&bench)).unwrap().len(), 483 << 20);
    assert_eq!(std::fs::metadata(disk_of(&bench)).unwrap().blocks(), 0);
}

#[test]
fn an_image_larger_than_the_room_is_refused_with_the_least_claim_that_fits() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(100 << 20);
    server.serve("/d", disk);
    let mut job = job(&bench, &server, "/d");
    let request = |job: &mut Job, bytes: u64| job.target.as_mut().unwrap().requested_bytes = Some(bytes);
    request(&mut job, 100 << 20);
    let run = bench.job(&job).failed(ExitClass::DoesNotFit, "DoesNotFit", "the disk has 100Mi, the volume offers 94Mi");
    assert!(run.report.message.ends_with("request at least 106Mi"), "{}", run.report.message);
    request(&mut job, 106 << 20);
    bench.job(&job).done();
}

#[test]
fn a_volume_from_a_snapshot_is_grown_and_checked() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(5 << 20);
    let mut job = job(&bench, &server, "/d");
    job.operation = Operation::Finish;
    bench.job(&job).failed(ExitClass::VerificationFailed, "DiskMissing", "disk.img");
    std::fs::write(disk_of(&bench), &disk).unwrap();
    let run = bench.job(&job).done();
    assert_disk(&disk_of(&bench), &disk);
    assert_eq!(std::fs::metadata(disk_of(&bench)).unwrap().len(), 483 << 20);
    assert_eq!(run.report.source.virtual_size, Some(483 << 20));
    assert!(server.seen("/d").is_empty(), "without the network");
    std::fs::write(disk_of(&bench), b"QFI\xfb\0\0\0\x03").unwrap();
    bench.job(&job).failed(ExitClass::Malformed, "NestedImage", "qcow2");
}

#[test]
fn a_job_that_makes_no_sense_is_reported_like_any_other_end() {
    let bench = Bench::new();
    let log = bench.path("log");
    let environment = [("VMDISK_JOB", "{\"schemaVersion\": 9}"), ("VMDISK_TERMINATION_LOG", log.to_str().unwrap())];
    let run = bench.run(&["run"], &environment).failed(ExitClass::BadJob, "BadJob", "schemaVersion 9");
    assert_eq!(vmdisk_wire::Report::parse(&std::fs::read_to_string(log).unwrap()), Some(run.report));
}

#[test]
fn a_worker_that_is_told_to_stop_says_so_and_can_go_on() {
    use std::io::BufRead as _;
    use std::process::{Command, Stdio};

    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(SIZE);
    let faults = [Fault::Stall(80 << 20)].into();
    server.put("/d", Resource { body: disk.clone().into(), etag: Some("\"a\"".into()), faults, ..Resource::default() });
    let job = job(&bench, &server, "/d");
    let log = bench.path("termination-log");
    let mut worker = Command::new(env!("CARGO_BIN_EXE_vmdisk-worker"))
        .env("VMDISK_JOB", serde_json::to_string(&job).unwrap())
        .env("VMDISK_TERMINATION_LOG", &log)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The event to wait for: the server has sent what it will, and the worker says that it has it.
    let lines = std::io::BufReader::new(worker.stdout.take().unwrap()).lines();
    let last = lines
        .map_while(Result::ok)
        .filter_map(|line| vmdisk_wire::Progress::parse(&line))
        .find(|progress| progress.percent == Some(80))
        .expect("progress on stdout");
    assert_eq!(last.stage, vmdisk_wire::Stage::Fetching);
    assert!(last.bytes_fetched >= 80 << 20);
    let id = rustix::process::Pid::from_child(&worker);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert_eq!(worker.wait().unwrap().code(), Some(10));
    let report = vmdisk_wire::Report::parse(&std::fs::read_to_string(&log).unwrap()).unwrap();
    assert_eq!((report.class, report.reason.as_str()), (ExitClass::Transient, "Interrupted"));
    assert!(report.resumable);
    let run = bench.job(&job).done();
    assert!(run.report.bytes_fetched < SIZE as u64);
    assert_disk(&disk_of(&bench), &disk);
}

#[test]
fn a_worker_that_is_killed_leaves_what_the_next_one_gets_right() {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(SIZE);
    let job = job(&bench, &server, "/d");
    let log = bench.path("termination-log");
    for (stall, kept) in [(1 << 20, 0), (15 << 20, 0), (90 << 20, 16 << 20)] {
        let faults = [Fault::Stall(stall)].into();
        let etag = Some("\"a\"".into());
        server.put("/d", Resource { body: disk.clone().into(), etag, faults, ..Resource::default() });
        let mut worker = Command::new(env!("CARGO_BIN_EXE_vmdisk-worker"))
            .env("VMDISK_JOB", serde_json::to_string(&job).unwrap())
            .env("VMDISK_TERMINATION_LOG", &log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_mins(1);
        // The event to wait for: its word says that all has come in, and that the record is there.
        let word = loop {
            let word = std::fs::read_to_string(&log).ok().and_then(|text| vmdisk_wire::Report::parse(&text));
            match word {
                Some(word) if word.bytes_fetched >= stall as u64 && word.resumable == (kept > 0) => break word,
                word => assert!(Instant::now() < deadline, "held at {stall}, it says {word:?}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        worker.kill().unwrap();
        worker.wait().unwrap();
        assert_eq!((word.class, word.reason.as_str()), (ExitClass::Transient, vmdisk_wire::UNFINISHED));
        assert_eq!(word.source.size, Some(SIZE as u64));
        assert!(!disk_of(&bench).exists(), "nothing is visible");
        let run = bench.job(&job).done();
        assert_disk(&disk_of(&bench), &disk);
        assert_eq!(files(&bench), ["disk.img"]);
        assert!(SIZE as u64 - run.report.bytes_fetched >= kept, "{} bytes were paid again", run.report.bytes_fetched);
        std::fs::remove_file(disk_of(&bench)).unwrap();
        std::fs::remove_file(&log).unwrap();
    }
}

#[test]
fn a_worker_of_a_restricted_pod_needs_no_root() {
    use std::os::unix::process::CommandExt as _;

    let (bench, server) = (Bench::new(), Server::start());
    let disk = bench.raw("raw", 5 << 20);
    // The path to the target must be open to that user.
    let shared = tempfile::tempdir().unwrap();
    std::fs::set_permissions(shared.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let binary = shared.path().join("vmdisk-worker");
    std::fs::copy(env!("CARGO_BIN_EXE_vmdisk-worker"), &binary).unwrap();
    for (format, options) in [("qcow2", &[][..]), ("vmdk", &[])] {
        server.serve("/d", bench.convert("raw", format, options));
        let mut job = job(&bench, &server, "/d");
        job.target.as_mut().unwrap().path = shared.path().to_str().unwrap().into();
        let status = std::process::Command::new(&binary)
            .env("VMDISK_JOB", serde_json::to_string(&job).unwrap())
            .env("VMDISK_TERMINATION_LOG", shared.path().join("log"))
            .stdout(std::process::Stdio::null())
            .uid(107)
            .gid(107)
            .status()
            .unwrap();
        assert!(status.success(), "{}", std::fs::read_to_string(shared.path().join("log")).unwrap());
        assert_disk(&shared.path().join("disk.img"), &disk);
    }
}

#[test]
fn a_server_that_falls_silent_is_left_and_asked_again() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(5 << 20);
    let faults = [Fault::Stall(1_000_000)].into();
    server.put("/d", Resource { body: disk.clone().into(), etag: Some("\"a\"".into()), faults, ..Resource::default() });
    let mut work = vmdisk_worker::work::Work::of_job(job(&bench, &server, "/d")).unwrap();
    work.patience.idle_timeout = std::time::Duration::from_millis(300);
    // Here the work runs in this process, which installs no provider of its own.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (counters, findings) = Default::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(vmdisk_worker::work::run(&work, &counters, &findings)).unwrap();
    assert_disk(&disk_of(&bench), &disk);
    let resumed = server.seen("/d").iter().any(|seen| seen.header("range").starts_with("bytes=1000000-"));
    assert!(resumed, "{:?}", server.seen("/d"));
    assert_eq!(counters.fetched(), disk.len() as u64);
}

#[test]
fn a_slow_lane_is_kept_to() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(4 << 20);
    server.serve("/d", disk.clone());
    let mut job = job(&bench, &server, "/d");
    job.limits.bandwidth_bytes_per_second = Some(2 << 20);
    let started = std::time::Instant::now();
    bench.job(&job).done();
    assert!(started.elapsed() >= std::time::Duration::from_millis(1900), "{:?}", started.elapsed());
    assert_disk(&disk_of(&bench), &disk);
}

#[test]
fn a_proxy_is_used_and_may_be_anywhere() {
    let (bench, proxy) = (Bench::new(), Server::start());
    let disk = patterned(1 << 20);
    // To a proxy, the request line is the whole URL; this one has the image itself.
    proxy.serve("/images/d", disk.clone());
    let mut job = job(&bench, &proxy, "/d");
    job.source.url = "http://images.example.com/images/d".into();
    job.limits.allowed_sources = Vec::new();
    let text = serde_json::to_string(&job).unwrap();
    let log = bench.path("log");
    let environment = [
        ("VMDISK_JOB", text.as_str()),
        ("VMDISK_TERMINATION_LOG", log.to_str().unwrap()),
        ("http_proxy", &proxy.url("")),
    ];
    bench.run(&["run"], &environment).done();
    assert_disk(&disk_of(&bench), &disk);
    assert_eq!(proxy.seen("/images/d")[0].header("host"), "images.example.com");
}
