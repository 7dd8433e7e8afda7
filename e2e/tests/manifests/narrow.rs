//! The narrowest installation: what is granted everywhere, and what only where an administrator says so.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Resource as _};
use serde_json::Value;
use vmdisk_e2e::command::cmd;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::testing::scene::delete_namespace;
use vmdisk_e2e::testing::{Scene, impersonation, scenario, until};

use crate::access::{attributes, may};

const READ: [&str; 3] = ["get", "list", "watch"];
/// What is written everywhere nevertheless: volumes are in no namespace, and a claim that is refused has to be told so
/// wherever it is. The registration is one object.
const WRITTEN_EVERYWHERE: [&str; 3] = ["persistentvolumes", "events", "volumepopulators"];

#[test]
fn the_narrow_overlay_grants_nothing_everywhere_but_looking() -> Result<()> {
    let narrow = Instance::current()?.checkout().join("manifests/overlays/narrow");
    let rendered = cmd("kubectl").arg("kustomize").arg(narrow).output()?;
    let objects: Vec<Value> = serde_saphyr::from_multiple(&rendered).context("not the YAML of objects")?;
    let of_kind = |kind: &str| objects.iter().filter(|object| object["kind"] == kind).cloned().collect::<Vec<_>>();

    let bound: Vec<Value> =
        of_kind("ClusterRoleBinding").iter().map(|binding| binding["roleRef"]["name"].clone()).collect();
    assert_eq!(bound, ["vmdisk-controller"]);

    let roles = of_kind("ClusterRole");
    let everywhere = roles.iter().find(|role| role["metadata"]["name"] == "vmdisk-controller");
    let everywhere: ClusterRole = serde_json::from_value(everywhere.context("the role is missing")?.clone())?;
    for rule in everywhere.rules.unwrap_or_default() {
        let resources = rule.resources.clone().unwrap_or_default();
        ensure!(!resources.iter().any(|resource| resource.contains('/')), "a subresource everywhere: {rule:?}");
        let reads = |rule: &PolicyRule| rule.verbs.iter().all(|verb| READ.contains(&verb.as_str()));
        let known = resources.iter().all(|resource| WRITTEN_EVERYWHERE.contains(&resource.as_str()));
        ensure!(reads(&rule) || known, "written everywhere: {rule:?}");
    }
    // Nothing else is lost.
    for name in ["vmdisk-images", "vmdisk-claims"] {
        ensure!(roles.iter().any(|role| role["metadata"]["name"] == name), "the ClusterRole {name} is missing");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_bound_in_a_namespace_is_refused_there() {
    scenario("narrow", async |scene| {
        let images = scene.another_namespace("images").await?;
        let claims = scene.another_namespace("claims").await?;
        let outcome = asked(scene, &images, &claims).await;
        delete_namespace(&scene.bed, &images).await?;
        delete_namespace(&scene.bed, &claims).await?;
        outcome
    })
    .await;
}

async fn asked(scene: &Scene, images: &str, claims: &str) -> Result<()> {
    // An account with the bindings that the overlay leaves, beside the operator's own, which may have all of them.
    let account = format!("system:serviceaccount:{}:narrow", scene.namespace);
    everywhere(scene, &account).await?;
    impersonation::bind(scene, images, "vmdisk-images", &account).await?;
    impersonation::bind(scene, claims, "vmdisk-claims", &account).await?;

    // What, in a namespace with images, with claims, and in any other.
    for (verb, resource, expected) in [
        ("list", "persistentvolumeclaims", [true; 3]),
        ("watch", "pods", [true; 3]),
        ("list", "vmdisksyncs.pelotech.ot", [true; 3]),
        ("create", "events.events.k8s.io", [true; 3]),
        ("create", "pods", [true, false, false]),
        ("delete", "pods", [true, false, false]),
        ("get", "pods/log", [true, false, false]),
        ("create", "persistentvolumeclaims", [true, false, false]),
        ("delete", "persistentvolumeclaims", [true, false, false]),
        ("patch", "persistentvolumeclaims", [false, true, false]),
        ("create", "vmdisksyncs.pelotech.ot", [true, false, false]),
        ("delete", "vmdisksyncs.pelotech.ot", [true, false, false]),
        ("patch", "vmdisksyncs/status.pelotech.ot", [true, false, false]),
        ("patch", "vmdiskimages/status.pelotech.ot", [true, false, false]),
        ("get", "secrets", [false; 3]),
        ("create", "pods/exec", [false; 3]),
    ] {
        for (namespace, expected) in [images, claims, &scene.namespace].into_iter().zip(expected) {
            // The authorizer learns of bindings by watch.
            until::probed(
                &format!("{verb} {resource} in {namespace} is {expected}"),
                Duration::from_mins(2),
                async || {
                    let allowed = may(&scene.bed, &account, attributes(namespace, verb, resource, None)).await?;
                    Ok((allowed == expected).then_some(()))
                },
            )
            .await?;
        }
    }
    Ok(())
}

/// Binds the controller's role in the whole cluster, for as long as the test's namespace lives.
async fn everywhere(scene: &Scene, user: &str) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(scene.bed.client.clone());
    let owner = namespaces.get(&scene.namespace).await?.owner_ref(&()).context("a namespace can own")?;
    let binding = ClusterRoleBinding {
        metadata: ObjectMeta {
            name: Some(format!("vmdisk-e2e-{}", scene.namespace)),
            labels: Some(BTreeMap::from([("vmdisk-e2e".to_owned(), "true".to_owned())])),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        role_ref: RoleRef {
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            kind: "ClusterRole".to_owned(),
            name: "vmdisk-controller".to_owned(),
        },
        subjects: Some(vec![Subject {
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            kind: "User".to_owned(),
            name: user.to_owned(),
            namespace: None,
        }]),
    };
    let api: Api<ClusterRoleBinding> = Api::all(scene.bed.client.clone());
    api.create(&PostParams::default(), &binding).await.map(drop).context("cannot bind the controller's role")
}
