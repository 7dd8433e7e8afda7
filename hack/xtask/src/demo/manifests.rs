//! The demo's manifests, as files that a user can read and apply.

use std::fs;

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::json;
use vmdisk_e2e::vm::pod::Machine;

use super::Demo;

/// The namespace of all that the demo creates.
pub(super) const NAMESPACE: &str = "demo";
/// The pod's name.
pub(super) const VM: &str = "vm";
/// The claim's name.
pub(super) const CLAIM: &str = "vm-disk";

/// The claim: larger than the disk, so that the guest sees a disk that was grown.
const CLAIM_SIZE: &str = "1Gi";

/// Writes all manifests of this run.
pub(super) fn write(demo: &Demo) -> Result<()> {
    let (image, ca) = ("demo-image", "registry-ca");
    let certificate = fs::read_to_string(&demo.ca).with_context(|| format!("cannot read {}", demo.ca.display()))?;
    let machine = Machine {
        name: VM.to_owned(),
        namespace: NAMESPACE.to_owned(),
        image: demo.machine.clone(),
        claim: CLAIM.to_owned(),
    };
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        // What runs here must get by with the strictest level of Pod Security.
        "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    });
    let claim = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM, "namespace": NAMESPACE},
        "spec": {
            "dataSourceRef": {"apiGroup": "pelotech.ot", "kind": "VMDiskImage", "name": image},
            "storageClassName": demo.class,
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": CLAIM_SIZE}},
        },
    });
    let certificates = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": ca, "namespace": NAMESPACE},
        "data": {"ca.crt": certificate},
    });
    let image = json!({
        "apiVersion": "pelotech.ot/v1alpha1",
        "kind": "VMDiskImage",
        "metadata": {"name": image, "namespace": NAMESPACE},
        "spec": {"url": format!("docker://{}", demo.reference), "certConfigMap": ca},
    });
    file(demo, "0-namespace.yaml", &[yaml(&namespace)?])?;
    file(demo, "1-vm.yaml", &[yaml(&machine.pod()?)?])?;
    file(demo, "2-claim.yaml", &[yaml(&claim)?])?;
    file(demo, "3-image.yaml", &[yaml(&certificates)?, yaml(&image)?])
}

fn file(demo: &Demo, name: &str, documents: &[String]) -> Result<()> {
    let path = demo.dir.join(name);
    fs::write(&path, documents.join("---\n")).with_context(|| format!("cannot write {}", path.display()))
}

fn yaml(object: &impl Serialize) -> Result<String> {
    let text = serde_saphyr::to_string(object).context("cannot write an object as YAML")?;
    Ok(text.trim_end().to_owned() + "\n")
}
