//! The narrowest installation at work: what the overlay `narrow` leaves, and one binding where the images are.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::FutureExt as _;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ObjectMeta, PostParams};
use kube::core::GroupVersionKind;
use populator_crd::GROUP;
use populator_crd::names::IMAGE_NAMESPACE_ANNOTATION;
use serde_json::json;
use vmdisk_e2e::servers::Fault;
use vmdisk_e2e::testing::audit::CONTROLLER;
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::scene::delete_namespace;
use vmdisk_e2e::testing::{Scene, impersonation, scenario, until};

use crate::disk::Disk;

/// What the overlay takes away.
const EVERYWHERE: [&str; 2] = ["vmdisk-images", "vmdisk-claims"];
const LEARNT: Duration = Duration::from_mins(1);

#[tokio::test]
async fn where_images_are_bound_claims_of_every_namespace_are_filled() {
    scenario("narrow", async |scene| {
        let lab = Scene { namespace: scene.another_namespace("lab").await?, ..scene.clone() };
        impersonation::bind(scene, &scene.namespace, "vmdisk-images", CONTROLLER).await?;
        let outcome = narrowly(scene, async || filled(scene, &lab).await).await;
        delete_namespace(&scene.bed, &lab.namespace).await?;
        outcome
    })
    .await;
}

/// Takes the bindings of the whole cluster away while `work` is done, and puts them back however that ends.
async fn narrowly(scene: &Scene, work: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    let api: Api<ClusterRoleBinding> = Api::all(scene.bed.client.clone());
    let mut taken = Vec::new();
    for name in EVERYWHERE {
        taken.push(api.get(name).await.with_context(|| format!("cannot read the ClusterRoleBinding {name}"))?);
    }
    let outcome = AssertUnwindSafe(async {
        for name in EVERYWHERE {
            api.delete(name, &DeleteParams::default()).await?;
        }
        work().await
    })
    .catch_unwind()
    .await;
    for binding in taken {
        let name = binding.metadata.name.clone();
        let back = ClusterRoleBinding {
            metadata: ObjectMeta { name, labels: binding.metadata.labels, ..ObjectMeta::default() },
            ..binding
        };
        match api.create(&PostParams::default(), &back).await {
            Ok(_) => {}
            // It was not deleted: that had failed.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error).context("cannot put a ClusterRoleBinding back; `cargo xtask deploy` does"),
        }
    }
    // Who comes next finds the whole installation.
    allowed("default", true).await?;
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Waits until the authorizer allows the controller workers in a namespace, or does not.
async fn allowed(namespace: &str, expected: bool) -> Result<()> {
    let controller = impersonation::account(CONTROLLER).await?;
    until::probed(&format!("pods in {namespace}: {expected}"), LEARNT, async || {
        for verb in ["create", "delete"] {
            if impersonation::may(&controller, namespace, verb, "pods").await? != expected {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await
}

async fn filled(scene: &Scene, lab: &Scene) -> Result<()> {
    allowed(&lab.namespace, false).await?;
    allowed(&scene.namespace, true).await?;

    let disk = Disk::publish(scene, "disk", Fault::default()).await?;
    scene.create(&objects::claim("disk", "disk", "64Mi", Mode::Filesystem)?).await?;
    disk.judge(scene).await?;

    // In the lab nothing is bound; its claims are filled where the image is.
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1beta1", "ReferenceGrant"));
    let grants = Api::<DynamicObject>::namespaced_with(scene.bed.client.clone(), &scene.namespace, &kind);
    let grant = DynamicObject::new("lab", &kind).data(json!({"spec": {
        "from": [{"group": "", "kind": "PersistentVolumeClaim", "namespace": lab.namespace}],
        "to": [{"group": GROUP, "kind": "VMDiskImage"}],
    }}));
    grants.create(&PostParams::default(), &grant).await.context("cannot create the grant")?;
    let mut claim = objects::claim("guest", "disk", "64Mi", Mode::Filesystem)?;
    claim.metadata.annotations = Some([(IMAGE_NAMESPACE_ANNOTATION.to_owned(), scene.namespace.clone())].into());
    lab.create(&claim).await?;
    disk.holds(lab, "guest", Mode::Filesystem).await.map(drop)
}
