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
