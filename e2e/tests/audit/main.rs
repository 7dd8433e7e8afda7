//! The last word of a run: the API server's audit log, over everything that the controller did in all tests before.

mod rules;

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::rbac::v1::{ClusterRole, Role};
use kube::Api;
use vmdisk_e2e::testing::Bed;
use vmdisk_e2e::testing::audit::{self, CONTROLLER, Event};

use rules::{Access, granted};

/// What is granted and cannot show in the log for certain, each with the reason.
const UNSEEN: &[(&str, &str, &str)] = &[
    ("create", "configmaps", "the log has it as patch: an apply that makes the object"),
    ("create", "volumepopulators.populator.storage.k8s.io", "the log has it as patch: an apply that makes the object"),
    ("get", "pods", "a worker made by the leader before, which the new leader's cache does not show yet"),
    (
        "get",
        "vmdisksyncs.pelotech.ot",
        "a sync made by the leader before, which the new leader's cache does not show yet",
    ),
    ("patch", "events.events.k8s.io", "the same event of the same object twice within six minutes"),
];

/// Not asked for by us but by the client library, to find out how a kind is served; every account may.
fn is_discovery(event: &Event) -> bool {
    event.object_ref.resource.is_empty()
}

#[tokio::test]
async fn every_rule_was_used_and_nothing_was_refused() -> Result<()> {
    let bed = Bed::attach().await?;
    let events = audit::of(CONTROLLER)?;
    ensure!(!events.is_empty(), "the audit log has no request of {CONTROLLER}; run the other tests before this one");

    let refused: BTreeSet<String> = events
        .iter()
        .filter(|event| event.is_unauthorized())
        .map(|event| format!("{} {}", event.verb, event.request_uri))
        .collect();
    assert!(refused.is_empty(), "the controller was refused:\n{}", refused.into_iter().collect::<Vec<_>>().join("\n"));

    let used: BTreeSet<Access> = events.iter().filter(|event| !is_discovery(event)).map(Access::of).collect();
    let mut unused: BTreeSet<Access> = rules_of(&bed).await?.difference(&used).cloned().collect();
    for (verb, resource, _) in UNSEEN {
        unused.retain(|access| access.verb != *verb || access.resource != *resource);
    }
    assert!(unused.is_empty(), "granted in manifests/rbac and never used:\n{unused:#?}");
    Ok(())
}

/// What the account may do, as the cluster has it.
async fn rules_of(bed: &Bed) -> Result<BTreeSet<Access>> {
    let cluster_wide: Api<ClusterRole> = Api::all(bed.client.clone());
    let own: Api<Role> = Api::namespaced(bed.client.clone(), "sync-operator");
    let own = own.get("vmdisk-controller").await.context("the Role is missing")?;
    let mut all = granted(&own.rules.unwrap_or_default());
    for name in ["vmdisk-controller", "vmdisk-images", "vmdisk-claims"] {
        let role = cluster_wide.get(name).await.with_context(|| format!("the ClusterRole {name} is missing"))?;
        all.extend(granted(&role.rules.unwrap_or_default()));
    }
    Ok(all)
}
