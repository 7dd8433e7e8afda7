//! What the roles grant, against what was asked for. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::rbac::v1::PolicyRule;
use vmdisk_e2e::testing::audit::Event;

/// One thing that may be done: what a rule grants, taken apart, and what a request is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Access {
    pub(crate) verb: String,
    /// `pods/log`, `leases.coordination.k8s.io`
    pub(crate) resource: String,
}

impl Access {
    pub(crate) fn new(verb: &str, plural: &str, group: &str) -> Self {
        let resource = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
        Self { verb: verb.to_owned(), resource }
    }

    pub(crate) fn of(event: &Event) -> Self {
        let object = &event.object_ref;
        let plural = match object.subresource.as_str() {
            "" => object.resource.clone(),
            subresource => format!("{}/{subresource}", object.resource),
        };
        Self::new(&event.verb, &plural, &object.api_group)
    }
}

/// Everything that the rules grant.
pub(crate) fn granted(rules: &[PolicyRule]) -> BTreeSet<Access> {
    let mut all = BTreeSet::new();
    for rule in rules {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                all.extend(rule.verbs.iter().map(|verb| Access::new(verb, resource, group)));
            }
        }
    }
    all
}
