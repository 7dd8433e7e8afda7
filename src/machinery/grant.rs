//! `ReferenceGrant`: the source's namespace allows claims of another one to name its sources.
//!
//! The kind belongs to the Gateway API; only the fields that decide are defined here. Where its CRD is not installed
//! there are no grants, and only sources in the claim's own namespace can be used.

use kube::{
    api::ApiResource,
    core::{GroupVersionKind, NotUsed, Object},
};
use serde::{Deserialize, Serialize};

/// A grant, as far as it is read.
pub(crate) type ReferenceGrant = Object<GrantSpec, NotUsed>;

/// Who may refer to what.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct GrantSpec {
    #[serde(default)]
    from: Vec<From>,
    #[serde(default)]
    to: Vec<To>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct From {
    #[serde(default)]
    group: String,
    kind: String,
    namespace: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct To {
    #[serde(default)]
    group: String,
    kind: String,
    #[serde(default)]
    name: Option<String>,
}

/// Where grants are read.
pub(crate) fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1beta1", "ReferenceGrant"))
}

/// What a grant is asked for: may claims of a namespace name this source?
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reference<'a> {
    pub(crate) claim_namespace: &'a str,
    pub(crate) group: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) name: &'a str,
}

/// Whether one of the grants (all of the source's namespace) allows the reference.
pub(crate) fn allows<'a>(grants: impl IntoIterator<Item = &'a GrantSpec>, reference: Reference<'_>) -> bool {
    grants.into_iter().any(|grant| {
        let from = grant.from.iter().any(|from| {
            from.group.is_empty() && from.kind == "PersistentVolumeClaim" && from.namespace == reference.claim_namespace
        });
        let to = grant.to.iter().any(|to| {
            to.group == reference.group
                && to.kind == reference.kind
                && to.name.as_deref().is_none_or(|name| name.is_empty() || name == reference.name)
        });
        from && to
    })
}

#[cfg(test)]
#[path = "grant_tests.rs"]
mod tests;
