use super::*;

#[test]
fn a_lie_leads_from_the_manifest_to_the_configuration() {
    let dir = tempfile::tempdir().expect("directory");
    let disk = dir.path().join("disk.img");
    fs::write(&disk, [7; 4096]).expect("disk");
    let layout = dir.path().join("layout");
    container_disk::pack(&disk, &layout).expect("packed");
    let blobs = layout.join("blobs");
    let manifest = images::document(&blobs.join(lie(&layout).expect("a lie"))).expect("manifest");
    let config =
        images::document(&blobs.join(images::blob(&manifest, "/config/digest").expect("config"))).expect("config");
    assert_eq!(config.pointer("/rootfs/diff_ids/0"), Some(&json!(LIE)));
}
