//! Artifacts: manifests whose blobs are disks themselves.

use serde_json::{Value, json};
use vmdisk_wire::{ExitClass, Format};

use crate::repository::{EMPTY, OCI, Registry, archive, digest, gzip};
use crate::server::{Fault, Resource};
use crate::support::{Bench, assert_disk, noise};

const SIZE: usize = 3 << 20;
const KUBEVIRT: &str = "application/vnd.kubevirt.disk.raw+zstd";
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

/// Uploads an artifact of these blobs.
fn artifact(registry: &Registry, tag: &str, artifact_type: &str, layers: &[Value]) {
    let config = registry.blob(EMPTY, "{}");
    let manifest = json!({"schemaVersion": 2, "mediaType": OCI, "artifactType": artifact_type,
        "config": config, "layers": layers});
    registry.manifest(tag, OCI, &manifest);
}

fn annotated(mut descriptor: Value, annotations: &Value) -> Value {
    descriptor["annotations"] = annotations.clone();
    descriptor
}

/// A disk as KubeVirt exports it: one zstd frame that does not say how long its content is.
fn exported(registry: &Registry, name: &str, size: &str, disk: &[u8]) -> Value {
    let blob = registry.blob(KUBEVIRT, zstd::encode_all(disk, 1).unwrap());
    let title = format!("{name}.raw.zst");
    annotated(
        blob,
        &json!({"io.kubevirt.disk.name": name, "io.kubevirt.disk.size": size,
        "org.opencontainers.image.title": title}),
    )
}

