//! Artifacts: manifests whose blobs are disks themselves.

use serde_json::{Value, json};
use vmdisk_wire::ExitClass;

use crate::repository::{EMPTY, OCI, Registry};
use crate::support::{Bench, assert_disk, noise};

const SIZE: usize = 3 << 20;

#[test]
fn artifacts_of_one_blob_and_of_several() {
    let (bench, registry) = (Bench::new(), Registry::start());
    let (disk, other) = (noise(SIZE, 1), noise(SIZE, 2));
    let empty = registry.blob(EMPTY, "{}");
    let artifact = |tag: &str, layers: &[Value]| {
        let manifest = json!({"schemaVersion": 2, "config": empty, "layers": layers,
            "artifactType": "application/vnd.kubevirt.virtualmachine.v1"});
        registry.manifest(tag, OCI, &manifest);
    };
    let named = |mut descriptor: Value, key: &str, name: &str| {
        descriptor["annotations"] = json!({key: name});
        descriptor
    };
    // ORAS calls any file a tar archive.
    artifact("oras", &[registry.blob("application/vnd.oci.image.layer.v1.tar", disk.clone())]);
    bench.fetch(&registry.url(":oras"), &[]).done();
    assert_disk(&bench.output(), &disk);

    let packed = zstd::encode_all(&disk[..], 1).unwrap();
    let export = registry.blob("application/vnd.kubevirt.disk.raw+zstd", packed);
    let export = named(export, "io.kubevirt.disk.name", "rootdisk");
    let notes = registry.blob("text/plain", "read me");
    artifact("kubevirt", &[notes.clone(), export.clone()]);
    std::fs::remove_file(bench.output()).unwrap();
    bench.fetch(&registry.url(":kubevirt"), &[]).done();
    assert_disk(&bench.output(), &disk);

    let second = registry.blob("application/vnd.kubevirt.disk.raw", other.clone());
    let second = named(second, "org.opencontainers.image.title", "data.raw");
    artifact("several", &[export, second]);
    let url = registry.url(":several");
    bench.fetch(&url, &[]).failed(ExitClass::Malformed, "NoDisk", "rootdisk, data.raw");
    bench.fetch(&url, &["--path", "data.raw"]).done();
    assert_disk(&bench.output(), &other);
}
