//! What a redirect may carry away: nothing that proves who we are, be it a header, a form or a signature.

use reqwest::Method;
use reqwest::header::HeaderValue;
use url::Url;
use vmdisk_wire::ExitClass;
use vmdisk_worker::http::{Anonymous, Request};

use crate::reach;
use crate::repository::{Registry, TAR, layer};
use crate::server::{Fault, Resource, Server};
use crate::support::{Bench, assert_disk, noise, patterned};

const SIZE: usize = 3 << 20;

fn redirect(status: u16, to: String) -> Resource {
    // Also to whoever asks again.
    let faults = vec![Fault::Answer(status, vec![("location", to)], String::new()); 4];
    Resource { faults: faults.into(), ..Resource::default() }
}

/// A registry with an image for those who have the token `one`, which its service at `/token` gives.
fn guarded(bench: &Bench) -> (Registry, Vec<u8>, String) {
    let registry = Registry::start();
    let disk = noise(SIZE, 1);
    registry.image("1", &[registry.blob(TAR, layer(&[("disk/vm.img", &disk)]))]);
    let challenge = format!("Bearer realm=\"{}\"", registry.server.url("/token"));
    registry.server.change("/v2/lab/vm/manifests/1", |manifest| {
        manifest.authorization = Some(("Bearer one".into(), challenge));
    });
    let config = format!("{{\"auths\": {{\"{}\": {{\"identitytoken\": \"s3cret\"}}}}}}", registry.server.host());
    let secret = bench.secret(&[(".dockerconfigjson", &config)]);
    (registry, disk, secret)
}

fn token() -> Resource {
    Resource { body: "{\"token\": \"one\"}".into(), ..Resource::default() }
}

#[test]
fn a_refresh_token_never_crosses_an_origin() {
    for status in [301, 302, 303, 307, 308] {
        let (bench, stranger) = (Bench::new(), Server::start());
        let (registry, _, secret) = guarded(&bench);
        registry.server.put("/token", redirect(status, stranger.url("/token")));
        stranger.put("/token", token());
        let run = bench.fetch(&registry.url(":1"), &["--secret-dir", &secret]);
        let run = run.failed(ExitClass::Denied, "BadRedirect", "to another origin");
        assert!(run.report.message.contains(&stranger.url("/token")), "{}", run.report.message);
        assert!(!format!("{}{}", run.report.message, run.stderr).contains("s3cret"));
        assert!(stranger.seen("/token").is_empty(), "{status}: {:?}", stranger.seen("/token"));
    }
}

#[test]
fn a_refresh_token_follows_its_service_within_the_origin() {
    for (status, method) in [(307, Method::POST), (308, Method::POST), (303, Method::GET)] {
        let bench = Bench::new();
        let (registry, disk, secret) = guarded(&bench);
        registry.server.put("/token", redirect(status, registry.server.url("/v2/token")));
        registry.server.put("/v2/token", token());
        bench.fetch(&registry.url(":1"), &["--secret-dir", &secret]).done();
        assert_disk(&bench.output(), &disk);
        let [asked] = registry.server.seen("/v2/token").try_into().unwrap();
        assert_eq!(asked.method, method);
        // See other (RFC 9110, section 15.4.4): what was asked for lies there, and is fetched without the form.
        assert_eq!(asked.body.contains("refresh_token=s3cret"), method == Method::POST, "{}", asked.body);
    }
}

#[test]
fn a_pod_s_identity_never_crosses_an_origin() {
    for status in [302, 307, 308] {
        let (bench, server, sts, stranger) = (Bench::new(), Server::start(), Server::start(), Server::start());
        server.serve("/b/k", "x");
        sts.put("/", redirect(status, stranger.url("/")));
        let token = bench.path("token");
        std::fs::write(&token, "projected").unwrap();
        let output = bench.output();
        let url = server.url("/b/k");
        let arguments = ["fetch", "--json", "--source-type", "s3", "--url", &url, "--output", output.to_str().unwrap()];
        let environment = [
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/images"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
            ("AWS_ENDPOINT_URL_STS", &sts.url("/")),
        ];
        bench.run(&arguments, &environment).failed(ExitClass::Denied, "BadRedirect", "to another origin");
        assert!(stranger.seen("/").is_empty() && server.seen("/b/k").is_empty());
    }
}

