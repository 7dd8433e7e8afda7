//! The images that the cluster needs before ours: the sandbox's, and the base that stands for a public Debian image.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Launcher;
use super::services::{authority, ports};
use crate::cache;
use crate::command::{Cmd, cmd};
use crate::instance::Instance;
use crate::say::{say, step};

/// What the Dockerfiles' `ARG BASE` says; the machine's own image answers to it.
const BASE_NAME: &str = "docker.io/library/debian:trixie-slim";
/// The release of that image.
const SUITE: &str = "trixie";
/// Changes when the recipes below do.
const RECIPE: &str = "2";

/// The storage of images that are built on this machine.
pub(crate) struct Builder {
    storage: PathBuf,
    /// Accepts what is built here, whatever the machine says about signatures.
    policy: PathBuf,
}

impl Builder {
    /// The builder of this cache.
    ///
    /// # Errors
    /// When its directory cannot be made.
    pub(crate) fn new() -> Result<Self> {
        let storage = cache::root()?.join("containers");
        let policy = storage.join("policy.json");
        super::write(&policy, r#"{"default": [{"type": "insecureAcceptAnything"}]}"#)?;
        Ok(Self { storage, policy })
    }

    /// A `buildah` that works on the storage, without a daemon or user namespaces.
    pub(crate) fn buildah(&self, command: &str) -> Cmd {
        cmd("buildah")
            .env("BUILDAH_ISOLATION", "chroot")
            .arg("--storage-driver=vfs")
            .arg("--root")
            .arg(self.storage.join("root"))
            .arg("--runroot")
            .arg(self.storage.join("run"))
            .arg(command)
    }

    /// Builds an image from a Dockerfile with the programs in `programs` as its build context `bin`.
    ///
    /// # Errors
    /// When the build fails.
    pub(crate) fn build(&self, checkout: &Path, dockerfile: &str, programs: &Path, name: &str) -> Result<()> {
        self.base()?;
        self.buildah("bud")
            .arg("--signature-policy")
            .arg(&self.policy)
            .args(["--layers", "--pull-never", "--quiet", "--file"])
            .arg(checkout.join(dockerfile))
            .arg(format!("--build-context=bin={}", programs.display()))
            .args(["--tag", name])
            .arg(checkout)
            .run()
    }

    /// Pushes an image of the storage to the registry under the same name.
    ///
    /// # Errors
    /// When the push fails.
    pub(crate) fn push(&self, name: &str, trust: &Path) -> Result<()> {
        self.buildah("push")
            .arg("--signature-policy")
            .arg(&self.policy)
            .arg("--cert-dir")
            .arg(trust)
            .args(["--quiet", name, &format!("docker://{name}")])
            .run()
    }

    /// Saves an image of the storage as an OCI layout in `out`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn save(&self, name: &str, out: &Path) -> Result<()> {
        self.buildah("push")
            .arg("--signature-policy")
            .arg(&self.policy)
            .args(["--quiet", name, &format!("oci:{}:image", out.display())])
            .run()
    }

    /// Copies an image from a directory to the registry.
    ///
    /// # Errors
    /// When the copy fails.
    pub(crate) fn copy(&self, from: &Path, name: &str, trust: &Path) -> Result<()> {
        cmd("skopeo")
            .arg("--policy")
            .arg(&self.policy)
            .args(["copy", "--quiet", "--dest-cert-dir"])
            .arg(trust)
            .arg(format!("oci:{}:image", from.display()))
            .arg(format!("docker://{name}"))
            .run()
    }

    /// Makes the base image known to builds.
    fn base(&self) -> Result<()> {
        let _lock = cache::lock(&self.storage.join("base.lock"))?;
        if self.buildah("inspect").args(["--type=image", BASE_NAME]).succeeds() {
            return Ok(());
        }
        let image = base_image(self)?;
        let id = self
            .buildah("pull")
            .arg("--signature-policy")
            .arg(&self.policy)
            .arg("--quiet")
            // By a relative path: buildah makes a name of it, and not every directory is a legal one (".cache").
            .dir(image.parent().context("the base image lies in the cache")?)
            .arg(format!("oci:{}:image", image.file_name().unwrap_or_default().display()))
            .output()?;
        self.buildah("tag").args([id.trim(), BASE_NAME]).run()
    }

