use super::*;

fn known(modules: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
    let owned = |needs: &[&str]| needs.iter().map(|need| (*need).to_owned()).collect();
    modules.iter().map(|(name, needs)| ((*name).to_owned(), owned(needs))).collect()
}

#[test]
fn dependencies_are_read_from_the_modinfo_section() {
    for (module, expected) in [
        (&b"\x7fELF\0license=GPL\0depends=virtio,virtio-ring\0name=x\0"[..], &["virtio", "virtio_ring"][..]),
        (b"\0depends=\0name=x\0", &[]),
        (b"\0vermagic=6.1\0", &[]),
        // Another key that ends in the same letters.
        (b"\0softdepends=pre\0depends=a", &["a"]),
    ] {
        assert_eq!(depends(module), expected, "{}", String::from_utf8_lossy(module));
    }
}

#[test]
fn what_is_needed_loads_first_and_once() {
    let known = known(&[
        ("blk", &["virtio", "ring"]),
        ("pci", &["ring", "legacy", "virtio"]),
        ("virtio", &["ring"]),
        ("ring", &[]),
        ("legacy", &["built_in"]),
        ("unrelated", &[]),
    ]);
    let order = load_order(&["pci", "blk", "ext4"], &known).expect("no circle");
    assert_eq!(order, ["ring", "legacy", "virtio", "pci", "blk"]);
}

#[test]
fn a_circle_is_an_error() {
    let known = known(&[("a", &["b"]), ("b", &["a"])]);
    assert!(load_order(&["a"], &known).is_err());
}
