//! `install.yaml` is joined by `cargo xtask gen`; kubectl itself renders the kustomization here.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::Value;
use vmdisk_e2e::command::cmd;
use vmdisk_e2e::instance::Instance;

#[test]
fn the_install_file_is_what_kubectl_renders() -> Result<()> {
    let manifests = Instance::current()?.checkout().join("manifests");
    let rendered = cmd("kubectl").arg("kustomize").arg(manifests.join("default")).output()?;
    let installed = std::fs::read_to_string(manifests.join("install.yaml"))?;

    let (rendered, installed) = (objects(&rendered)?, objects(&installed)?);
    assert_eq!(rendered.keys().collect::<Vec<_>>(), installed.keys().collect::<Vec<_>>());
    for (name, object) in rendered {
        let ours = &installed[&name];
        let (theirs, ours) = (serde_json::to_string_pretty(&object)?, serde_json::to_string_pretty(ours)?);
        // A CRD is long: the first line that differs says more than both wholes.
        let difference = theirs.lines().zip(ours.lines()).find(|(theirs, ours)| theirs != ours);
        assert_eq!(difference, None, "{name}");
        assert_eq!(theirs.len(), ours.len(), "{name}");
    }
    Ok(())
}

/// The objects of a file by kind, namespace and name.
fn objects(text: &str) -> Result<BTreeMap<String, Value>> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(text).context("not the YAML of objects")?;
    let named = objects.into_iter().map(|object| {
        let word = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        (format!("{} {}/{}", word("/kind"), word("/metadata/namespace"), word("/metadata/name")), object)
    });
    Ok(named.collect())
}