#[test]
fn a_password_for_a_token_service_stays_there() {
    let (bench, stranger) = (Bench::new(), Server::start());
    let (registry, disk, _) = guarded(&bench);
    registry.server.put("/token", redirect(307, stranger.url("/token")));
    stranger.put("/token", token());
    std::fs::remove_dir_all(bench.path("secret")).unwrap();
    let secret = bench.secret(&[("username", "u"), ("password", "p")]);
    bench.fetch(&registry.url(":1"), &["--secret-dir", &secret]).done();
    assert_disk(&bench.output(), &disk);
    assert_eq!(registry.server.seen("/token")[0].header("authorization"), "Basic dTpw");
    assert_eq!(stranger.seen("/token")[0].header("authorization"), "");
}

#[test]
fn a_signature_stays_with_the_bucket() {
    let (bench, server, stranger) = (Bench::new(), Server::start(), Server::start());
    let disk = patterned(SIZE);
    let faults = vec![Fault::Answer(307, vec![("location", stranger.url("/k"))], String::new()); 2];
    server.put("/b/k", Resource { body: disk.clone().into(), faults: faults.into(), ..Resource::default() });
    stranger.serve("/k", disk.clone());
    let secret = bench.secret(&[("accessKeyId", "AKID"), ("secretKey", "S"), ("sessionToken", "T0KEN")]);
    bench.fetch(&server.url("/b/k"), &["--source-type", "s3", "--secret-dir", &secret]).done();
    assert_disk(&bench.output(), &disk);
    assert_eq!(server.seen("/b/k")[0].header("x-amz-security-token"), "T0KEN");
    for seen in stranger.seen("/k").iter().chain(&stranger.heads("/k")) {
        let ours = ["host", "user-agent", "accept", "accept-encoding", "range", "if-match"];
        let strange: Vec<_> = seen.headers.keys().filter(|name| !ours.contains(&name.as_str())).collect();
        assert!(strange.is_empty(), "{strange:?}");
    }
}

#[test]
fn a_header_that_may_be_secret_stays_where_it_is_meant_for() {
    let (server, other) = (Server::start(), Server::start());
    server.put("/a", redirect(307, server.url("/b")));
    server.put("/b", redirect(307, other.url("/c")));
    other.put("/c", redirect(307, server.url("/d")));
    server.serve("/d", "x");
    let url = Url::parse(&server.url("/a")).unwrap();
    let mut request = Request::get(&url, &Anonymous);
    for (name, value) in [("x-api-key", "s3cret"), ("cookie", "s=3cret"), ("range", "bytes=0-0")] {
        request.headers.insert(name, HeaderValue::from_static(value));
    }
    let client = reach::client(&[server.url("/"), other.url("/")]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(client.send(request)).unwrap();
    for (server, path, expected) in
        [(&server, "/a", "s3cret"), (&server, "/b", "s3cret"), (&other, "/c", ""), (&server, "/d", "")]
    {
        let seen = &server.seen(path)[0];
        assert_eq!(seen.header("x-api-key"), expected, "{path}");
        assert_eq!(seen.header("cookie").is_empty(), expected.is_empty(), "{path}");
        assert_eq!(seen.header("range"), "bytes=0-0", "{path}");
    }
}

#[test]
fn a_stranger_does_not_choose_whom_we_pass_for() {
    let (bench, server, other) = (Bench::new(), Server::start(), Server::start());
    let disk = patterned(SIZE);
    server.put("/a", redirect(302, other.url("/d").replace("://", "://mallory:pw@")));
    other.serve("/d", disk.clone());
    bench.fetch(&server.url("/a"), &[]).done();
    assert_disk(&bench.output(), &disk);
    assert!(other.seen("/d").iter().all(|seen| seen.header("authorization").is_empty()));
}
