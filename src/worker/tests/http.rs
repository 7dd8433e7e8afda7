//! HTTP as a source: credentials, redirects, refusals.

use ring::digest::{SHA256, SHA512};
use vmdisk_wire::ExitClass;

use crate::server::{Fault, Resource, Server};
use crate::support::{Bench, assert_disk, digest, patterned};

const SIZE: usize = 9 << 20;

#[test]
fn a_raw_image_arrives_byte_for_byte_and_sparse() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(SIZE);
    let run = bench.fetch(&server.serve("/disk.raw", disk.clone()), &[]).done();
    assert_disk(&bench.output(), &disk);
    assert_eq!(bench.files(), ["disk.img"]);
    assert_eq!(run.report.bytes_fetched, SIZE as u64, "each byte is paid once");
    assert_eq!(run.report.source.digest.as_deref(), Some("\"v1\""));
    assert_eq!(run.report.source.virtual_size, Some(SIZE as u64));
    let seen = server.seen("/disk.raw");
    assert!(seen.iter().all(|seen| seen.header("accept-encoding") == "identity"));
    let ranges: Vec<&str> = seen.iter().map(|seen| seen.header("range")).collect();
    assert_eq!(ranges, ["bytes=0-1048575", "bytes=1048576-3145727", "bytes=3145728-7340031", "bytes=7340032-9437183"]);
    let holes = disk.chunks(4096).filter(|block| block.iter().all(|byte| *byte == 0)).count();
    assert_eq!(run.report.bytes_written, (SIZE - holes * 4096) as u64, "holes are not written");
}

#[test]
fn an_odd_length_is_rounded_up_to_a_mebibyte_of_zeros() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(SIZE + 512);
    bench.fetch(&server.serve("/disk.raw", disk.clone()), &[]).done();
    assert_disk(&bench.output(), &disk);
}

#[test]
fn a_body_of_unknown_length_arrives_too() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(SIZE);
    server.put("/disk.raw", Resource { body: disk.clone().into(), chunked: true, ..Resource::default() });
    bench.fetch(&server.url("/disk.raw"), &[]).done();
    assert_disk(&bench.output(), &disk);
}

#[test]
fn the_disk_grows_to_what_is_asked_for_and_never_shrinks() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(SIZE);
    let url = server.serve("/disk.raw", disk.clone());
    bench.fetch(&url, &["--size", &(64 << 20).to_string()]).done();
    assert_disk(&bench.output(), &disk);
    assert_eq!(std::fs::metadata(bench.output()).unwrap().len(), 64 << 20);
    let run = bench.fetch(&url, &["--size", &(8 << 20).to_string()]);
    run.failed(ExitClass::DoesNotFit, "DoesNotFit", "request at least 9Mi");
}

#[test]
fn statuses_have_their_classes() {
    for (status, class, reason) in [
        (404, ExitClass::SourceMissing, "NotFound"),
        (410, ExitClass::SourceMissing, "NotFound"),
        (401, ExitClass::Denied, "Unauthorized"),
        (403, ExitClass::Denied, "Unauthorized"),
        (400, ExitClass::Transient, "BadResponse"),
    ] {
        let (bench, server) = (Bench::new(), Server::start());
        let faults = [Fault::Answer(status, Vec::new(), "<Error><Code>Why</Code></Error>".into())].into();
        server.put("/x", Resource { faults, ..Resource::default() });
        let run = bench.fetch(&server.url("/x?key=hidden"), &[]).failed(class, reason, &status.to_string());
        assert!(run.report.message.contains("(Why)") && !run.report.message.contains("hidden"));
        assert!(bench.files().is_empty(), "nothing remains");
    }
}

#[test]
fn basic_credentials_and_tokens_come_from_the_secret() {
    for (secret, expected) in [
        (vec![("username", "ann"), ("password", "p:w\n")], "Basic YW5uOnA6dw=="),
        (vec![("token", "t0ken\n")], "Bearer t0ken"),
    ] {
        let (bench, server) = (Bench::new(), Server::start());
        let disk = patterned(1 << 20);
        let authorization = Some((expected.to_owned(), "Basic realm=x".to_owned()));
        server.put("/d", Resource { body: disk.clone().into(), authorization, ..Resource::default() });
        let url = server.url("/d");
        bench.fetch(&url, &[]).failed(ExitClass::Denied, "Unauthorized", "secretRef");
        bench.fetch(&url, &["--secret-dir", &bench.secret(&secret)]).done();
        assert_disk(&bench.output(), &disk);
    }
}

