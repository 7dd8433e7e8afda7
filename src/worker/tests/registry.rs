//! A registry as a source: platforms, tokens, digests.

use serde_json::{Value, json};
use vmdisk_wire::ExitClass;

use crate::repository::{EMPTY, OCI, Registry, TAR, digest, layer};
use crate::server::{Fault, Resource, Server};
use crate::support::{self, Bench, assert_disk, noise};

const SIZE: usize = 3 << 20;

#[test]
fn an_index_is_followed_to_this_platform() {
    let (bench, registry) = (Bench::new(), Registry::start());
    let disk = noise(SIZE, 1);
    let mut here = registry.image("inner", &[registry.blob(TAR, layer(&[("disk/vm.img", &disk)]))]);
    let other = registry.image("other", &[registry.blob(TAR, layer(&[("disk/vm.img", b"no disk at all")]))]);
    let platform = |descriptor: &Value, architecture: &str| {
        let mut descriptor = descriptor.clone();
        descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
        descriptor
    };
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    for (tag, media_type) in [
        ("oci", "application/vnd.oci.image.index.v1+json"),
        ("docker", "application/vnd.docker.distribution.manifest.list.v2+json"),
    ] {
        let manifests = [platform(&other, "s390x"), platform(&here, arch)];
        let index = registry.manifest(tag, media_type, &json!({"schemaVersion": 2, "manifests": manifests}));
        let run = bench.fetch(&registry.url(&format!(":{tag}")), &[]).done();
        assert_disk(&bench.output(), &disk);
        assert_eq!(run.report.source.digest.as_deref(), index["digest"].as_str());
    }
    let index = json!({"schemaVersion": 2, "manifests": [platform(&other, "s390x")]});
    registry.manifest("foreign", "application/vnd.oci.image.index.v1+json", &index);
    bench.fetch(&registry.url(":foreign"), &[]).failed(ExitClass::SourceMissing, "NoPlatform", "linux/s390x");
    // An entry that the registry answers with other bytes.
    here["digest"] = json!(digest(b"another"));
    registry.put(&format!("manifests/{}", digest(b"another")), "{}");
    let index = json!({"schemaVersion": 2, "manifests": [platform(&here, arch)]});
    registry.manifest("forged", "application/vnd.oci.image.index.v1+json", &index);
    bench.fetch(&registry.url(":forged"), &[]).failed(ExitClass::VerificationFailed, "DigestMismatch", "manifest");
}

#[test]
fn a_layer_of_other_bytes_or_another_length_never_becomes_a_disk() {
    let (bench, registry) = (Bench::new(), Registry::start());
    let good = layer(&[("disk/vm.img", &noise(SIZE, 1))]);
    let descriptor = registry.blob(TAR, good.clone());
    registry.image("1", std::slice::from_ref(&descriptor));
    let path = format!("blobs/{}", descriptor["digest"].as_str().unwrap());
    let forged = layer(&[("disk/vm.img", &noise(SIZE, 2))]);
    // Of the same length, so that the digest alone tells.
    let mut forged = forged;
    forged.resize(good.len(), 0);
    registry.put(&path, forged);
    let run = bench.fetch(&registry.url(":1"), &[]);
    assert!(
        matches!(run.report.reason.as_str(), "DigestMismatch" | "MalformedArchive"),
        "{}: {}",
        run.report.reason,
        run.report.message
    );
    assert!(!bench.output().exists());

    let mut raw = noise(SIZE, 1);
    let empty = registry.blob(EMPTY, "{}");
    let descriptor = registry.blob("x", raw.clone());
    registry.manifest("raw", OCI, &json!({"schemaVersion": 2, "config": empty, "layers": [descriptor]}));
    let path = format!("blobs/{}", descriptor["digest"].as_str().unwrap());
    raw[SIZE / 2] ^= 1;
    registry.put(&path, raw.clone());
    let run = bench.fetch(&registry.url(":raw"), &[]);
    run.failed(ExitClass::VerificationFailed, "DigestMismatch", "the manifest promises");
    raw.push(0);
    registry.put(&path, raw);
    let run = bench.fetch(&registry.url(":raw"), &[]);
    run.failed(ExitClass::VerificationFailed, "SizeMismatch", "the manifest says");
    assert!(!bench.output().exists());
}

