//! Names, labels and annotations, all in one place: what an object of ours is called and how it tells whose it is.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::populator::ClaimRef;

/// Set by the scheduler on a claim of a `WaitForFirstConsumer` class.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// Keeps backup tools away from a volume that is only half written.
pub(crate) const EXCLUDE_FROM_BACKUP: &str = "velero.io/exclude-from-backup";

/// The name of the prime of a claim.
#[must_use]
pub fn prime_name(claim_uid: &str) -> String {
    format!("prime-{claim_uid}")
}

/// The name that users of populators expect a worker pod to have.
#[must_use]
pub fn worker_name(claim_uid: &str) -> String {
    format!("populate-{claim_uid}")
}

/// The keys of the labels and annotations of one populator, derived from its prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Label on everything of ours: the UID of the claim that it exists for.
    pub claim_uid: String,
    /// Label on everything of ours: the claim's namespace.
    pub claim_namespace: String,
    /// Annotation on everything of ours: the claim's name, which may be longer than a label's value.
    pub claim_name: String,
    /// Annotation on a claim, by its user: the namespace of the source.
    pub source_namespace: String,
    /// Annotation on a claim, by its user: do not wait for a consumer.
    pub bind_immediately: String,
    /// Annotation on a volume: what it was filled from.
    pub populated_from: String,
    /// Annotation on a volume: when it was handed over.
    pub rebound_at: String,
    /// Annotation on a volume: the reclaim policy that it gets back when it is handed over.
    pub reclaim_policy: String,
    /// Annotation on a prime: the node that was selected for the claim when the prime was made.
    pub selected_node: String,
}

impl Keys {
    /// The keys under `prefix`; `source_namespace` is the last part of the annotation that names the source's
    /// namespace (`image-namespace` makes `<prefix>/image-namespace`).
    #[must_use]
    pub fn new(prefix: &str, source_namespace: &str) -> Self {
        let key = |name: &str| format!("{prefix}/{name}");
        Self {
            claim_uid: key("claim-uid"),
            claim_namespace: key("claim-namespace"),
            claim_name: key("claim-name"),
            source_namespace: key(source_namespace),
            bind_immediately: key("bind-immediately"),
            populated_from: key("populated-from"),
            rebound_at: key("rebound-at"),
            reclaim_policy: key("reclaim-policy"),
            selected_node: key("selected-node"),
        }
    }

    /// The labels of everything that exists for this claim; a worker carries them too.
    #[must_use]
    pub fn labels(&self, claim: &ClaimRef) -> BTreeMap<String, String> {
        BTreeMap::from([
            (self.claim_uid.clone(), claim.uid.clone()),
            (self.claim_namespace.clone(), claim.namespace.clone()),
        ])
    }

    /// The annotations of everything that exists for this claim; a worker carries them too.
    #[must_use]
    pub fn annotations(&self, claim: &ClaimRef) -> BTreeMap<String, String> {
        BTreeMap::from([(self.claim_name.clone(), claim.name.clone())])
    }

    /// The claim that an object of ours exists for; `None` for an object that is not ours.
    #[must_use]
    pub fn claim_of(&self, meta: &ObjectMeta) -> Option<ClaimRef> {
        let labels = meta.labels.as_ref()?;
        let name = meta.annotations.as_ref().and_then(|all| all.get(&self.claim_name));
        Some(ClaimRef {
            namespace: labels.get(&self.claim_namespace)?.clone(),
            name: name.cloned().unwrap_or_default(),
            uid: labels.get(&self.claim_uid)?.clone(),
        })
    }
}

/// One annotation of an object, unless it is empty.
pub(crate) fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    let value = meta.annotations.as_ref()?.get(key)?;
    (!value.is_empty()).then_some(value.as_str())
}
