use super::*;

#[test]
fn an_image_that_registries_and_kubevirt_understand() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = dir.path().join("disk.qcow2");
    fs::write(&disk, vec![7; 300_000]).expect("a disk");
    let layout = dir.path().join("layout");
    let packed = pack(&disk, &layout).expect("packed");

    // skopeo reads the layout with its own eyes, and checks every digest when it copies.
    let copy = dir.path().join("copy");
    cmd("skopeo")
        .args(["--insecure-policy", "copy", "--quiet", "--preserve-digests"])
        .arg(format!("oci:{}", layout.display()))
        .arg(format!("dir:{}", copy.display()))
        .run()
        .expect("a layout that skopeo copies");
    let manifest = fs::read(copy.join("manifest.json")).expect("a manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    let layer = manifest["layers"][0]["digest"].as_str().expect("a digest");
    assert_eq!(packed.layer, layer);
    let blob = copy.join(layer.trim_start_matches("sha256:"));
    let list = cmd("tar")
        .args(["--list", "--verbose", "--numeric-owner", "--gzip", "--file"])
        .arg(&blob)
        .output()
        .expect("a tar");
    assert!(list.starts_with("-r--r----- 107/107"), "{list}");
    assert!(list.trim_end().ends_with(" disk/disk.qcow2"), "{list}");
    assert_eq!(list.lines().count(), 1, "{list}");

    let digest = sha256(&copy.join("manifest.json")).expect("a digest");
    assert_eq!(packed.digest, format!("sha256:{digest}"));
}

#[test]
fn the_same_disk_is_the_same_image() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = dir.path().join("disk.qcow2");
    fs::write(&disk, b"disk").expect("a disk");
    let digest = |name| pack(&disk, &dir.path().join(name)).expect("packed").digest;
    assert_eq!(digest("one"), digest("two"));
}
