//! What every bootable disk has in common, made once from Debian's packages: kernel, initramfs, GRUB, busybox.
//!
//! The packages are downloaded and unpacked, never installed: the machine needs no kernel package and no boot loader.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::modules;
use crate::cache;
use crate::command::cmd;

/// Debian's kernel for virtual machines: no drivers for hardware, so it is small and boots fast without KVM.
const KERNEL: &str = "linux-image-cloud-amd64";

/// The other packages. grub-common has the tool that links GRUB's modules into one image.
const PACKAGES: &[&str] = &["busybox-static", "grub-common", "grub-pc-bin"];

/// What a QEMU machine with a virtio disk and an ext4 root needs, as far as the kernel does not have it built in.
const MODULES: &[&str] = &["virtio_pci", "virtio_blk", "ext4"];

/// What GRUB needs to read `grub.cfg` and Linux from an ext4 partition, and to say so on the serial line.
const GRUB_MODULES: &[&str] = &["biosdisk", "part_msdos", "ext2", "linux", "normal", "serial", "terminal", "echo"];

const INITRAMFS_INIT: &str = include_str!("guest/initramfs.sh");
const INIT: &str = include_str!("guest/init.sh");
const GRUB_CONFIG: &str = include_str!("guest/grub.cfg");

/// Counts changes of this file that change what it makes.
const REVISION: &[u8] = b"1";

/// The finished parts.
pub(super) struct Parts {
    dir: PathBuf,
}

impl Parts {
    /// The parts from the cache, made when they are not there.
    ///
    /// # Errors
    /// When a package cannot be downloaded or unpacked.
    pub(super) fn ensure() -> Result<Self> {
        let scripts = [INITRAMFS_INIT, INIT, GRUB_CONFIG].map(str::as_bytes);
        let key = cache::key(&[&[REVISION], &scripts[..]].concat());
        let dir = cache::once("bootable-disk", &key, |dir| {
            let scratch = tempfile::tempdir_in(dir).context("cannot make a scratch directory")?;
            make(scratch.path(), &Self { dir: dir.to_owned() })
        })?;
        Ok(Self { dir })
    }

    /// The root file system, but for what differs from disk to disk.
    pub(super) fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// GRUB's first stage, for the master boot record.
    pub(super) fn boot_image(&self) -> PathBuf {
        self.dir.join("boot.img")
    }

    /// GRUB's second stage, for the sectors behind the master boot record.
    pub(super) fn core_image(&self) -> PathBuf {
        self.dir.join("core.img")
    }
}

fn make(scratch: &Path, parts: &Parts) -> Result<()> {
    let unpacked = unpack(scratch)?;
    let busybox = find(&unpacked, &|path| path.ends_with("bin/busybox"))?;
    let grub = find(&unpacked, &|path| path.ends_with("i386-pc/boot.img"))?;

    let root = parts.root();
    for dir in ["boot/grub", "bin", "sbin", "dev", "etc", "sys", "var"] {
        fs::create_dir_all(root.join(dir)).with_context(|| format!("cannot create {dir}"))?;
    }
    let kernel = find(&unpacked, &|path| name(path).starts_with("vmlinuz-"))?;
    copy(&kernel, &root.join("boot/vmlinuz"))?;
    copy(&busybox, &root.join("bin/busybox"))?;
    script(&root.join("sbin/init"), INIT)?;
    fs::write(root.join("boot/grub/grub.cfg"), GRUB_CONFIG).context("cannot write grub.cfg")?;
    initramfs(scratch, &unpacked, &busybox, &root.join("boot/initrd.img"))?;

    copy(&grub, &parts.boot_image())?;
    let modules = grub.parent().context("GRUB's modules lie in a directory")?;
    cmd(find(&unpacked, &|path| path.ends_with("bin/grub-mkimage"))?)
        .args(["-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub", "-d"])
        .arg(modules)
        .arg("-o")
        .arg(parts.core_image())
        .args(GRUB_MODULES)
        .run()
        .context("GRUB's image cannot be linked")
}

