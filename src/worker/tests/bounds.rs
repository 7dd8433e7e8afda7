//! What servers say has a bound before it gets into a report, a message or a log.

use serde_json::json;
use vmdisk_wire::{ExitClass, MAX_DIGEST, MAX_REPORT_BYTES};

use crate::repository::{EMPTY, OCI, Registry};
use crate::server::{Fault, Resource, Server};
use crate::support::{Bench, Run, assert_disk, patterned};

const SIZE: usize = 3 << 20;

/// The longest message, in bytes: what is left of an event's 1,024.
const MESSAGE: usize = 1000;

/// The longest line of a log.
const LINE: usize = 2048;

/// That nothing of the run is longer than it may be, or not for a terminal.
#[track_caller]
fn bounded(run: &Run) {
    let message = &run.report.message;
    assert!(message.len() <= MESSAGE && !message.contains(char::is_control), "{} bytes: {message:?}", message.len());
    assert!(run.report.to_message().len() <= MAX_REPORT_BYTES);
    for line in run.stderr.lines() {
        assert!(line.len() <= LINE && !line.contains(char::is_control), "{} bytes: {line:.3000?}", line.len());
    }
}

#[test]
fn an_etag_that_no_status_takes_serves_its_attempt_and_is_reported_as_none() {
    for (tag, reported, resumes) in [
        (format!("\"{}\"", "x".repeat(MAX_DIGEST - 2)), true, true),
        (format!("\"{}\"", "x".repeat(MAX_DIGEST - 1)), false, true),
        ("\"a\tb\"".to_owned(), false, true),
        // Too long for a header that goes back.
        (format!("\"{}\"", "x".repeat(40_000)), false, false),
    ] {
        let (bench, server) = (Bench::new(), Server::start());
        let disk = patterned(SIZE);
        let faults = [Fault::Cut(SIZE - 70_000)].into();
        server
            .put("/d", Resource { body: disk.clone().into(), etag: Some(tag.clone()), faults, ..Resource::default() });
        let run = bench.fetch(&server.url("/d"), &[]);
        bounded(&run);
        assert_eq!(run.report.source.digest, (reported && resumes).then(|| tag.clone()), "{tag:.20}");
        assert_eq!(run.report.class, if resumes { ExitClass::Done } else { ExitClass::Transient }, "{tag:.20}");
        if resumes {
            assert_disk(&bench.output(), &disk);
            assert_eq!(run.report.bytes_fetched, SIZE as u64, "each byte is paid once");
        }
    }
}

#[test]
fn what_a_refusal_says_is_cut_and_escaped() {
    let long = "\u{1b}[2J evil ".repeat(60);
    let json = json!({"errors": [{"code": long, "message": long}]}).to_string();
    let xml = format!("<Error><Code>A</Code><Message>{long}</Message></Error>");
    for (status, headers, body) in [
        (403, vec![("x-amz-bucket-region", "r".repeat(30_000))], json.clone()),
        (404, Vec::new(), xml),
        (412, Vec::new(), json),
    ] {
        let (bench, server) = (Bench::new(), Server::start());
        let faults = vec![Fault::Answer(status, headers, body); 20];
        server.put("/d", Resource { faults: faults.into(), ..Resource::default() });
        let run = bench.fetch(&server.url("/d"), &[]);
        bounded(&run);
        assert!(run.report.message.contains("evil"), "{}", run.report.message);
    }
}

#[test]
fn what_an_answer_s_headers_say_is_cut() {
    let long = "x".repeat(30_000);
    for (headers, reason) in [
        (vec![("location", format!("http://{long}/"))], "SourceNotAllowed"),
        (vec![("location", format!("{long}:y"))], "BadRedirect"),
        (vec![("location", format!("/{long}"))], "NotFound"),
    ] {
        let (bench, server) = (Bench::new(), Server::start());
        let faults = vec![Fault::Answer(302, headers, String::new()); 20];
        server.put("/d", Resource { faults: faults.into(), ..Resource::default() });
        let run = bench.fetch(&server.url("/d"), &[]);
        bounded(&run);
        if reason != "SourceNotAllowed" {
            assert_eq!(run.report.reason, reason, "{}", run.report.message);
        }
    }
    let (bench, server) = (Bench::new(), Server::start());
    let faults = vec![Fault::AnswerFrom(0, 206, vec![("content-range", long)]); 20];
    server.put("/d", Resource { faults: faults.into(), ..Resource::default() });
    let run = bench.fetch(&server.url("/d"), &[]).failed(ExitClass::Transient, "BadResponse", "the range xxx");
    bounded(&run);
}

#[test]
fn a_pause_that_a_server_wishes_for_fits_every_clock() {
    let (bench, server) = (Bench::new(), Server::start());
    let faults = vec![Fault::Answer(503, vec![("retry-after", u64::MAX.to_string())], String::new()); 20];
    server.put("/d", Resource { faults: faults.into(), ..Resource::default() });
    let run = bench.fetch(&server.url("/d"), &[]).failed(ExitClass::Transient, "ServerError", "503");
    assert_eq!(run.report.retry_after_seconds, Some(7 * 24 * 3600));
}

#[test]
fn what_a_manifest_says_is_cut() {
    let long = "x\u{1b}".repeat(3_000);
    let index = "application/vnd.oci.image.index.v1+json";
    let bench = Bench::new();
    let registry = Registry::start();
    let empty = registry.blob(EMPTY, "{}");
    let platform = |number: usize| {
        json!({"mediaType": OCI, "digest": "sha256:0", "size": 1,
            "platform": {"os": "linux", "architecture": format!("{number}{long}")}})
    };
    let layer = |digest: &str, media_type: &str, urls: &[&str]| {
        let layer = json!({"mediaType": media_type, "digest": digest, "size": 1, "urls": urls});
        json!({"schemaVersion": 2, "config": empty, "layers": [layer]})
    };
    let mut manifests = vec![
        (index, json!({"schemaVersion": 2, "manifests": (0..40).map(platform).collect::<Vec<_>>()})),
        (OCI, layer(&long, "a", &[])),
        (OCI, layer(&long, "a", &["http://elsewhere"])),
        (OCI, json!({"schemaVersion": 2, "layers": long})),
    ];
    let mut cut = layer("sha256:0", &format!("a;part.number={long}"), &[]);
    cut["layers"][0]["annotations"] = json!({"org.opencontainers.image.title": long});
    manifests.push((OCI, cut));
    for (number, (media_type, manifest)) in manifests.iter().enumerate() {
        registry.manifest(&format!("{number}"), media_type, manifest);
        let run = bench.fetch(&registry.url(&format!(":{number}")), &[]);
        bounded(&run);
        assert!(run.report.message.contains('x'), "{number}: {}", run.report.message);
        assert!(matches!(run.report.class, ExitClass::Malformed | ExitClass::SourceMissing), "{number}: {run:?}");
    }
}
