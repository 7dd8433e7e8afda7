//! `cargo xtask deploy`: the project's own images and manifests on the embedded cluster.

use std::path::PathBuf;

use anyhow::Result;
use vmdisk_e2e::command::cmd;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::launcher;
use vmdisk_e2e::say::step;

/// Compiles the programs and deploys them.
pub(crate) fn run() -> Result<()> {
    let instance = Instance::current()?;
    let programs = build(&instance)?;
    launcher::deploy(&instance, &programs)
}

/// Compiles controller and worker as they are released, and gives the directory with both.
pub(crate) fn build(instance: &Instance) -> Result<PathBuf> {
    step("compiling controller and worker (release)", || {
        let packages = ["--package", "vmdisk-controller", "--package", "vmdisk-worker"];
        cmd("cargo").dir(instance.checkout()).args(["build", "--release", "--bins"]).args(packages).run()
    })?;
    Ok(target_dir(instance).join("release"))
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir(instance: &Instance) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => instance.checkout().join(dir),
        None => instance.checkout().join("target"),
    }
}
