//! Putting the project itself onto a running cluster: images by their Dockerfiles, and the manifests that users apply.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::images::Builder;
use super::services::{authority, ports};
use super::write;
use crate::cache;
use crate::command::{Cmd, cmd};
use crate::environment::Environment;
use crate::instance::Instance;
use crate::say::{say, step};

/// Where the operator lives.
const NAMESPACE: &str = "sync-operator";
/// Its programs: Dockerfile, and the name of both program and image.
const PROGRAMS: [(&str, &str); 2] =
    [("Dockerfile.controller", "vmdisk-controller"), ("Dockerfile.worker", "vmdisk-worker")];
/// Who publishes the images that the manifests name.
const PUBLISHER: &str = "ghcr.io/pelotech";

/// Builds both images from the programs in `programs`, pushes them to the cluster's registry, applies the manifests with
/// them, and waits until the controller is ready.
///
/// # Errors
/// When a step fails.
pub fn deploy(instance: &Instance, programs: &Path) -> Result<()> {
    let environment = Environment::load(instance)?;
    let builder = Builder::new()?;
    let mut images = Vec::new();
    for (dockerfile, program) in PROGRAMS {
        images.push(image(instance, &builder, &environment, programs, dockerfile, program)?);
    }
    let overlay = overlay(instance, &images)?;
    step("applying manifests/default", || {
        let apply = ["apply", "--server-side", "--force-conflicts", "--field-manager=vmdisk-deploy", "-k"];
        kubectl(&environment)?.args(apply).arg(&overlay).run()?;
        let status = ["rollout", "status", "deployment/vmdisk-controller", "--timeout=120s", "--namespace", NAMESPACE];
        kubectl(&environment)?.args(status).run()
    })?;
    say(&format!("deployed {}", images.join(" and ")));
    Ok(())
}

/// Builds and pushes one image, named by what went into it; one that was pushed before is left alone.
fn image(
    instance: &Instance,
    builder: &Builder,
    environment: &Environment,
    programs: &Path,
    dockerfile: &str,
    program: &str,
) -> Result<String> {
    let binary = programs.join(program);
    ensure!(binary.is_file(), "{} has not been built", binary.display());
    let read = |path: PathBuf| fs::read(&path).with_context(|| format!("cannot read {}", path.display()));
    let tag = cache::key(&[&read(instance.checkout().join(dockerfile))?, &read(binary.clone())?]);
    let name = format!("{}/{program}:{tag}", authority(instance, ports::REGISTRY));
    let mark = environment.path("STATE_DIR")?.join("pushed").join(format!("{program}-{tag}"));
    if mark.exists() {
        return Ok(name);
    }
    step(&format!("building the image {name}"), || {
        // A directory with this one program: a target directory holds gigabytes.
        let context = tempfile::tempdir().context("cannot create a temporary directory")?;
        fs::copy(&binary, context.path().join(program)).context("cannot copy the program")?;
        builder.build(instance.checkout(), dockerfile, context.path(), &name)
    })?;
    let ca = environment.path("CA_FILE")?;
    let trust = ca.parent().context("the CA's file lies in a directory")?;
    step(&format!("pushing {name}"), || builder.push(&name, trust))?;
    write(&mark, "")?;
    Ok(name)
}

/// A kustomization of the checkout's own that names these images. Below the checkout, because kustomize wants relative
/// paths.
fn overlay(instance: &Instance, images: &[String]) -> Result<PathBuf> {
    let dir = instance.checkout().join("target/cluster/deploy").join(instance.name());
    let names: Vec<serde_json::Value> = images
        .iter()
        .filter_map(|image| {
            let (name, tag) = image.rsplit_once(':')?;
            let program = name.rsplit('/').next()?;
            Some(serde_json::json!({"name": format!("{PUBLISHER}/{program}"), "newName": name, "newTag": tag}))
        })
        .collect();
    let fields = "image-fields.yaml";
    let kustomization = serde_json::json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../../../../manifests/default"],
        "configurations": [fields],
        "images": names,
    });
    let source = instance.checkout().join("manifests/default").join(fields);
    let source = fs::read_to_string(&source).with_context(|| format!("cannot read {}", source.display()))?;
    write(&dir.join(fields), &source)?;
    write(&dir.join("kustomization.yaml"), &kustomization.to_string())?;
    Ok(dir)
}

fn kubectl(environment: &Environment) -> Result<Cmd> {
    let program = environment.path("PATH")?.join("kubectl");
    let cache = environment.path("STATE_DIR")?.join("kubectl-cache");
    Ok(cmd(program).env("KUBECONFIG", environment.get("KUBECONFIG")?).env("KUBECACHEDIR", cache))
}