#[test]
fn tokens_are_fetched_where_the_registry_says_and_renewed_when_they_expire() {
    let (bench, registry) = (Bench::new(), Registry::start());
    let disk = noise(SIZE, 1);
    let blob = registry.blob(TAR, layer(&[("disk/vm.img", &disk)]));
    let blob_path = format!("/v2/lab/vm/blobs/{}", blob["digest"].as_str().unwrap());
    registry.image("1", &[blob]);
    let server = &registry.server;
    let challenge =
        format!("Bearer realm=\"{}\",service=\"reg\",scope=\"repository:lab/vm:pull\"", server.url("/token"));
    let guard = |path: &str, authorization: &str| {
        server.change(path, |resource| {
            resource.authorization = Some((authorization.to_owned(), challenge.clone()));
        });
    };
    guard("/v2/lab/vm/manifests/1", "Bearer one");
    guard(&blob_path, "Bearer two");
    let token = |value: &str| Fault::Answer(200, Vec::new(), format!("{{\"token\": \"{value}\"}}"));
    let basic = "Basic dTpw".to_owned();
    server.put("/token", Resource { faults: [token("one"), token("two")].into(), ..Resource::default() });
    let config = format!("{{\"auths\": {{\"{}/lab\": {{\"auth\": \"dTpw\"}}}}}}", server.host());
    let secret = bench.secret(&[(".dockerconfigjson", &config)]);
    bench.fetch(&registry.url(":1"), &["--secret-dir", &secret]).done();
    assert_disk(&bench.output(), &disk);
    let asked = server.seen("/token");
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|asked| asked.header("authorization") == basic));
    assert!(asked[0].query.contains("service=reg") && asked[0].query.contains("scope=repository%3Alab%2Fvm%3Apull"));
    // The password itself never goes to the registry.
    assert!(server.seen("/v2/lab/vm/manifests/1").iter().all(|seen| seen.header("authorization") != basic));

    server.put(
        "/token",
        Resource { faults: [Fault::Answer(401, Vec::new(), String::new())].into(), ..Resource::default() },
    );
    bench.fetch(&registry.url(":1"), &[]).failed(ExitClass::Denied, "Unauthorized", "401");
}

#[test]
fn a_server_that_a_redirect_led_to_cannot_ask_for_the_password() {
    let (bench, registry, storage) = (Bench::new(), Registry::start(), Server::start());
    let blob = registry.blob(TAR, layer(&[("disk/vm.img", &noise(SIZE, 1))]));
    let path = format!("/v2/lab/vm/blobs/{}", blob["digest"].as_str().unwrap());
    registry.image("1", &[blob]);
    let away = Fault::Answer(307, vec![("location", storage.url("/blob"))], String::new());
    registry.server.put(&path, Resource { faults: vec![away; 4].into(), ..Resource::default() });
    let challenge = format!("Bearer realm=\"{}\"", storage.url("/token"));
    let refuse = Fault::Answer(401, vec![("www-authenticate", challenge)], String::new());
    storage.put("/blob", Resource { faults: vec![refuse; 4].into(), ..Resource::default() });
    let secret = bench.secret(&[("username", "u"), ("password", "p")]);
    let run = bench.fetch(&registry.url(":1"), &["--secret-dir", &secret]);
    run.failed(ExitClass::Denied, "Unauthorized", "401");
    assert!(storage.seen("/token").is_empty(), "the realm of a stranger is not asked");
    assert!(storage.seen("/blob").iter().all(|seen| seen.header("authorization").is_empty()));
}

#[test]
fn a_layer_that_breaks_goes_on_by_its_digest_alone() {
    let (bench, registry) = (Bench::new(), Registry::start());
    let disk = noise(SIZE, 1);
    let blob = registry.blob(TAR, layer(&[("disk/vm.img", &disk)]));
    registry.image("1", std::slice::from_ref(&blob));
    let path = format!("/v2/lab/vm/blobs/{}", blob["digest"].as_str().unwrap());
    registry.server.change(&path, |resource| resource.faults = [Fault::Cut(900_001)].into());
    let run = bench.fetch(&registry.url(":1"), &[]).done();
    assert_disk(&bench.output(), &disk);
    assert_eq!(Some(run.report.bytes_fetched), blob["size"].as_u64());
    let resumed = registry.server.seen(&path).iter().any(|seen| seen.header("range") == "bytes=900001-1048575");
    assert!(resumed, "{:?}", registry.server.seen(&path));
}

#[test]
fn what_is_not_there_is_missing_and_what_is_no_reference_is_told() {
    let (bench, registry) = (Bench::new(), Registry::start());
    bench.fetch(&registry.url(":none"), &[]).failed(ExitClass::SourceMissing, "NotFound", "404");
    bench.fetch("docker://host/UPPER", &[]).failed(ExitClass::BadJob, "InvalidUrl", "docker://host/repository");
}

#[test]
fn a_checksum_is_that_of_the_layer_with_the_disk() {
    let (bench, registry) = (Bench::new(), Registry::start());
    let disk = noise(8 * SIZE, 1);
    let lower = layer(&[("disk/vm.img", &disk)]);
    let upper = layer(&[("etc/motd", b"hello")]);
    registry.image("2", &[registry.blob(TAR, lower.clone()), registry.blob(TAR, upper.clone())]);
    let url = registry.url(":2");
    bench.fetch(&url, &["--checksum", &digest(&lower)]).done();
    assert_disk(&bench.output(), &disk);
    std::fs::remove_file(bench.output()).unwrap();
    let run = bench.fetch(&url, &["--checksum", &digest(&upper)]);
    let run = run.failed(ExitClass::VerificationFailed, "DigestMismatch", "checksum promises");
    assert!(run.report.bytes_fetched < (lower.len() + upper.len()) as u64, "told before the download");
    let sha512 = support::digest(&ring::digest::SHA512, &lower);
    bench.fetch(&url, &["--checksum", &sha512]).failed(ExitClass::BadJob, "BadJob", "sha256");
    registry.image("1", &[registry.blob(TAR, lower)]);
    bench.fetch(&registry.url(":1"), &["--checksum", &sha512]).done();
}
