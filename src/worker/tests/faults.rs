//! Connections that break, objects that change, servers that know no ranges: the worker as a whole.

use axum::http::header::ACCEPT_RANGES;
use vmdisk_wire::ExitClass;

use crate::server::{Fault, Resource, Server};
use crate::support::{Bench, assert_disk, digest, noise, patterned};

const SIZE: usize = 9 << 20;

fn resource(disk: &[u8], etag: Option<&str>, faults: Vec<Fault>) -> Resource {
    Resource { body: disk.to_vec().into(), etag: etag.map(str::to_owned), faults: faults.into(), ..Resource::default() }
}

#[test]
fn a_broken_connection_goes_on_where_it_stopped() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(SIZE);
    let faults = vec![Fault::Cut(1_000_000), Fault::Cut(3_000_001), Fault::Cut(3_000_001)];
    server.put("/d", resource(&disk, Some("\"a\""), faults));
    let run = bench.fetch(&server.url("/d"), &[]).done();
    assert_disk(&bench.output(), &disk);
    assert_eq!(run.report.bytes_fetched, SIZE as u64, "no byte is paid twice");
    let seen = server.seen("/d");
    assert_eq!((seen[0].header("range"), seen[0].header("if-match")), ("bytes=0-1048575", ""));
    for later in &seen[1..] {
        assert_eq!(later.header("if-match"), "\"a\"");
    }
    let ranges: Vec<&str> = seen.iter().map(|seen| seen.header("range")).collect();
    assert!(ranges.contains(&"bytes=1000000-1048575"), "{ranges:?}");
    assert_eq!(ranges.iter().filter(|range| **range == "bytes=3000001-3145727").count(), 2, "{ranges:?}");
}

#[test]
fn without_a_strong_etag_what_broke_is_not_patched_together() {
    for etag in [None, Some("W/\"a\"")] {
        let (bench, server) = (Bench::new(), Server::start());
        let disk = patterned(SIZE);
        server.put("/d", resource(&disk, etag, vec![Fault::Cut(2_000_000)]));
        let run = bench.fetch(&server.url("/d"), &[]);
        run.failed(ExitClass::Transient, "Connection", "no strong ETag");
        let ranges: Vec<String> = server.seen("/d").iter().map(|seen| seen.header("range").to_owned()).collect();
        assert_eq!(ranges, ["bytes=0-1048575", ""], "one stream, as soon as the headers have told");
        // Nothing was consumed yet: then it simply starts again.
        server.put("/d", resource(&disk, etag, vec![Fault::Cut(0)]));
        let run = bench.fetch(&server.url("/d"), &[]).done();
        assert_disk(&bench.output(), &disk);
        assert_eq!(run.report.bytes_fetched, SIZE as u64, "what only the headers were read of is not paid");
    }
}

#[test]
fn a_new_etag_after_a_break_ends_the_attempt() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(SIZE);
    let replaced = Fault::CutAndReplace(1_000_000, vec![7; SIZE].into(), "\"b\"".into());
    server.put("/d", resource(&disk, Some("\"a\""), vec![replaced]));
    let run = bench.fetch(&server.url("/d"), &[]);
    run.failed(ExitClass::Transient, "SourceChanged", "412");
    assert!(!bench.output().exists());
    // Another server behind the same name has another version; its tag tells, whatever it makes of If-Match.
    let other = server.url("/other");
    server.put("/other", resource(&disk, Some("\"b\""), Vec::new()));
    let redirect = Fault::Answer(302, vec![("location", other)], String::new());
    server.put("/d", resource(&disk, Some("\"a\""), vec![Fault::Cut(1_000_000), redirect.clone(), redirect]));
    bench.fetch(&server.url("/d"), &[]).failed(ExitClass::Transient, "SourceChanged", "");
}

