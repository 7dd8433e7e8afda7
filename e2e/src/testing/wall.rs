//! Our admission policies are a second wall, and nothing may rest on it: whoever tests the first takes the second down
//! for as long as that takes. It is one for the whole cluster, so such a test must have the cluster for itself.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::FutureExt as _;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use super::until;

/// The bindings of the policies in `manifests/admission`. The last is the one that is tried: API servers learn of
/// changes in their order.
const POLICIES: [&str; 4] = ["vmdisk-bounds", "vmdisk-names", "vmdisk-records", "vmdisk-labels"];

/// The longest that an API server takes to learn of a changed binding.
const LEARNT: Duration = Duration::from_mins(1);

/// Lets everything through while `work` is done, and puts the wall up again however that ends.
///
/// # Errors
/// What `work` fails with; when a policy is not installed or cannot be changed.
pub async fn without<T>(client: &Client, work: impl AsyncFnOnce() -> Result<T>) -> Result<T> {
    set(client, &["Audit"]).await?;
    let down = until::probed("the wall is down", LEARNT, async || Ok((!stands(client).await?).then_some(()))).await;
    let outcome = match down {
        Ok(()) => AssertUnwindSafe(work()).catch_unwind().await,
        Err(error) => Ok(Err(error)),
    };
    set(client, &["Deny", "Audit"]).await?;
    until::probed("the wall is up again", LEARNT, async || Ok(stands(client).await?.then_some(()))).await?;
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

async fn set(client: &Client, actions: &[&str]) -> Result<()> {
    let api: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    let patch = Patch::Merge(json!({"spec": {"validationActions": actions}}));
    for policy in POLICIES {
        api.patch(policy, &PatchParams::default(), &patch)
            .await
            .with_context(|| format!("cannot change the binding of {policy}; `cargo xtask deploy` installs it"))?;
    }
    Ok(())
}

/// Whether a pod with a label of ours is refused.
///
/// # Errors
/// When the API server does not say.
pub async fn stands(client: &Client) -> Result<bool> {
    let label = ("pelotech.ot/claim-uid".to_owned(), "nobody".to_owned());
    let pod = Pod {
        metadata: ObjectMeta {
            name: Some("is-there-a-wall".to_owned()),
            labels: Some(BTreeMap::from([label])),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            containers: vec![Container {
                name: "none".to_owned(),
                image: Some("none".to_owned()),
                ..Container::default()
            }],
            ..PodSpec::default()
        }),
        status: None,
    };
    let api: Api<Pod> = Api::namespaced(client.clone(), "default");
    match api.create(&PostParams { dry_run: true, ..PostParams::default() }, &pod).await {
        Ok(_) => Ok(false),
        Err(kube::Error::Api(status)) if status.message.contains("vmdisk-labels") => Ok(true),
        Err(error) => Err(error).with_context(|| format!("cannot try to make the pod {}", pod.name_any())),
    }
}
