use super::*;

#[test]
fn the_mirror_is_the_one_that_has_this_release() {
    let uris = "'https://other.example/debian/dists/nodistro/InRelease' other 0\n\
                'https://mirror.example/debian-security/dists/bookworm-security/InRelease' security 0\n\
                'https://mirror.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' packages 0\n\
                'https://mirror.example/debian/dists/bookworm/InRelease' debian 0\n";
    assert_eq!(mirror(uris, "bookworm"), Some("https://mirror.example/debian"));
    assert_eq!(mirror(uris, "trixie"), None);
    let by_name = uris.replace("dists/bookworm/", "dists/oldstable/");
    assert_eq!(mirror(&by_name, "bookworm"), Some("https://mirror.example/debian"));
    assert_eq!(mirror("", "bookworm"), None);
}

#[test]
fn dependencies_are_names_alone() {
    let field = "libaio1 (>= 0.3.93), libc6, libfuse3-3:amd64 (>= 3.2.3), a | b\n";
    assert_eq!(dependencies(field).collect::<Vec<_>>(), ["libaio1", "libc6", "libfuse3-3", "a"]);
    assert_eq!(dependencies("\n").count(), 0);
}
