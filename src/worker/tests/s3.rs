//! S3: signed requests, path style, regions, credentials of both names.

use vmdisk_wire::ExitClass;

use crate::server::{Fault, Resource, Server};
use crate::support::{Bench, assert_disk, patterned};

const SIZE: usize = 5 << 20;
const KEYS: [(&str, &str); 2] = [("accessKeyId", "AKID"), ("secretKey", "SECRET")];

#[test]
fn a_path_style_url_is_signed_and_resumed() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(SIZE);
    // A key that must be encoded the way the signature needs it.
    let path = "/uki-lrn-vm-images/images/lab%20151/a%2Bb.qcow2";
    server.put(
        path,
        Resource {
            body: disk.clone().into(),
            etag: Some("\"multipart-3\"".into()),
            faults: [Fault::Cut(1_000_000)].into(),
            ..Resource::default()
        },
    );
    let url = server.url("/uki-lrn-vm-images/images/lab 151/a+b.qcow2");
    let secret = bench.secret(&KEYS);
    let run = bench.fetch(&url, &["--source-type", "s3", "--secret-dir", &secret, "--region", "eu-west-3"]).done();
    assert_disk(&bench.output(), &disk);
    assert_eq!(run.report.bytes_fetched, SIZE as u64);
    assert_eq!(run.report.source.digest.as_deref(), Some("\"multipart-3\""));
    let seen = server.seen(path);
    for seen in &seen {
        let authorization = seen.header("authorization");
        assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKID/"), "{authorization}");
        assert!(authorization.contains("/eu-west-3/s3/aws4_request"), "{authorization}");
        assert!(authorization.contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date"), "{authorization}");
        assert!(!format!("{seen:?}").contains("SECRET"));
    }
    let resumed = seen.iter().find(|seen| seen.header("range") == "bytes=1000000-1048575").unwrap();
    assert_eq!(resumed.header("if-match"), "\"multipart-3\"");
}

#[test]
fn a_bucket_url_goes_to_the_endpoint_of_the_secret() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(SIZE);
    server.serve("/bucket/dir/key", disk.clone());
    let endpoint = server.url("");
    let secret = bench.secret(&[
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", "SECRET"),
        ("AWS_SESSION_TOKEN", "session"),
        ("AWS_REGION", "us-gov-west-1"),
        ("AWS_ENDPOINT_URL", &endpoint),
    ]);
    bench.fetch("s3://bucket/dir/key", &["--secret-dir", &secret]).done();
    assert_disk(&bench.output(), &disk);
    let seen = &server.seen("/bucket/dir/key")[0];
    assert_eq!(seen.header("x-amz-security-token"), "session");
    assert!(seen.header("authorization").contains("/us-gov-west-1/s3/"));
}

#[test]
fn the_bucket_s_own_region_is_signed_for_when_the_server_names_it() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(SIZE);
    let other = Fault::Answer(400, vec![("x-amz-bucket-region", "eu-north-1".into())], String::new());
    server.put("/b/k", Resource { body: disk.clone().into(), faults: [other].into(), ..Resource::default() });
    let secret = bench.secret(&KEYS);
    bench.fetch(&server.url("/b/k"), &["--source-type", "s3", "--secret-dir", &secret]).done();
    let seen = server.seen("/b/k");
    assert!(seen[0].header("authorization").contains("/us-east-1/s3/"));
    assert!(seen[1].header("authorization").contains("/eu-north-1/s3/"));
}

