//! Every sample of `manifests/samples` works as it stands, but for hosts, classes and sizes.

mod localize;
mod publish;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::PostParams;
use kube::core::{DynamicObject, GroupVersionKind};
use kube::{Api, ResourceExt as _, discovery};
use populator_crd::v1alpha1::SyncPhase;
use populator_crd::{VMDiskSync, names};
use serde_json::Value;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::testing::objects::{self, is_bound};
use vmdisk_e2e::testing::scene::delete_namespace;
use vmdisk_e2e::testing::{Scene, scenario, until};

use localize::Places;

/// Generous: all samples run at once, through a gate of four.
const DEADLINE: Duration = Duration::from_mins(4);

/// The policy is one for the whole cluster: the controller's own tests read the sample, and applying it here would
/// change the limits of whatever runs beside.
const NOT_FILLED: &[&str] = &["policy.yaml"];

macro_rules! samples {
    ($($test:ident: $file:literal,)+) => {
        const FILLED: &[&str] = &[$($file),+];

        $(
            #[tokio::test]
            async fn $test() {
                let name = concat!("sample-", $file).trim_end_matches(".yaml");
                scenario(name, async |scene| fill(scene, $file).await).await;
            }
        )+
    };
}

samples! {
    bind_immediately: "bind-immediately.yaml",
    blank: "blank.yaml",
    block: "block.yaml",
    cross_namespace: "cross-namespace.yaml",
    http: "http.yaml",
    http_private: "http-private.yaml",
    registry: "registry.yaml",
    registry_private: "registry-private.yaml",
    s3: "s3.yaml",
    s3_preload: "s3-preload.yaml",
}

#[test]
fn every_sample_is_tried() -> Result<()> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory()?)? {
        found.push(entry?.file_name().to_string_lossy().into_owned());
    }
    found.sort();
    let mut tried: Vec<&str> = FILLED.iter().chain(NOT_FILLED).copied().collect();
    tried.sort_unstable();
    assert_eq!(found, tried);
    Ok(())
}

/// What users wrote before there was an operator: `s3-preload.yaml` has it word for word.
const USERS_OWN: &str = r#"apiVersion: v1
kind: ConfigMap
metadata: {name: sync-operator-policy, namespace: sync-operator}
data: {concurrency: "4", retryLimit: "2", retryBackoffDuration: "5m"}
---
apiVersion: "pelotech.ot/v1alpha1"
kind: "VMDiskImage"
metadata:
  name: "sync-workspace-123"
spec:
  storageClass: "gp3"
  snapshotClass: "ebs-snapshot"
  secretRef: "foo-bar"
  name: "harrison-vm"
  url: "https://s3.us-gov-west-1.amazonaws.com/uki-lrn-vm-images/images/lab-151/1.0.0/attacker.qcow2"
  sourceType: "s3"
  diskSize: "24Gi"
"#;

#[test]
fn the_users_own_manifests_are_a_sample() -> Result<()> {
    let sample = std::fs::read_to_string(directory()?.join("s3-preload.yaml"))?;
    assert!(sample.contains(USERS_OWN), "s3-preload.yaml is no longer what users wrote");
    Ok(())
}

fn directory() -> Result<PathBuf> {
    Ok(Instance::current()?.checkout().join("manifests/samples"))
}

async fn fill(scene: &Scene, file: &str) -> Result<()> {
    let text = std::fs::read_to_string(directory()?.join(file))?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).with_context(|| format!("{file} is no YAML"))?;
    let elsewhere = if documents.iter().any(|document| document["kind"] == "Namespace") {
        Some(scene.another_namespace("lab").await?)
    } else {
        None
    };
    let outcome = fill_in(scene, documents, elsewhere.as_deref()).await;
    if let Some(namespace) = &elsewhere {
        delete_namespace(&scene.bed, namespace).await?;
    }
    outcome
}

async fn fill_in(scene: &Scene, documents: Vec<Value>, elsewhere: Option<&str>) -> Result<()> {
    let places = Places::of_the_bed(scene, elsewhere)?;
    scene.create(&objects::ca()?).await?;
    let mut claims = Vec::new();
    for document in documents {
        if let Some(source) = document.pointer("/spec/url").and_then(Value::as_str) {
            publish::content_of(scene, source).await?;
        }
        let Some(local) = localize::document(document, &places)? else { continue };
        let created = create(scene, local).await?;
        if created.types.as_ref().is_some_and(|types| types.kind == "PersistentVolumeClaim") {
            claims.push((
                created.namespace().unwrap_or_default(),
                created.name_any(),
                created.uid().unwrap_or_default(),
            ));
        }
    }
    ensure!(!claims.is_empty(), "the sample has no claim");
    for (namespace, name, uid) in claims {
        let api: Api<PersistentVolumeClaim> = scene.api_in(&namespace);
        until::holds(&api, &name, "is bound", DEADLINE, is_bound).await?;
        let syncs: Api<VMDiskSync> = scene.api();
        until::holds(&syncs, &names::sync(&name, &uid), "has succeeded", DEADLINE, |sync| {
            sync.status.as_ref().and_then(|status| status.phase) == Some(SyncPhase::Succeeded)
        })
        .await?;
    }
    Ok(())
}

async fn create(scene: &Scene, document: Value) -> Result<DynamicObject> {
    let object: DynamicObject = serde_json::from_value(document)?;
    let types = object.types.clone().context("a document has an apiVersion and a kind")?;
    let kind = GroupVersionKind::try_from(&types)?;
    let (resource, _) = discovery::pinned_kind(&scene.bed.client, &kind).await?;
    let namespace = object.namespace().unwrap_or_else(|| scene.namespace.clone());
    let api = Api::namespaced_with(scene.bed.client.clone(), &namespace, &resource);
    let mut created = api
        .create(&PostParams::default(), &object)
        .await
        .with_context(|| format!("cannot create {} {}", types.kind, object.name_any()))?;
    created.types = Some(types);
    Ok(created)
}
