//! The image that runs a VM: QEMU, and nothing that a demo's machine does not need.

use std::fs;

use anyhow::{Context as _, Result};

use crate::cache;
use crate::environment::Environment;
use crate::instance::Instance;
use crate::launcher::images::Builder;
use crate::say::step;

/// The recipe, below the checkout's root.
const DOCKERFILE: &str = "hack/cluster/images/vm/Dockerfile";

/// The name of the image in the builder's storage.
const LOCAL: &str = "localhost/vmdisk-vm:built";

/// Puts the image into the running cluster's registry, and gives its name there. It is built once for each version of
/// its recipe, and kept in the cache.
///
/// # Errors
/// When it cannot be built or pushed, or no cluster is up.
pub fn ensure(instance: &Instance) -> Result<String> {
    let environment = Environment::load(instance)?;
    let recipe = fs::read(instance.checkout().join(DOCKERFILE)).with_context(|| format!("cannot read {DOCKERFILE}"))?;
    let key = cache::key(&[&recipe]);
    let builder = Builder::new()?;
    let layout = cache::once("images", &format!("vm-{key}"), |dir| {
        step("building the image that runs VMs: QEMU from Debian packages (once, about a minute)", || {
            // The recipe takes nothing from the build context of programs.
            builder.build(instance.checkout(), DOCKERFILE, dir, LOCAL)?;
            builder.save(LOCAL, dir)
        })
    })?;

    let name = format!("{}/vm:{key}", environment.get("REGISTRY")?);
    let ca = environment.path("CA_FILE")?;
    let trust = ca.parent().context("the CA's certificate lies in a directory of its own")?;
    step(&format!("pushing {name}"), || builder.copy(&layout, &name, trust))?;
    Ok(name)
}
