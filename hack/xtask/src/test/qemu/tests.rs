use super::*;

#[test]
fn the_other_version_is_from_the_other_side() {
    assert_eq!(suites(7, "bookworm"), ["bookworm-backports", "bookworm"]);
    assert_eq!(suites(10, "bookworm"), ["bookworm"]);
    assert_eq!(suites(10, "trixie"), ["bookworm"]);
}

#[test]
fn versions_and_codenames_as_they_are_told() {
    let told = "qemu-img version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright\n";
    for (told, expected) in [(told, Some(10)), ("qemu-img version 7.2.22\n", Some(7)), ("qemu", None), ("", None)] {
        assert_eq!(major(told), expected, "{told}");
    }
    for (release, expected) in [
        ("NAME=x\nVERSION_CODENAME=bookworm\n", Some("bookworm")),
        ("VERSION_CODENAME=\"noble\"\n", Some("noble")),
        ("VERSION_CODENAME=\n", None),
        ("NAME=x\n", None),
    ] {
        assert_eq!(codename(release), expected, "{release}");
    }
}
