//! The Debian packages that the embedded cluster, the worker's build of ISA-L and the tests need on the machine.

use std::path::Path;

use anyhow::{Result, bail};

use crate::command::cmd;
use crate::say::step;

/// A package, and a file of it that shows that it is there (also where it was installed by other means).
const PACKAGES: &[(&str, &str)] = &[
    ("autoconf", "/usr/bin/autoconf"),
    ("automake", "/usr/bin/automake"),
    ("buildah", "/usr/bin/buildah"),
    ("busybox-static", "/bin/busybox"),
    ("bzip2", "/usr/bin/bzip2"),
    ("conntrack", "/usr/sbin/conntrack"),
    ("containernetworking-plugins", "/usr/lib/cni/ptp"),
    ("debootstrap", "/usr/sbin/debootstrap"),
    ("e2fsprogs", "/sbin/mkfs.ext4"),
    ("iproute2", "/sbin/ip"),
    ("iptables", "/usr/sbin/iptables"),
    ("libseccomp-dev", "/usr/include/seccomp.h"),
    ("libtool", "/usr/bin/libtoolize"),
    ("make", "/usr/bin/make"),
    ("nasm", "/usr/bin/nasm"),
    ("python3-vmdkstream", "/usr/lib/python3/dist-packages/VMDKstream.py"),
    ("qemu-system-x86", "/usr/bin/qemu-system-x86_64"),
    ("qemu-utils", "/usr/bin/qemu-img"),
    ("skopeo", "/usr/bin/skopeo"),
    ("socat", "/usr/bin/socat"),
    ("util-linux", "/usr/bin/nsenter"),
    ("xfsprogs", "/sbin/mkfs.xfs"),
    ("xz-utils", "/usr/bin/xz"),
    ("zstd", "/usr/bin/zstd"),
];

/// Installs what the cluster and the tests need.
pub(crate) fn ensure() -> Result<()> {
    install(PACKAGES)
}

/// Installs what is missing of `packages`, when root; says what to install otherwise. Each is a Debian package, and a
/// file of it that shows that it is there.
///
/// # Errors
/// When something is missing and cannot be installed.
pub fn install(packages: &[(&'static str, &str)]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !rustix::process::geteuid().is_root() {
        bail!("Debian packages are missing; install them with: sudo apt-get install --no-install-recommends {names}");
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("this machine has no apt-get; install what Debian calls: {names}");
    }
    step(&format!("installing Debian packages: {names}"), || {
        let apt = || cmd("apt-get").env("DEBIAN_FRONTEND", "noninteractive");
        apt().args(["-q", "update"]).run()?;
        apt().args(["-q", "install", "-y", "--no-install-recommends"]).args(missing.iter()).run()
    })
}

fn missing(packages: &[(&'static str, &str)]) -> Vec<&'static str> {
    packages.iter().filter(|(_, file)| !Path::new(file).exists()).map(|(name, _)| *name).collect()
}
