//! Where a worker may not reach, however it is led there: by the image's URL, a redirect, a registry's token service.

use std::sync::Arc;

use url::Url;
use vmdisk_wire::{ExitClass, Limits, SourceType};
use vmdisk_worker::failure::{Failure, Reason};
use vmdisk_worker::http::{Anonymous, Client, Options, Request};
use vmdisk_worker::policy::Policy;

use crate::jobs;
use crate::server::{Fault, Resource, Server};
use crate::support::{Bench, patterned};

/// The worker's own loopback, and a cloud's metadata, as somebody might write them who does not want it to be seen.
const FORBIDDEN: [&str; 21] = [
    "127.0.0.1",
    "127.1",
    "127.0.0.1.",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "017700000001",
    "0177.0.0.01",
    "%31%32%37.0.0.1",
    "\u{2460}\u{2461}\u{2466}.0.0.1",
    "127\u{3002}0\u{3002}0\u{3002}1",
    "localhost",
    "LOCALHOST",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[64:ff9b::127.0.0.1]",
    "0",
    "[::]",
    "169.254.169.254",
    "[fd00:ec2::254]",
];

pub(crate) fn client(allowed: &[String]) -> Client {
    // The tests link two users of rustls; the worker's own binary installs the provider itself.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let limits = Limits { allowed_sources: allowed.to_vec(), ..Limits::default() };
    Client::new(Arc::new(Policy::new(&limits).unwrap()), Options::default(), None).unwrap()
}

fn ask(client: &Client, url: &str, implied: bool) -> Failure {
    let url = Url::parse(url).unwrap();
    let origin = url.origin();
    let mut request = Request::get(&url, &Anonymous);
    request.implied = implied.then_some(&origin);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(client.send(request)).unwrap_err()
}

#[test]
fn no_spelling_of_an_address_is_reached() {
    let server = Server::start();
    server.serve("/d", "secret");
    let port = Url::parse(&server.url("")).unwrap().port().unwrap();
    let client = client(&[]);
    for host in FORBIDDEN {
        for implied in [false, true] {
            let failure = ask(&client, &format!("http://{host}:{port}/d"), implied);
            assert_eq!(failure.reason, Reason::SourceNotAllowed, "{host}: {failure}");
        }
    }
    assert!(server.seen("/d").is_empty());
}

#[test]
fn no_redirect_reaches_it() {
    let (server, inner) = (Server::start(), Server::start());
    inner.serve("/d", "secret");
    let port = Url::parse(&inner.url("")).unwrap().port().unwrap();
    // Named as a prefix, so that the address of the server itself is no obstacle.
    let client = client(&[server.url("/")]);
    for host in FORBIDDEN {
        for location in
            [format!("http://{host}:{port}/d"), format!("//{host}:{port}/d"), format!("http://u:p@{host}:{port}/d")]
        {
            let Ok(location) = reqwest::header::HeaderValue::from_bytes(location.as_bytes()) else { continue };
            let Ok(location) = location.to_str() else { continue };
            let faults = [Fault::Answer(302, vec![("location", location.to_owned())], String::new())].into();
            server.put("/d", Resource { faults, ..Resource::default() });
            let failure = ask(&client, &server.url("/d"), false);
            assert_eq!(failure.reason, Reason::SourceNotAllowed, "{location}: {failure}");
        }
    }
    assert!(inner.seen("/d").is_empty());
}

#[test]
fn no_registry_is_asked_there() {
    let (bench, server) = (Bench::new(), Server::start());
    let mut job = jobs::job(&bench, &server, "/");
    job.source.source_type = SourceType::Registry;
    job.limits.allowed_sources = Vec::new();
    for host in ["127.0.0.1:1", "2130706433:1", "0x7f.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "localhost:1"] {
        job.source.url = format!("docker://{host}/lab/vm:1");
        bench.job(&job).failed(ExitClass::Denied, "SourceNotAllowed", "loopback");
    }
}

#[test]
fn no_token_service_is_asked_there() {
    for realm in ["https://169.254.169.254/token", "https://[fd00:ec2::254]/token", "https://0xa9fea9fe/token"] {
        let (bench, registry) = (Bench::new(), Server::start());
        let challenge = format!("Bearer realm=\"{realm}\"");
        let refuse = Fault::Answer(401, vec![("www-authenticate", challenge)], String::new());
        registry.put("/v2/lab/vm/manifests/1", Resource { faults: [refuse].into(), ..Resource::default() });
        let secret = bench.secret(&[("username", "u"), ("password", "p")]);
        // By hand, this machine's own registry is reached, and still not what it leads to.
        let run = bench.fetch(&format!("docker://{}/lab/vm:1", registry.host()), &["--secret-dir", &secret]);
        run.failed(ExitClass::Denied, "SourceNotAllowed", "metadata");
    }
}

#[test]
fn the_proxy_is_no_source() {
    let (bench, proxy) = (Bench::new(), Server::start());
    proxy.serve("/d", patterned(1 << 20));
    let mut job = jobs::job(&bench, &proxy, "/d");
    job.source.url = job.source.url.replace("127.0.0.1", "localhost");
    job.limits.allowed_sources = Vec::new();
    let text = serde_json::to_string(&job).unwrap();
    let log = bench.path("log");
    let named = proxy.url("").replace("127.0.0.1", "localhost");
    // Only the other protocol goes through the proxy.
    let environment =
        [("VMDISK_JOB", text.as_str()), ("VMDISK_TERMINATION_LOG", log.to_str().unwrap()), ("https_proxy", &named)];
    bench.run(&["run"], &environment).failed(ExitClass::Denied, "SourceNotAllowed", "the host of the proxy");
    assert!(proxy.seen("/d").is_empty());
}
