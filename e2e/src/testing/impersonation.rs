//! The cluster as somebody else sees it: requests that carry `Impersonate-User`, with the rights of whom they name.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

use super::{Scene, bed, until};

const RBAC: &str = "rbac.authorization.k8s.io";
/// Whom every cluster recognizes as an administrator, whatever its roles say.
const MASTERS: &str = "system:masters";

/// Speaks as this user, with the rights of these groups besides.
///
/// # Errors
/// When no cluster is up.
pub async fn client(user: &str, groups: &[&str]) -> Result<Client> {
    let mut config = bed::config().await?;
    config.auth_info.impersonate = Some(user.to_owned());
    let groups = groups.iter().copied().chain(["system:authenticated"]);
    config.auth_info.impersonate_groups = Some(groups.map(str::to_owned).collect());
    Client::try_from(config).context("the cluster's kubeconfig cannot be used to impersonate")
}

/// Speaks as a service account, `system:serviceaccount:NAMESPACE:NAME`.
///
/// # Errors
/// When it is none, or no cluster is up.
pub async fn account(user: &str) -> Result<Client> {
    let namespace = user.split(':').nth(2).with_context(|| format!("{user} is no service account"))?;
    client(user, &["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}")]).await
}

/// Speaks as this user with every right that there is.
///
/// # Errors
/// When no cluster is up.
pub async fn almighty(user: &str) -> Result<Client> {
    client(user, &[MASTERS]).await
}

/// Speaks as a user who has a cluster role in one namespace, and nothing else anywhere.
///
/// # Errors
/// When the role cannot be given.
pub async fn tenant(scene: &Scene, namespace: &str, role: &str) -> Result<Client> {
    let user = format!("{role}-of-{namespace}");
    bind(scene, namespace, role, &user).await?;
    let client = client(&user, &[]).await?;
    until::probed(&format!("{user} has the role {role}"), Duration::from_mins(2), async || {
        // Every role that is given here may read pods.
        Ok(may(&client, namespace, "get", "pods").await?.then_some(()))
    })
    .await?;
    Ok(client)
}

/// Gives a user or an account a cluster role in one namespace. The authorizer learns of it by watch, a moment later.
///
/// # Errors
/// When the API server refuses it.
pub async fn bind(scene: &Scene, namespace: &str, role: &str, user: &str) -> Result<()> {
    let binding = RoleBinding {
        metadata: ObjectMeta {
            generate_name: Some(format!("{role}-")),
            namespace: Some(namespace.to_owned()),
            labels: Some(BTreeMap::from([("vmdisk-e2e".to_owned(), "true".to_owned())])),
            ..ObjectMeta::default()
        },
        role_ref: RoleRef { api_group: Some(RBAC.to_owned()), kind: "ClusterRole".to_owned(), name: role.to_owned() },
        subjects: Some(vec![Subject {
            api_group: Some(RBAC.to_owned()),
            kind: "User".to_owned(),
            name: user.to_owned(),
            namespace: None,
        }]),
    };
    scene.create(&binding).await.map(drop)
}

/// Whether whom the client speaks as may do this in a namespace.
///
/// # Errors
/// When the authorizer cannot be asked.
pub async fn may(client: &Client, namespace: &str, verb: &str, plural: &str) -> Result<bool> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.to_owned()),
                verb: Some(verb.to_owned()),
                resource: Some(plural.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = api.create(&PostParams::default(), &review).await.context("cannot ask the authorizer")?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