/// Downloads the packages and unpacks them all into one directory.
fn unpack(scratch: &Path) -> Result<PathBuf> {
    let packages = scratch.join("packages");
    let unpacked = scratch.join("unpacked");
    for dir in [&packages, &unpacked] {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    download(&packages).or_else(|_| {
        // The lists may be missing or older than what the mirror still has.
        cmd("apt-get").args(["-q", "update"]).run()?;
        download(&packages)
    })?;
    for entry in fs::read_dir(&packages).context("cannot list the packages")? {
        let package = entry.context("cannot list the packages")?.path();
        cmd("dpkg-deb").arg("-x").arg(package).arg(&unpacked).run()?;
    }
    Ok(unpacked)
}

fn download(dir: &Path) -> Result<()> {
    let depends = cmd("apt-cache").args(["depends", KERNEL]).output()?;
    let kernel = versioned_kernel(&depends)
        .with_context(|| format!("Debian's package {KERNEL} names no kernel; is this an amd64 Debian?"))?;
    cmd("apt-get")
        .dir(dir)
        .args(["-q", "download", kernel])
        .args(PACKAGES)
        .run()
        .context("Debian's packages for the bootable disk cannot be downloaded")
}

/// The package that the metapackage for the newest kernel stands for.
fn versioned_kernel(depends: &str) -> Option<&str> {
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
}

/// The initramfs: busybox and the drivers for the disk, as the archive that the kernel unpacks.
fn initramfs(scratch: &Path, unpacked: &Path, busybox: &Path, archive: &Path) -> Result<()> {
    let tree = scratch.join("initramfs");
    for dir in ["bin", "dev", "lib", "root"] {
        fs::create_dir_all(tree.join(dir)).with_context(|| format!("cannot create {dir}"))?;
    }
    copy(busybox, &tree.join("bin/busybox"))?;
    script(&tree.join("init"), INITRAMFS_INIT)?;

    let files = drivers(unpacked, scratch)?;
    let mut needs = BTreeMap::new();
    for (name, file) in &files {
        let module = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        needs.insert(name.clone(), modules::depends(&module));
    }
    let mut list = String::new();
    for name in modules::load_order(MODULES, &needs)? {
        let file = files.get(&name).context("only known modules are loaded")?;
        copy(file, &tree.join("lib").join(format!("{name}.ko")))?;
        list.push_str(&name);
        list.push_str(".ko\n");
    }
    fs::write(tree.join("modules"), list).context("cannot write the list of modules")?;

    let names = cmd(busybox).dir(&tree).args(["find", "."]).output()?;
    cmd(busybox)
        .dir(&tree)
        .args(["cpio", "-o", "-H", "newc", "-F"])
        .arg(archive)
        .stdin(names)
        .run()
        .context("the initramfs cannot be packed")
}

/// The kernel's modules by name, ready to be loaded: newer Debians compress them.
fn drivers(unpacked: &Path, scratch: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    walk(unpacked, &mut |path| {
        let name = name(path);
        let Some((stem, compression)) = name.split_once(".ko") else {
            return Ok(());
        };
        let stem = modules::normal(stem);
        if compression.is_empty() {
            files.insert(stem, path.to_owned());
        } else if compression == ".xz" && wanted(path) {
            let packed = scratch.join(&*name);
            copy(path, &packed)?;
            cmd("xz").arg("-d").arg(&packed).run()?;
            files.insert(stem, packed.with_extension(""));
        }
        Ok(())
    })?;
    Ok(files)
}

/// Whether a module can be one that the disk needs, by its directory: there are thousands to decompress otherwise.
fn wanted(path: &Path) -> bool {
    ["virtio", "block", "ext4", "jbd2", "fs", "lib", "crypto"]
        .iter()
        .any(|dir| path.parent().is_some_and(|parent| parent.ends_with(dir)))
}

/// The first file whose path fits.
fn find(dir: &Path, fits: &dyn Fn(&Path) -> bool) -> Result<PathBuf> {
    let mut found = None;
    walk(dir, &mut |path| {
        if found.is_none() && fits(path) {
            found = Some(path.to_owned());
        }
        Ok(())
    })?;
    found.with_context(|| format!("a file is missing from Debian's packages in {}", dir.display()))
}

fn name(path: &Path) -> Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

/// Visits every regular file below `dir`.
fn walk(dir: &Path, visit: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let entry = entry.with_context(|| format!("cannot list {}", dir.display()))?;
        let kind = entry.file_type().context("cannot tell a file's type")?;
        if kind.is_dir() {
            walk(&entry.path(), visit)?;
        } else if kind.is_file() {
            visit(&entry.path())?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

fn script(path: &Path, text: &str) -> Result<()> {
    let executable = fs::Permissions::from_mode(0o755);
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, executable))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_behind_the_metapackage() {
        let depends = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(versioned_kernel(depends), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(versioned_kernel("linux-image-cloud-amd64\n"), None);
    }
}
