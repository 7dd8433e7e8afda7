//! `cargo xtask deploy`: the project's own images and manifests on the embedded cluster.

use std::path::PathBuf;

use anyhow::Result;
use vmdisk_e2e::command::cmd;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::launcher;
use vmdisk_e2e::say::step;

/// How a deployment is asked.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Compile the programs as they are released, which takes several times as long
    #[arg(long)]
    release: bool,
}

impl Options {
    /// The profile that is asked for.
    pub(crate) fn profile(&self) -> Profile {
        if self.release { Profile::Release } else { Profile::Images }
    }
}

/// How the programs are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// As fast as the released ones, or nearly, and compiled in a fraction of the time: for tests and the demo.
    Images,
    /// As they are released: for what is measured.
    Release,
}

impl Profile {
    /// What cargo calls it, and its directory.
    fn name(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Release => "release",
        }
    }
}

/// Compiles the programs and deploys them.
pub(crate) fn run(profile: Profile) -> Result<()> {
    let instance = Instance::current()?;
    let programs = build(&instance, profile)?;
    launcher::deploy(&instance, &programs)
}

/// Compiles controller and worker, and gives the directory with both.
pub(crate) fn build(instance: &Instance, profile: Profile) -> Result<PathBuf> {
    let name = profile.name();
    step(&format!("compiling controller and worker (profile {name})"), || {
        let packages = ["--package", "vmdisk-controller", "--package", "vmdisk-worker"];
        cmd("cargo").dir(instance.checkout()).args(["build", "--profile", name, "--bins"]).args(packages).run()
    })?;
    Ok(target_dir(instance).join(name))
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir(instance: &Instance) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => instance.checkout().join(dir),
        None => instance.checkout().join("target"),
    }
}