#[test]
fn what_the_store_recorded_is_verified() {
    let disk = patterned(SIZE);
    let sha256 = ring::digest::digest(&ring::digest::SHA256, &disk);
    let base64 = |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
    let crc64 = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &disk);
    let right = [("sha256", base64(sha256.as_ref())), ("crc64nvme", base64(&crc64.to_be_bytes()))];
    let wrong = [("sha256", base64(&[7; 32])), ("crc64nvme", base64(&[7; 8]))];
    let fetched = |bench: &Bench, (algorithm, value): &(&str, String)| {
        let server = Server::start();
        let header = format!("x-amz-checksum-{algorithm}").parse().unwrap();
        let headers = vec![(header, value.clone())];
        server.put(
            "/b/k",
            Resource { body: disk.clone().into(), etag: Some("\"e\"".into()), headers, ..Resource::default() },
        );
        let secret = bench.secret(&KEYS);
        let run = bench.fetch(&server.url("/b/k"), &["--source-type", "s3", "--secret-dir", &secret]);
        (server, run)
    };
    for right in &right {
        let bench = Bench::new();
        let (server, run) = fetched(&bench, right);
        let checksum = run.done().report.source.checksum.unwrap();
        assert!(checksum.starts_with(&format!("{}:", right.0)), "{checksum}");
        assert_disk(&bench.output(), &disk);
        let head = &server.heads("/b/k")[0];
        assert_eq!(head.header("x-amz-checksum-mode"), "ENABLED");
        // S3 refuses requests with x-amz- headers that are not signed.
        assert!(head.header("authorization").contains(";x-amz-checksum-mode;x-amz-content-sha256;"), "{head:?}");
        assert!(
            server.seen("/b/k").iter().all(|seen| seen.header("if-match") == "\"e\""),
            "bound from the first range on"
        );
    }
    for wrong in &wrong {
        let bench = Bench::new();
        let (_, run) = fetched(&bench, wrong);
        run.failed(ExitClass::VerificationFailed, "DigestMismatch", "the object store promises");
        assert!(!bench.output().exists());
    }
    // Of the parts: told, and nobody could verify it.
    let bench = Bench::new();
    let (_, run) = fetched(&bench, &("sha256", format!("{}-3", base64(&[7; 32]))));
    let checksum = run.done().report.source.checksum.unwrap();
    assert!(checksum.starts_with("sha256-composite:") && checksum.ends_with("-3"), "{checksum}");
}

#[test]
fn a_presigned_url_is_asked_for_nothing_but_what_it_is_signed_for() {
    let (bench, server) = (Bench::new(), Server::start());
    let disk = patterned(SIZE);
    let url = server.serve("/b/k", disk.clone()) + "?X-Amz-Signature=0";
    bench.fetch(&url, &["--source-type", "s3"]).done();
    assert_disk(&bench.output(), &disk);
    assert!(server.heads("/b/k").is_empty());
}

#[test]
fn refusals_say_what_s3_says_and_nothing_of_what_was_signed() {
    let body = "<?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code><Message>No match.</Message>\
        <AWSAccessKeyId>AKID</AWSAccessKeyId><StringToSign>AWS4</StringToSign></Error>";
    for (status, body, class, reason, text) in [
        (403, body, ExitClass::Denied, "Unauthorized", "SignatureDoesNotMatch: No match."),
        (404, "<Error><Code>NoSuchKey</Code></Error>", ExitClass::SourceMissing, "NotFound", "NoSuchKey"),
        (400, "<Error><Code>ExpiredToken</Code></Error>", ExitClass::Denied, "Unauthorized", "ExpiredToken"),
    ] {
        let (bench, server) = (Bench::new(), Server::start());
        let faults = [Fault::Answer(status, Vec::new(), body.into())].into();
        server.put("/b/k", Resource { faults, ..Resource::default() });
        let secret = bench.secret(&KEYS);
        let run = bench.fetch(&server.url("/b/k"), &["--source-type", "s3", "--secret-dir", &secret]);
        let run = run.failed(class, reason, text);
        assert!(!run.report.message.contains("AKID"));
    }
}

#[test]
fn half_a_key_pair_is_named() {
    let bench = Bench::new();
    let secret = bench.secret(&[("accessKeyId", "AKID")]);
    let run = bench.fetch("s3://b/k", &["--secret-dir", &secret]);
    run.failed(ExitClass::BadJob, "InvalidSecret", "not secretKey");
}

#[test]
fn a_pod_s_identity_is_exchanged_for_keys() {
    let (bench, server, sts) = (Bench::new(), Server::start(), Server::start());
    let disk = patterned(SIZE);
    server.serve("/b/k", disk.clone());
    let answer = "<Credentials><AccessKeyId>TEMP</AccessKeyId><SecretAccessKey>S</SecretAccessKey>\
        <SessionToken>T</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration></Credentials>";
    sts.put("/", Resource { body: answer.into(), ..Resource::default() });
    std::fs::write(bench.path("token"), "projected").unwrap();
    let output = bench.output();
    let arguments =
        ["fetch", "--json", "--source-type", "s3", "--url", &server.url("/b/k"), "--output", output.to_str().unwrap()];
    let token = bench.path("token");
    let environment = [
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/images"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ENDPOINT_URL_STS", &sts.url("/")),
    ];
    bench.run(&arguments, &environment).done();
    assert_disk(&bench.output(), &disk);
    assert_eq!(sts.seen("/").len(), 1, "the keys are kept");
    let seen = &server.seen("/b/k")[0];
    assert!(seen.header("authorization").contains("Credential=TEMP/"));
    assert_eq!(seen.header("x-amz-security-token"), "T");
}
