//! The shape of the tables, and how one is tried on the API server.

use anyhow::{Context as _, Result, ensure};
use kube::api::{Api, DeleteParams, PostParams};
use kube::core::{DynamicObject, GroupVersionKind};
use kube::{Client, discovery};
use serde_json::{Value, json};

/// What the API server is expected to say.
#[derive(Clone, Debug)]
pub(crate) enum Expect {
    Accepted,
    /// Refused, with a message that contains this.
    Refused(&'static str),
}

/// A refusal whose message contains the text.
pub(crate) fn refused(message: &'static str) -> Expect {
    Expect::Refused(message)
}

/// `(what, spec, expectation)`
pub(crate) type Creation = (&'static str, String, Expect);

/// `(what, spec before, spec after, expectation)`
pub(crate) type Change = (&'static str, String, String, Expect);

/// Tries both tables of a kind, and returns every message with which something was refused.
pub(crate) async fn run(
    client: &Client,
    namespace: &str,
    kind: &str,
    creations: Vec<Creation>,
    changes: Vec<Change>,
) -> Result<Vec<String>> {
    let gvk = GroupVersionKind::gvk(populator_crd::GROUP, "v1alpha1", kind);
    let (resource, _) = discovery::pinned_kind(client, &gvk)
        .await
        .with_context(|| format!("the API server does not serve {kind}; apply manifests/crd"))?;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let object = |name: &str, spec: &str| -> Result<DynamicObject> {
        let spec: Value = serde_saphyr::from_str(spec).with_context(|| format!("the table has no YAML: {spec}"))?;
        Ok(DynamicObject::new(name, &resource).data(json!({ "spec": spec })))
    };
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };

    let mut wrong = Vec::new();
    let mut messages = Vec::new();
    for (what, spec, expect) in creations {
        let answer = api.create(&dry_run, &object("table", &spec)?).await;
        judge(what, &expect, answer, &mut messages, &mut wrong);
    }
    for (what, before, after, expect) in changes {
        let stored = api
            .create(&PostParams::default(), &object("table", &before)?)
            .await
            .with_context(|| format!("{what}: cannot create what is to be changed"))?;
        let mut update = object("table", &after)?;
        update.metadata.resource_version = stored.metadata.resource_version;
        let answer = loop {
            match api.replace("table", &dry_run, &update).await {
                // A controller that runs has written a status meanwhile.
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    update.metadata.resource_version = api.get("table").await?.metadata.resource_version;
                }
                answer => break answer,
            }
        };
        api.delete("table", &DeleteParams::default())
            .await
            .with_context(|| format!("{what}: cannot delete what was changed"))?;
        judge(what, &expect, answer, &mut messages, &mut wrong);
    }
    ensure!(wrong.is_empty(), "{kind}:\n{}", wrong.join("\n"));
    Ok(messages)
}

fn judge(
    what: &str,
    expect: &Expect,
    answer: kube::Result<DynamicObject>,
    messages: &mut Vec<String>,
    wrong: &mut Vec<String>,
) {
    match (expect, answer) {
        (Expect::Accepted, Ok(_)) => {}
        (Expect::Refused(message), Err(kube::Error::Api(status)))
            if status.code == 422 && status.message.contains(message) =>
        {
            messages.push(status.message);
        }
        (expect, Ok(_)) => wrong.push(format!("  {what}: expected {expect:?}, was accepted")),
        (expect, Err(error)) => wrong.push(format!("  {what}: expected {expect:?}, got {error}")),
    }
}
