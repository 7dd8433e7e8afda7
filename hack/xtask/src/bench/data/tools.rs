//! The tools that the bench measures against. They come as Debian packages.

use anyhow::Result;
use vmdisk_e2e::launcher::packages;

/// A package, and a file of it that shows that it is there.
const PACKAGES: &[(&str, &str)] = &[
    ("curl", "/usr/bin/curl"),
    ("e2fsprogs", "/sbin/mke2fs"),
    ("fio", "/usr/bin/fio"),
    ("gzip", "/bin/gzip"),
    ("isal", "/usr/bin/igzip"),
    ("openssl", "/usr/bin/openssl"),
    ("pigz", "/usr/bin/pigz"),
    ("qemu-utils", "/usr/bin/qemu-img"),
    ("skopeo", "/usr/bin/skopeo"),
    ("tar", "/bin/tar"),
    ("util-linux", "/usr/bin/fallocate"),
    ("xz-utils", "/usr/bin/xz"),
    ("zstd", "/usr/bin/zstd"),
];

/// Installs what is missing, when root; names it otherwise.
pub(super) fn ensure() -> Result<()> {
    packages::install(PACKAGES)
}
