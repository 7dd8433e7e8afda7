use super::*;

#[test]
fn mount_points_with_odd_names_are_read() {
    for (escaped, plain) in [("/a\\040b", "/a b"), ("/plain", "/plain"), ("/x\\", "/x\\"), ("/t\\011", "/t\t")] {
        assert_eq!(unescape(escaped), plain);
    }
}

#[test]
fn the_root_is_a_mount_below_itself() {
    assert!(mounts_below(Path::new("/")).expect("readable").contains(&PathBuf::from("/")));
    assert!(mounts_below(Path::new("/no/such/directory")).expect("readable").is_empty());
}

#[test]
fn loops_on_loops_are_found_without_their_path() {
    let listing = r#"{"loopdevices": [
        {"name": "/dev/loop0", "back-maj:min": "   253:0  ", "back-ino": 93, "back-file": "/state/pool.xfs"},
        {"name": "/dev/loop1", "back-maj:min": "7:0", "back-ino": 41, "back-file": "/state/pool/a b/disk.img"},
        {"name": "/dev/loop3", "back-maj:min": "0:6", "back-ino": "95", "back-file": "/"},
        {"name": "/dev/loop4", "back-maj:min": "0:6", "back-ino": 99, "back-file": "/elsewhere/x"},
        {"name": "/dev/loop5", "back-maj:min": "0:6", "back-ino": 93, "back-file": "/"}
    ]}"#;
    // Inode 95 of devtmpfs is /dev/loop1, and 93 there has nothing to do with inode 93 of the disk.
    let node = |device: &Path| (device == Path::new("/dev/loop1")).then(|| ("0:6".to_owned(), "95".to_owned()));
    let found = ours(&parse_loops(listing).expect("a list"), Path::new("/state"), node);
    assert_eq!(found, ["/dev/loop0", "/dev/loop1", "/dev/loop3"].map(PathBuf::from));
}
