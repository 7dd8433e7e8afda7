use super::super::rows::ROWS;
use super::*;

fn script_of(name: &str) -> String {
    script(ROWS.iter().find(|row| row.name == name).expect("a row"))
}

#[test]
fn a_layer_is_copied_unpacked_and_converted() {
    let script = script_of("layer-qcow2-tar-gz");
    let steps: Vec<_> = script.lines().map(|line| line.split(' ').next().unwrap_or_default()).collect();
    assert_eq!(steps, ["skopeo", "tar", "qemu-img", "sync"]);
}

#[test]
fn a_raw_disk_is_not_converted() {
    for name in ["http-raw", "http-raw-gz", "s3-raw"] {
        assert!(!script_of(name).contains("qemu-img"), "{name}");
    }
    assert!(script_of("http-raw-xz").contains("| xz -d"));
}
