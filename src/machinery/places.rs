//! Where objects of a claim may be, and which of them are what they say.
//!
//! Whoever may create claims or pods somewhere can give them our names and labels. So those only say where to look: an
//! object counts in the namespace of the claim's source alone, under the one name that it can have there, and, where the
//! populator keeps records, with the UID that these tell ([`Recorded`]).

use std::sync::Arc;

use k8s_openapi::{
    api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Resource, ResourceExt, core::PartialObjectMeta};

use crate::{
    cache::{Cache, Prune},
    names::{Keys, annotation, prime_name, worker_name},
    observed::{name, namespace, uid, volume_name},
    populator::{ClaimRef, Made, Recorded},
    prune::{prune, prune_claim},
};

/// A namespace that no object can be in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoNamespace(pub(crate) String);

/// Asks the populator what it has written down of a claim.
pub(crate) type Records = Arc<dyn Fn(&str) -> Recorded + Send + Sync>;

/// The kind of the object that a claim's `dataSourceRef` must name to be ours.
pub(crate) fn names_source<S: Resource<DynamicType = ()>>(claim: &PersistentVolumeClaim) -> bool {
    let reference = claim.spec.as_ref().and_then(|spec| spec.data_source_ref.as_ref());
    reference.is_some_and(|reference| {
        reference.kind == S::kind(&())
            && reference.api_group.as_deref().unwrap_or_default() == S::group(&())
            && !reference.name.is_empty()
    })
}

/// Where the source of a claim is. An annotation can say anything, and what it says becomes part of a request's path: so
/// only what can be a namespace's name is one (RFC 1123 label, Kubernetes "Object Names and IDs").
pub(crate) fn source_namespace(keys: &Keys, claim: &PersistentVolumeClaim) -> Result<String, NoNamespace> {
    let reference = claim.spec.as_ref().and_then(|spec| spec.data_source_ref.as_ref());
    let wanted = reference
        .and_then(|reference| reference.namespace.as_deref())
        .filter(|namespace| !namespace.is_empty())
        .or_else(|| annotation(&claim.metadata, &keys.source_namespace));
    match wanted {
        None => Ok(namespace(&claim.metadata).into()),
        Some(wanted) if is_label(wanted) => Ok(wanted.into()),
        Some(wanted) => Err(NoNamespace(wanted[..wanted.floor_char_boundary(80)].into())),
    }
}

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len()) && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// What a claim calls itself.
pub(crate) fn claim_ref(claim: &PersistentVolumeClaim) -> Option<ClaimRef> {
    Some(ClaimRef { namespace: claim.namespace()?, name: claim.metadata.name.clone()?, uid: claim.uid()? })
}

/// Where a claim's objects may be.
#[derive(Clone)]
pub(crate) struct Places {
    pub(crate) prefix: String,
    pub(crate) keys: Arc<Keys>,
    pub(crate) claims: Arc<Cache<PersistentVolumeClaim>>,
    pub(crate) records: Records,
}

impl Places {
    /// The claims of our kind of source that wait for a volume, or did when they were seen first.
    pub(crate) fn claims<S: Resource<DynamicType = ()>>(prefix: &str) -> Cache<PersistentVolumeClaim> {
        let prefix = prefix.to_owned();
        Cache::of_those_worth(
            Box::new(|claim| names_source::<S>(claim).then(|| claim_ref(claim)).flatten()),
            Box::new(|claim| volume_name(claim).is_none()),
            Box::new(move |claim| prune_claim(claim, &prefix)),
        )
    }

    /// What has a prime's name, and is where that claim's prime would be.
    pub(crate) fn primes(&self) -> Cache<PersistentVolumeClaim> {
        let (keys, this) = (Arc::clone(&self.keys), self.clone());
        Cache::of_those_worth(
            Box::new(move |prime| named_owner(&keys, &prime.metadata, &prime_name(""))),
            Box::new(move |prime| this.may_hold(&prime.metadata, &prime_name(""))),
            self.pruning(prune_claim),
        )
    }