#[test]
fn a_secret_that_is_not_there_or_does_not_fit_is_named() {
    let (bench, server) = (Bench::new(), Server::start());
    let url = server.serve("/d", "x");
    let missing = bench.path("nowhere");
    let run = bench.fetch(&url, &["--secret-dir", missing.to_str().unwrap()]);
    run.failed(ExitClass::Denied, "SecretMissing", missing.to_str().unwrap());
    let run = bench.fetch(&url, &["--secret-dir", &bench.secret(&[("username", "ann")])]);
    run.failed(ExitClass::BadJob, "InvalidSecret", "has the key username but not password");
}

#[test]
fn credentials_never_cross_an_origin() {
    let (bench, server, other) = (Bench::new(), Server::start(), Server::start());
    let disk = patterned(1 << 20);
    // Away, and back again: once left, the origin gets nothing any more.
    for (from, path, to) in
        [(&server, "/a", server.url("/b")), (&server, "/b", other.url("/c")), (&other, "/c", server.url("/d"))]
    {
        let faults = [Fault::Answer(302, vec![("location", to)], String::new())].into();
        from.put(path, Resource { faults, ..Resource::default() });
    }
    server.serve("/d", disk.clone());
    let secret = bench.secret(&[("token", "t")]);
    bench.fetch(&server.url("/a"), &["--secret-dir", &secret]).done();
    assert_disk(&bench.output(), &disk);
    let shown = |server: &Server, path: &str| server.seen(path)[0].header("authorization").to_owned();
    assert_eq!([shown(&server, "/a"), shown(&server, "/b")], ["Bearer t", "Bearer t"]);
    assert_eq!([shown(&other, "/c"), shown(&server, "/d")], ["", ""]);
}

#[test]
fn redirects_without_end_or_away_from_http_are_refused() {
    let (bench, server) = (Bench::new(), Server::start());
    let redirect = |to: String| Resource {
        faults: vec![Fault::Answer(302, vec![("location", to)], String::new()); 20].into(),
        ..Resource::default()
    };
    server.put("/loop", redirect(server.url("/loop")));
    bench.fetch(&server.url("/loop"), &[]).failed(ExitClass::Denied, "BadRedirect", "more than 10 times");
    assert_eq!(server.seen("/loop").len(), 11);
    server.put("/file", redirect("file:///etc/passwd".into()));
    bench.fetch(&server.url("/file"), &[]).failed(ExitClass::Denied, "BadRedirect", "scheme file");
    server.put("/meta", redirect("http://169.254.169.254/latest".into()));
    bench.fetch(&server.url("/meta"), &[]).failed(ExitClass::Denied, "SourceNotAllowed", "metadata service");
}

#[test]
fn a_checksum_is_verified_before_the_disk_is_visible() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(SIZE);
    let url = server.serve("/d", disk.clone());
    let (sha256, sha512) = (digest(&SHA256, &disk), digest(&SHA512, &disk));
    for good in [&sha256, &sha512] {
        bench.fetch(&url, &["--checksum", good]).done();
        assert_disk(&bench.output(), &disk);
        std::fs::remove_file(bench.output()).unwrap();
    }
    let wrong = format!("sha256:{}", "0".repeat(64));
    let run = bench.fetch(&url, &["--checksum", &wrong]);
    let run = run.failed(ExitClass::VerificationFailed, "DigestMismatch", &sha256);
    assert!(run.report.message.contains(&wrong));
    assert!(!bench.output().exists());
    bench.fetch(&url, &["--checksum", "md5:00"]).failed(ExitClass::BadJob, "BadJob", "sha256:");
}

#[test]
fn no_connection_is_transient_and_the_cause_is_told() {
    let bench = Bench::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let run = bench.fetch(&format!("http://u:hidden@{free}/x"), &[]);
    let run = run.failed(ExitClass::Transient, "Connection", "onnection refused");
    assert!(!run.report.message.contains("hidden"));
}
