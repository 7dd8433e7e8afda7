//! Who may do what, as the API server's own authorizer sees it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use vmdisk_e2e::testing::audit::CONTROLLER;
use vmdisk_e2e::testing::{Bed, impersonation, scenario, until};

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "update", "patch", "delete", "deletecollection"];

/// A resource, with its group behind a point and its subresource behind a slash: `pods/log`, `leases.coordination.k8s.io`.
pub(crate) fn attributes(namespace: &str, verb: &str, resource: &str, name: Option<&str>) -> ResourceAttributes {
    let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
    let (plural, subresource) = plural.split_once('/').map_or((plural, None), |(plural, sub)| (plural, Some(sub)));
    ResourceAttributes {
        namespace: Some(namespace.to_owned()),
        verb: Some(verb.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(plural.to_owned()),
        subresource: subresource.map(str::to_owned),
        name: name.map(str::to_owned),
        ..ResourceAttributes::default()
    }
}

pub(crate) async fn may(bed: &Bed, user: &str, what: ResourceAttributes) -> Result<bool> {
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.to_owned()),
            groups: Some(vec!["system:authenticated".to_owned()]),
            resource_attributes: Some(what),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let api: Api<SubjectAccessReview> = Api::all(bed.client.clone());
    let answer = api.create(&PostParams::default(), &review).await.context("cannot ask the authorizer")?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// The verbs of all that the user has on the resource.
async fn verbs(
    bed: &Bed,
    user: &str,
    namespace: &str,
    resource: &str,
    name: Option<&str>,
) -> Result<Vec<&'static str>> {
    let mut allowed = Vec::new();
    for verb in READ.iter().chain(WRITE) {
        if may(bed, user, attributes(namespace, verb, resource, name)).await? {
            allowed.push(*verb);
        }
    }
    Ok(allowed)
}

#[tokio::test]
async fn the_controller_may_do_what_it_needs_and_no_more() {
    scenario("access-controller", async |scene| {
        let here = scene.namespace.as_str();
        let operator = "sync-operator";
        for (resource, namespace, name, expected) in [
            // Secrets are for workers to mount.
            ("secrets", here, None, ""),
            ("secrets", operator, None, ""),
            // One ConfigMap, to be read: its own policy; and one of its own, to record what was good of it.
            ("configmaps", here, None, ""),
            ("configmaps", operator, None, ""),
            ("configmaps", operator, Some("sync-operator-policy"), "list watch"),
            ("configmaps", operator, Some("sync-operator-policy-in-force"), "get create patch"),
            // One Lease.
            ("leases.coordination.k8s.io", here, None, ""),
            ("leases.coordination.k8s.io", operator, None, "create"),
            // Images are users'.
            ("vmdiskimages.pelotech.ot", here, None, "list watch"),
            ("vmdiskimages/status.pelotech.ot", here, None, "patch"),
            // No way to run as somebody else, or to give itself more.
            ("pods/exec", here, None, ""),
            ("serviceaccounts", here, None, ""),
            ("serviceaccounts/token", here, None, ""),
            ("clusterroles.rbac.authorization.k8s.io", here, None, ""),
            ("customresourcedefinitions.apiextensions.k8s.io", here, None, ""),
        ] {
            let found = verbs(&scene.bed, CONTROLLER, namespace, resource, name).await?.join(" ");
            assert_eq!(found, expected, "{resource} {name:?} in {namespace}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn users_get_images_and_see_syncs_through_the_clusters_own_roles() {
    scenario("access-users", async |scene| {
        for (role, images, syncs) in [
            ("view", "get list watch", "get list watch"),
            (
                "edit",
                "get list watch create update patch delete deletecollection",
                "get list watch delete deletecollection",
            ),
            (
                "admin",
                "get list watch create update patch delete deletecollection",
                "get list watch delete deletecollection",
            ),
        ] {
            let user = format!("{role}-of-{}", scene.namespace);
            impersonation::bind(scene, &scene.namespace, role, &user).await?;
            // The authorizer learns of a new binding by watch.
            let expected = [images, syncs];
            until::probed(&format!("{role} has {expected:?}"), Duration::from_mins(2), async || {
                let mut found = Vec::new();
                for resource in ["vmdiskimages.pelotech.ot", "vmdisksyncs.pelotech.ot"] {
                    found.push(verbs(&scene.bed, &user, &scene.namespace, resource, None).await?.join(" "));
                }
                ensure!(found == expected, "found {found:?}");
                Ok(Some(()))
            })
            .await?;
            // Nobody writes what only the controller knows.
            for resource in ["vmdisksyncs/status.pelotech.ot", "vmdiskimages/status.pelotech.ot"] {
                assert!(
                    !may(&scene.bed, &user, attributes(&scene.namespace, "patch", resource, None)).await?,
                    "{role} {resource}"
                );
            }
        }
        Ok(())
    })
    .await;
}