    /// What has a worker's name, and is where that claim's worker would be.
    pub(crate) fn pods(&self) -> Cache<PartialObjectMeta<Pod>> {
        let (keys, this) = (Arc::clone(&self.keys), self.clone());
        Cache::of_those_worth(
            Box::new(move |pod| keys.claim_of(&pod.metadata)),
            Box::new(move |pod| this.may_hold(&pod.metadata, &worker_name(""))),
            self.pruning(prune),
        )
    }

    /// Volumes that are marked as ours, which nobody but an administrator can do, and that are not handed over for good.
    pub(crate) fn volumes(&self) -> Cache<PersistentVolume> {
        let (keys, this) = (Arc::clone(&self.keys), self.clone());
        Cache::of_those_worth(
            Box::new(move |volume| keys.claim_of(&volume.metadata)),
            Box::new(move |volume| {
                let claim = this.keys.claim_of(&volume.metadata);
                annotation(&volume.metadata, &this.keys.rebound_at).is_none()
                    || claim.is_some_and(|claim| !this.claims.of_claim(&claim.uid).is_empty())
            }),
            self.pruning(prune),
        )
    }

    fn pruning<K: 'static>(&self, prune: fn(&mut K, &str)) -> Prune<K> {
        let prefix = self.prefix.clone();
        Box::new(move |object| prune(object, &prefix))
    }

    /// The claim's own idea of where its source is, as far as the claim is known.
    fn source_namespace(&self, claim_uid: &str) -> Option<String> {
        let claim = self.claims.of_claim(claim_uid).into_iter().next()?;
        source_namespace(&self.keys, &claim).ok()
    }

    fn may_hold(&self, meta: &ObjectMeta, prefix: &str) -> bool {
        let recorded = |claim_uid: &str| (self.records)(claim_uid);
        match named_owner(&self.keys, meta, prefix) {
            Some(owner) => match recorded(&owner.uid) {
                Recorded::Unkept => self.keys.claim_of(meta).is_some(),
                Recorded::Kept(made) => {
                    made.iter().any(|made| made.namespace == namespace(meta))
                        || self.source_namespace(&owner.uid).as_deref() == Some(namespace(meta))
                }
            },
            // Another pod of a populator that keeps no records.
            None => self.keys.claim_of(meta).is_some_and(|claim| recorded(&claim.uid) == Recorded::Unkept),
        }
    }
}

/// The claim that a name of ours is made from. What its labels say beside that is only of use if they agree.
fn named_owner(keys: &Keys, meta: &ObjectMeta, prefix: &str) -> Option<ClaimRef> {
    let uid = name(meta).strip_prefix(prefix)?;
    let labelled = keys.claim_of(meta).filter(|claim| claim.uid == uid);
    Some(labelled.unwrap_or_else(|| ClaimRef { namespace: String::new(), name: String::new(), uid: uid.into() }))
}

/// What an object in the right place turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The one that was made for the claim.
    Recorded,
    /// One that an earlier process made and could not write down any more: nothing that it says counts.
    Unrecorded,
    /// Somebody else's, who used its name.
    Foreign,
}

/// Which of a claim's objects, by the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Prime,
    Worker,
}

/// Judges an object that has the right name.
pub(crate) fn standing(keys: &Keys, recorded: &Recorded, which: Which, meta: &ObjectMeta) -> Standing {
    let made: &[Made] = match recorded {
        Recorded::Unkept if keys.claim_of(meta).is_some() => return Standing::Recorded,
        Recorded::Unkept => return Standing::Foreign,
        Recorded::Kept(made) => made,
    };
    let Some(made) = made.iter().find(|made| made.namespace == namespace(meta)) else { return Standing::Foreign };
    let known = match which {
        Which::Prime => &made.prime,
        Which::Worker => &made.worker,
    };
    let owners = meta.owner_references.iter().flatten();
    if known.as_deref() == Some(uid(meta)) {
        Standing::Recorded
    } else if owners.into_iter().any(|owner| owner.uid == made.owner && owner.controller == Some(true)) {
        Standing::Unrecorded
    } else {
        Standing::Foreign
    }
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