#[test]
fn a_server_that_ignores_ranges_sends_all_again_and_the_disk_is_right() {
    for headers in [Vec::new(), vec![(ACCEPT_RANGES, "none".into())]] {
        let (bench, server) = (Bench::new(), Server::start());
        let disk = patterned(SIZE);
        let mut stubborn = resource(&disk, Some("\"a\""), vec![Fault::Cut(3_000_000)]);
        stubborn.ignores_ranges = true;
        stubborn.headers = headers;
        server.put("/d", stubborn.clone());
        let run = bench.fetch(&server.url("/d"), &[]).done();
        assert_disk(&bench.output(), &disk);
        assert_eq!(run.report.bytes_fetched, SIZE as u64 + 3_000_000, "what was paid again is told");
        assert!(run.stderr.contains("knows no ranges"), "{}", run.stderr);
        assert_eq!(server.seen("/d").len(), 2, "one stream, and one more");
        // Once more than the whole image is too much for one attempt.
        stubborn.faults = vec![Fault::Cut(6_000_000); 3].into();
        server.put("/d", stubborn);
        let run = bench.fetch(&server.url("/d"), &[]).failed(ExitClass::Transient, "Connection", "twice over");
        assert!(run.report.bytes_fetched < 2 * SIZE as u64, "{}", run.report.bytes_fetched);
    }
}

#[test]
fn overload_is_waited_out_as_long_as_the_server_asks() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(1 << 20);
    let busy = |status, after: &str| Fault::Answer(status, vec![("retry-after", after.into())], String::new());
    server.put("/d", resource(&disk, Some("\"a\""), vec![busy(429, "1"), busy(503, "0")]));
    let started = std::time::Instant::now();
    bench.fetch(&server.url("/d"), &[]).done();
    assert!(started.elapsed() >= std::time::Duration::from_secs(1), "Retry-After is heeded");
    assert_disk(&bench.output(), &disk);
    // Longer than an attempt waits: the controller is told.
    server.put("/d", resource(&disk, None, vec![busy(429, "3600")]));
    let run = bench.fetch(&server.url("/d"), &[]).failed(ExitClass::Transient, "Throttled", "429");
    assert_eq!(run.report.retry_after_seconds, Some(3600));
}

#[test]
fn a_body_shorter_than_its_length_is_no_disk() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(1 << 20);
    server.put("/d", resource(&disk, None, vec![Fault::Cut(500_000); 8]));
    bench.fetch(&server.url("/d"), &[]).failed(ExitClass::Transient, "Connection", "");
    assert!(!bench.output().exists());
}

#[test]
fn a_token_that_expires_in_the_middle_is_replaced() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = noise(48 << 20, 1);
    let name = digest(&ring::digest::SHA256, &disk);
    let manifest = format!(
        r#"{{"schemaVersion": 2, "config": {{"mediaType": "application/vnd.oci.empty.v1+json", "digest": "{name}",
        "size": 2}}, "layers": [{{"mediaType": "application/x-raw", "digest": "{name}", "size": {}}}]}}"#,
        disk.len()
    );
    server.serve("/v2/lab/vm/manifests/1", manifest);
    let challenge = format!("Bearer realm=\"{}\"", server.url("/token"));
    let blob = format!("/v2/lab/vm/blobs/{name}");
    server.put(
        &blob,
        Resource {
            authorization: Some(("Bearer one".into(), challenge)),
            faults: [20, 32].map(|at| Fault::Expire(at << 20, format!("Bearer {at}"))).into(),
            // So slow that several connections pay.
            bytes_per_second: Some(8 << 20),
            ..resource(&disk, None, Vec::new())
        },
    );
    // One answer for each token, and then none.
    let tokens = ["one", "20", "32"].map(|token| Fault::Answer(200, Vec::new(), format!("{{\"token\": \"{token}\"}}")));
    server.put("/token", Resource { faults: tokens.into(), ..Resource::default() });
    let run = bench.fetch(&format!("docker://{}/lab/vm:1", server.host()), &[]).done();
    assert_disk(&bench.output(), &disk);
    assert_eq!(run.report.bytes_fetched, disk.len() as u64);
    assert_eq!(server.seen("/token").len(), 3);
    assert!(server.most_open() > 2, "over several connections");
}