/// Uploads what KubeVirt exports of a virtual machine: an index, a manifest for its architecture, the machine itself.
fn machine(registry: &Registry, tag: &str, kind: &str, disks: &[Value]) {
    let config = registry.blob(&format!("application/vnd.kubevirt.{kind}.config.v1+json"), r#"{"kind": "any"}"#);
    let artifact_type = format!("application/vnd.kubevirt.{kind}.v1");
    let manifest = json!({"schemaVersion": 2, "mediaType": OCI, "artifactType": artifact_type,
        "config": config, "layers": disks});
    let mut entry = registry.manifest("inner", OCI, &manifest);
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    entry["platform"] = json!({"os": "linux", "architecture": architecture});
    let index = "application/vnd.oci.image.index.v1+json";
    let document = json!({"schemaVersion": 2, "mediaType": index, "artifactType": artifact_type, "manifests": [entry]});
    registry.manifest(tag, index, &document);
}

#[test]
fn a_virtual_machine_as_kubevirt_exports_it() {
    let (bench, registry) = (Bench::new(), Registry::start());
    let (disk, other) = (noise(SIZE, 1), noise(2 * SIZE, 2));
    let root = exported(&registry, "rootdisk", "3Mi", &disk);
    let data = exported(&registry, "data", "6Mi", &other);
    for kind in ["virtualmachine", "virtualmachinetemplate"] {
        machine(&registry, kind, kind, std::slice::from_ref(&root));
        let run = bench.fetch(&registry.url(&format!(":{kind}")), &[]).done();
        assert_disk(&bench.output(), &disk);
        assert_eq!(run.report.source.format, Some(Format::Raw));
        std::fs::remove_file(bench.output()).unwrap();
    }
    machine(&registry, "two", "virtualmachine", &[root.clone(), data.clone()]);
    let url = registry.url(":two");
    bench.fetch(&url, &[]).failed(ExitClass::Malformed, "NoDisk", "holds 2 disks: rootdisk, data; name the one");
    let by_digest = data["digest"].as_str().unwrap();
    for (path, disk) in [
        ("data", &other),
        ("rootdisk", &disk),
        ("data.raw.zst", &other),
        ("/rootdisk.raw.zst", &disk),
        (by_digest, &other),
    ] {
        bench.fetch(&url, &["--path", path]).done();
        assert_disk(&bench.output(), disk);
        std::fs::remove_file(bench.output()).unwrap();
    }
    bench.fetch(&url, &["--path", "swap"]).failed(ExitClass::Malformed, "NoDisk", "rootdisk, data");
}

#[test]
fn the_size_that_an_export_promises_is_held_against_the_disk() {
    let (bench, registry) = (Bench::new(), Registry::start());
    let disk = noise(SIZE, 1);
    let fetch = |size: &str| {
        machine(&registry, "1", "virtualmachine", &[exported(&registry, "root", size, &disk)]);
        bench.fetch(&registry.url(":1"), &[])
    };
    for lie in ["2Mi", "4Mi", "3145729"] {
        fetch(lie).failed(ExitClass::VerificationFailed, "SizeMismatch", "the manifest promises");
        assert!(!bench.output().exists());
    }
    // Told before the download: the frame itself does not say how large it is.
    let run = fetch("7Ei").failed(ExitClass::DoesNotFit, "DoesNotFit", "request at least");
    assert_eq!(run.report.bytes_fetched, 0);
    for honest in ["3Mi", "3145728", "3072Ki", "what is no quantity is no promise"] {
        fetch(honest).done();
        assert_disk(&bench.output(), &disk);
        std::fs::remove_file(bench.output()).unwrap();
    }
}

#[test]
fn a_single_file_as_oras_pushes_it() {
    let (bench, registry) = (Bench::new(), Registry::start());
    let disk = bench.raw("raw", SIZE);
    let qcow2 = bench.convert("raw", "qcow2", &[]);
    for (tag, media_type, blob, format, in_a_layer) in [
        // ORAS calls any file a tar archive.
        ("raw", TAR, disk.clone(), Format::Raw, &[][..]),
        ("qcow2", TAR, qcow2.clone(), Format::Qcow2, &[]),
        ("gzip", TAR, gzip(&qcow2), Format::Qcow2, &[]),
        ("tar", "application/octet-stream", archive(&[("vm.qcow2", &qcow2)]), Format::Qcow2, &["--path", "vm.qcow2"]),
    ] {
        let blob = annotated(registry.blob(media_type, blob), &json!({"org.opencontainers.image.title": "vm"}));
        artifact(&registry, tag, "application/vnd.unknown.artifact.v1", std::slice::from_ref(&blob));
        for arguments in [&[][..], &["--path", "vm"]] {
            let run = bench.fetch(&registry.url(&format!(":{tag}")), arguments).done();
            assert_disk(&bench.output(), &disk);
            assert_eq!(run.report.source.format, Some(format), "{tag}");
            std::fs::remove_file(bench.output()).unwrap();
        }
        // With the configuration that old versions wrote, it is a layer of an image.
        registry.image(tag, &[blob]);
        bench.fetch(&registry.url(&format!(":{tag}")), in_a_layer).done();
        assert_disk(&bench.output(), &disk);
        std::fs::remove_file(bench.output()).unwrap();
    }
}

#[test]
fn among_several_blobs_the_user_chooses() {
    let (bench, registry) = (Bench::new(), Registry::start());
    let (disk, other) = (noise(SIZE, 1), noise(SIZE, 2));
    let title = |name: &str| json!({"org.opencontainers.image.title": name});
    let notes = annotated(registry.blob("text/plain", "read me"), &title("README.md"));
    let (one, two) = (registry.blob("x/a", disk.clone()), registry.blob("x/b", other.clone()));
    artifact(&registry, "kubevirt", "x/vm", &[notes.clone(), exported(&registry, "root", "3Mi", &disk)]);
    bench.fetch(&registry.url(":kubevirt"), &[]).done();
    assert_disk(&bench.output(), &disk);
    std::fs::remove_file(bench.output()).unwrap();

    artifact(&registry, "several", "x/vm", &[notes, one.clone(), two.clone()]);
    let run = bench.fetch(&registry.url(":several"), &[]).failed(ExitClass::Malformed, "NoDisk", "README.md, sha256:");
    assert!(
        run.report.message.contains("(x/a)") && run.report.message.contains("part numbers"),
        "{}",
        run.report.message
    );
    bench.fetch(&registry.url(":several"), &["--path", two["digest"].as_str().unwrap()]).done();
    assert_disk(&bench.output(), &other);
}

/// A part of a disk as `oras push` gets it from who cuts disks.
fn part(registry: &Registry, number: usize, total: usize, bytes: Vec<u8>) -> Value {
    let blob = registry.blob(&format!("{TAR};part.number={number};part.total={total}"), bytes);
    annotated(blob, &json!({"org.opencontainers.image.title": format!("disk.img.part.{number}")}))
}

#[test]
fn a_disk_that_is_cut_into_layers() {
    const CUT: usize = 1_000_003;
    let (bench, registry) = (Bench::new(), Registry::start());
    let raw = bench.raw("raw", 2 * SIZE);
    let qcow2 = bench.convert("raw", "qcow2", &[]);
    let whole = gzip(&archive(&[("disk.img", &qcow2)]));
    let config =
        annotated(registry.blob("application/json", "{}"), &json!({"org.opencontainers.image.title": "config.json"}));
    let members: Vec<u8> = raw.chunks(CUT).flat_map(gzip).collect();
    let cut = |bytes: &[u8]| bytes.chunks(CUT).map(<[u8]>::to_vec).collect::<Vec<_>>();
    for (tag, parts, bytes) in [
        ("raw", cut(&raw), &raw),
        ("qcow2", cut(&qcow2), &qcow2),
        ("an-archive", cut(&whole), &whole),
        ("each-compressed", raw.chunks(CUT).map(gzip).collect(), &members),
    ] {
        assert!(parts.len() > 1, "{tag}");
        let total = parts.len();
        let mut layers = vec![config.clone()];
        // In no order, as registries may keep them.
        layers.extend(parts.into_iter().enumerate().rev().map(|(at, bytes)| part(&registry, at + 1, total, bytes)));
        artifact(&registry, tag, "x/vm", &layers);
        let url = registry.url(&format!(":{tag}"));
        // What the user promises is the digest of all that is fetched.
        for arguments in [vec![], vec!["--checksum".into(), digest(bytes)]] {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let run = bench.fetch(&url, &arguments).done();
            assert_disk(&bench.output(), &raw);
            assert_eq!(run.report.bytes_fetched, bytes.len() as u64, "{tag}: each byte once");
            assert_eq!(run.report.source.size, Some(bytes.len() as u64));
            std::fs::remove_file(bench.output()).unwrap();
        }
        let run = bench.fetch(&url, &["--checksum", &digest(b"other")]);
        run.failed(ExitClass::VerificationFailed, "DigestMismatch", "checksum promises");
        let run = bench.run(&["inspect", "--json", "--url", &url], &[]).done();
        assert_eq!(run.report.source.size, Some(bytes.len() as u64));
    }
}

#[test]
fn a_part_that_is_wrong_or_missing_never_becomes_a_disk() {
    let (bench, registry) = (Bench::new(), Registry::start());
    let disk = noise(SIZE, 1);
    let parts: Vec<Value> =
        disk.chunks(SIZE / 3).enumerate().map(|(at, bytes)| part(&registry, at + 1, 3, bytes.to_vec())).collect();
    artifact(&registry, "two", "x/vm", &parts[..2]);
    let url = registry.url(":two");
    bench.fetch(&url, &[]).failed(ExitClass::Malformed, "MalformedManifest", "into 3 parts and has 2");

    artifact(&registry, "1", "x/vm", &parts);
    let url = registry.url(":1");
    bench.fetch(&url, &["--path", "disk.img.part.2"]).failed(ExitClass::Malformed, "NoDisk", "one of the 3 parts");
    let second = format!("blobs/{}", parts[1]["digest"].as_str().unwrap());
    let mut wrong = disk[SIZE / 3..2 * (SIZE / 3)].to_vec();
    let right = wrong.clone();
    wrong[77] ^= 1;
    registry.put(&second, wrong);
    let run = bench.fetch(&url, &[]);
    run.failed(ExitClass::VerificationFailed, "DigestMismatch", parts[1]["digest"].as_str().unwrap());
    registry.put(&second, right[1..].to_vec());
    let run = bench.fetch(&url, &[]);
    assert_eq!(run.report.class, ExitClass::VerificationFailed, "{}", run.report.message);
    assert!(!bench.output().exists());

    // One that breaks goes on where it broke.
    let faults = [Fault::Cut(700_001)].into();
    registry
        .server
        .put(&format!("/v2/lab/vm/{second}"), Resource { body: right.into(), faults, ..Resource::default() });
    let run = bench.fetch(&url, &[]).done();
    assert_disk(&bench.output(), &disk);
    assert_eq!(run.report.bytes_fetched, SIZE as u64);
}
