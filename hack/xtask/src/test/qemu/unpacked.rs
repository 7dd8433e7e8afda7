//! Debian packages that are unpacked instead of installed.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use vmdisk_e2e::command::{Cmd, cmd};

/// The package, and what the tests run of it.
const PACKAGE: &str = "qemu-utils";
const PROGRAMS: [&str; 2] = ["qemu-img", "qemu-io"];

/// The key of Debian's archive, where Debian itself has it.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where apt gets this release from, by what it would fetch: `'MIRROR/dists/RELEASE/InRelease' NAME SIZE`.
fn mirror<'a>(uris: &'a str, codename: &str) -> Option<&'a str> {
    let names = [codename, "stable", "oldstable", "oldoldstable"];
    uris.lines().find_map(|line| {
        let uri = line.strip_prefix('\'')?.split('\'').next()?;
        let (mirror, release) = uri.strip_suffix("/InRelease")?.rsplit_once("/dists/")?;
        names.contains(&release).then_some(mirror)
    })
}

/// The packages in a `Depends` field, of alternatives the first.
fn dependencies(field: &str) -> impl Iterator<Item = &str> {
    field
        .split(',')
        .filter_map(|package| package.split(['|', '(', ':']).next())
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

/// Packages unpacked into a directory, with an apt of its own.
pub(super) struct Unpacked<'a> {
    dir: &'a Path,
    /// apt's files, of no use afterwards.
    apt: tempfile::TempDir,
    /// What the packages hold.
    root: PathBuf,
}

impl<'a> Unpacked<'a> {
    pub(super) fn at(dir: &'a Path) -> Result<Self> {
        let apt = tempfile::tempdir_in(dir).context("cannot make a directory for apt")?;
        for name in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(apt.path().join(name)).context("cannot make a directory for apt")?;
        }
        // Nothing is installed, as this apt sees it: it would not fetch what it knows as there in a newer version.
        fs::write(apt.path().join("status"), "").context("cannot write apt's status")?;
        Ok(Self { root: dir.join("root"), dir, apt })
    }

    /// apt as the machine has it set up, with its state and its sources here.
    fn apt_get(&self, suite: &str) -> Cmd {
        let path = |name: &str| self.apt.path().join(name).display().to_string();
        let options = [
            ("Dir::State::Lists", path("lists")),
            ("Dir::State::status", path("status")),
            ("Dir::Cache", path("")),
            ("Dir::Cache::Archives", path("archives")),
            ("Dir::Etc::SourceList", path("debian.sources")),
            ("Dir::Etc::SourceParts", "-".to_owned()),
            ("APT::Default-Release", suite.to_owned()),
            // Its own user may not enter the cache.
            ("APT::Sandbox::User", "root".to_owned()),
        ];
        let options = options.iter().flat_map(|(name, value)| ["-o".to_owned(), format!("{name}={value}")]);
        cmd("apt-get").dir(self.apt.path()).arg("--quiet").args(options)
    }

    /// Fetches the programs from the first of `suites` of the machine's own mirror, with what they need and the machine
    /// has not, and makes them commands in `bin`.
    pub(super) fn fetch(&self, codename: &str, suites: &[String]) -> Result<()> {
        let suite = &suites[0];
        let uris = cmd("apt-get").args(["--print-uris", "update"]).output()?;
        let mirror = mirror(&uris, codename).with_context(|| format!("apt has no source of Debian {codename}"))?;
        let mut source = format!("Types: deb\nURIs: {mirror}\nSuites: {}\nComponents: main\n", suites.join(" "));
        if Path::new(KEYRING).exists() {
            writeln!(source, "Signed-By: {KEYRING}")?;
        }
        fs::write(self.apt.path().join("debian.sources"), source).context("cannot write apt's sources")?;
        self.apt_get(suite).arg("update").run()?;

        let mut fetched = Vec::new();
        let mut wanted = vec![PACKAGE.to_owned()];
        while !wanted.is_empty() {
            self.apt_get(suite).arg("download").args(&wanted).run()?;
            fetched.append(&mut wanted);
            let needed = self.unpack()?;
            let missing = self.missing()?;
            if missing.is_empty() {
                return self.link();
            }
            wanted = needed.into_iter().filter(|name| !fetched.contains(name) && !is_installed(name)).collect();
            ensure!(!wanted.is_empty(), "{PACKAGE} of {suite} needs what none of its packages has: {missing}");
        }
        bail!("{PACKAGE} of {suite} is empty")
    }

    /// Unpacks what was downloaded; gives what it depends on.
    fn unpack(&self) -> Result<Vec<String>> {
        let mut needed = Vec::new();
        for entry in fs::read_dir(self.apt.path()).context("cannot read apt's downloads")? {
            let file = entry?.path();
            if file.extension().is_some_and(|extension| extension == "deb") {
                cmd("dpkg-deb").arg("--extract").arg(&file).arg(&self.root).run()?;
                let depends = cmd("dpkg-deb").arg("--field").arg(&file).arg("Depends").output()?;
                needed.extend(dependencies(&depends).map(str::to_owned));
                fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
            }
        }
        Ok(needed)
    }

    /// The libraries that the programs want and nobody has.
    fn missing(&self) -> Result<String> {
        let mut missing = String::new();
        for name in PROGRAMS {
            let listing = cmd("ldd")
                .env("LD_LIBRARY_PATH", self.libraries("").join(":"))
                .arg(self.root.join("usr/bin").join(name))
                .output()?;
            missing.extend(listing.lines().filter(|line| line.ends_with("not found")));
        }
        Ok(missing)
    }

    /// The directories of unpacked libraries, below `root`.
    fn libraries(&self, root: &str) -> Vec<String> {
        let root = if root.is_empty() { self.root.display().to_string() } else { root.to_owned() };
        let mut found = Vec::new();
        for parent in ["lib", "usr/lib"] {
            let Ok(entries) = fs::read_dir(self.root.join(parent)) else { continue };
            let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
            // Those of an architecture: x86_64-linux-gnu.
            found.extend(names.filter(|name| name.contains("-linux-")).map(|name| format!("{root}/{parent}/{name}")));
        }
        found
    }

    /// Makes commands of the programs, which find their libraries wherever the directory goes.
    fn link(&self) -> Result<()> {
        let bin = self.dir.join("bin");
        fs::create_dir_all(&bin).with_context(|| format!("cannot create {}", bin.display()))?;
        let libraries = self.libraries("$root").join(":");
        let export = if libraries.is_empty() { libraries } else { format!("export LD_LIBRARY_PATH=\"{libraries}\"\n") };
        for name in PROGRAMS {
            let script = format!("#!/bin/sh\nroot=${{0%/*}}/../root\n{export}exec \"$root/usr/bin/{name}\" \"$@\"\n");
            let path = bin.join(name);
            fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))?;
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&path, mode).with_context(|| format!("cannot make {} executable", path.display()))?;
        }
        Ok(())
    }
}

fn is_installed(package: &str) -> bool {
    let state = cmd("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]).output();
    state.is_ok_and(|state| state == "installed")
}

#[cfg(test)]
mod tests;
