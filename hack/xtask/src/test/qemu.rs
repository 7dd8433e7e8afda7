//! QEMU's tools in another version than the installed one, for the tests that compare our decoders with them.
//!
//! Debian 12 has 7.2, and a newer one in its backports; where a newer one is installed, the other is Debian 12's. It comes
//! from the machine's own Debian mirror, checked by apt as always, and is unpacked into the cache: nothing is installed.

mod unpacked;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use vmdisk_e2e::cache;
use vmdisk_e2e::command::cmd;
use vmdisk_e2e::say::say;

use unpacked::Unpacked;

/// Tells the tests where the tools are; who sets it brings tools of their own.
pub(super) const VARIABLE: &str = "VMDISK_OTHER_QEMU";

/// The first major version that counts as newer than Debian 12's.
const NEWER: u32 = 8;

/// The release of Debian that has 7.2.
const OLDER_SUITE: &str = "bookworm";

/// The directory with the other version's tools, fetching them when they are not in the cache.
pub(super) fn other() -> Result<PathBuf> {
    let installed = version(Path::new("qemu-img"))?;
    let directory = match env::var_os(VARIABLE) {
        Some(directory) => {
            std::path::absolute(directory).with_context(|| format!("{VARIABLE} is not a usable path"))?
        }
        None => fetched(installed).with_context(|| {
            format!(
                "the installed QEMU is version {installed}, and the tests want one {} {NEWER} beside it; \
                 without a Debian mirror, set {VARIABLE} to a directory with its qemu-img and qemu-io",
                if installed < NEWER { "from" } else { "before" },
            )
        })?,
    };
    let found = version(&directory.join("qemu-img"))?;
    ensure!(
        (installed < NEWER) != (found < NEWER),
        "QEMU {found} in {} and the installed {installed} are both on the same side of version {NEWER}: \
         set {VARIABLE} to a directory with another one",
        directory.display()
    );
    Ok(directory)
}

fn fetched(installed: u32) -> Result<PathBuf> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let codename = codename(&release).context("/etc/os-release has no VERSION_CODENAME")?;
    let suites = suites(installed, codename);
    // Unpacked libraries fit one release, one machine.
    let key = format!("{}-on-{codename}-{}", suites.join("-"), env::consts::ARCH);
    let dir = cache::once("qemu", &key, |dir| {
        say(&format!("  fetching another QEMU from Debian's {} (once)", suites[0]));
        Unpacked::at(dir)?.fetch(codename, &suites)
    })?;
    Ok(dir.join("bin"))
}

/// The suites to take the tools from, and what they need: the first one has them.
fn suites(installed: u32, codename: &str) -> Vec<String> {
    if installed < NEWER {
        vec![format!("{codename}-backports"), codename.to_owned()]
    } else {
        vec![OLDER_SUITE.to_owned()]
    }
}

fn codename(os_release: &str) -> Option<&str> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(value.trim_matches('"')).filter(|name| !name.is_empty())
}

/// The major version of a `qemu-img`.
fn version(qemu_img: &Path) -> Result<u32> {
    let told = cmd(qemu_img).arg("--version").output()?;
    major(&told).with_context(|| format!("`{} --version` tells no version: {told}", qemu_img.display()))
}

fn major(told: &str) -> Option<u32> {
    told.strip_prefix("qemu-img version ")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests;