    /// Makes an image of one directory and saves it as an OCI layout in `out`.
    fn pack(&self, root: &Path, command: &[&str], out: &Path) -> Result<()> {
        let container = self.buildah("from").arg("scratch").output()?;
        let container = container.trim();
        let packed = self.pack_into(container, root, command, out);
        self.buildah("rm").arg(container).run()?;
        packed
    }

    fn pack_into(&self, container: &str, root: &Path, command: &[&str], out: &Path) -> Result<()> {
        self.buildah("add").args(["--quiet", container]).arg(root).arg("/").run()?;
        let command = serde_json::to_string(command)?;
        self.buildah("config").args(["--cmd", &command, container]).run()?;
        self.buildah("commit")
            .arg("--signature-policy")
            .arg(&self.policy)
            .args(["--quiet", "--format=oci", container])
            .arg(format!("oci:{}:image", out.display()))
            .run()
    }
}

/// The image of every pod's sandbox.
fn pause_image(builder: &Builder) -> Result<PathBuf> {
    cache::once("images", &format!("pause-{RECIPE}"), |dir| {
        let root = dir.join("root");
        fs::create_dir_all(&root).context("cannot create the image's root")?;
        fs::copy("/bin/busybox", root.join("busybox")).context("cannot copy busybox")?;
        builder.pack(&root, &["/busybox", "sleep", "2147483647"], dir)?;
        fs::remove_dir_all(&root).context("cannot remove the image's root")
    })
}

/// The base of our images: the packages that the public image of this release holds, from Debian itself.
fn base_image(builder: &Builder) -> Result<PathBuf> {
    cache::once("images", &format!("{SUITE}-{RECIPE}"), |dir| {
        say("  making the base image from Debian packages (once, one to three minutes)");
        let root = dir.join("root");
        cmd("debootstrap").args(["--variant=minbase", SUITE]).arg(&root).run()?;
        for left in ["var/cache/apt", "var/lib/apt/lists", "var/log"] {
            let left = root.join(left);
            for entry in fs::read_dir(&left).with_context(|| format!("cannot read {}", left.display()))?.flatten() {
                let path = entry.path();
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        // By tar, which keeps owners and special files as they are.
        let tar = dir.join("root.tar");
        cmd("tar").arg("--numeric-owner").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").run()?;
        fs::remove_dir_all(&root).context("cannot remove the image's root")?;
        builder.pack(&tar, &["bash"], dir)?;
        fs::remove_file(&tar).context("cannot remove the image's archive")
    })
}

/// The name in the registry of the image that test pods run.
pub(crate) fn base_name(instance: &Instance) -> String {
    format!("{}/debian:trixie", authority(instance, ports::REGISTRY))
}

impl Launcher {
    /// Puts the images that pods need into the registry.
    pub(super) fn images(&self) -> Result<()> {
        let builder = Builder::new()?;
        let images = [(pause_image(&builder)?, self.pause_image()), (base_image(&builder)?, base_name(&self.instance))];
        for (image, name) in &images {
            // What was pushed before this cluster was half up is still there.
            let mark = self.state.join("pushed").join(name.rsplit('/').next().unwrap_or(name));
            let version = image.display().to_string();
            if fs::read_to_string(&mark).is_ok_and(|pushed| pushed == version) {
                continue;
            }
            step(&format!("pushing {name}"), || builder.copy(image, name, &self.trust_dir()))?;
            super::write(&mark, &version)?;
        }
        Ok(())
    }

    /// The name of the image of every pod's sandbox.
    pub(super) fn pause_image(&self) -> String {
        format!("{}/pause:1", authority(&self.instance, ports::REGISTRY))
    }

    /// Where containerd finds how to reach a registry.
    pub(super) fn registry_hosts(&self) -> PathBuf {
        self.state.join("registries")
    }
}
