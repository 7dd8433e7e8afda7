//! Reads one claim's world: what the watches know, and live what a stale answer could do harm with.

use std::{collections::BTreeSet, sync::Arc};

use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::{Event, Node as KubeNode, PersistentVolume, PersistentVolumeClaim, Pod},
        storage::v1::{CSIDriver, StorageClass},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::ListParams,
    core::PartialObjectMeta,
    runtime::reflector::{ObjectRef, Store},
};

use crate::{
    cache::Cache,
    config::Config,
    decide::Inspection,
    error::{Error, Trying},
    grant::{self, ReferenceGrant},
    names::{Keys, annotation, prime_name},
    notices,
    observed::{
        Class, Node, Observed, Source, claimed_by, is_going, name, names_claim, namespace, selected_node, uid,
        volume_name,
    },
    populator::ClaimRef,
};

/// Where everything is read.
pub(crate) struct Observer<S: Resource<DynamicType = ()> + 'static> {
    pub(crate) client: Client,
    pub(crate) config: Arc<Config>,
    pub(crate) keys: Arc<Keys>,
    /// Claims and primes together: one watch, so that they are seen in the order in which they changed.
    pub(crate) claims: Arc<Cache<PersistentVolumeClaim>>,
    pub(crate) pods: Arc<Cache<PartialObjectMeta<Pod>>>,
    pub(crate) volumes: Arc<Cache<PersistentVolume>>,
    pub(crate) sources: Store<S>,
    pub(crate) classes: Store<StorageClass>,
    pub(crate) drivers: Store<CSIDriver>,
}

/// The kind of the object that a claim's `dataSourceRef` must name to be ours.
pub(crate) fn names_source<S: Resource<DynamicType = ()>>(claim: &PersistentVolumeClaim) -> bool {
    let reference = claim.spec.as_ref().and_then(|spec| spec.data_source_ref.as_ref());
    reference.is_some_and(|reference| {
        reference.kind == S::kind(&())
            && reference.api_group.as_deref().unwrap_or_default() == S::group(&())
            && !reference.name.is_empty()
    })
}

/// Where the source of a claim is.
pub(crate) fn source_namespace(keys: &Keys, claim: &PersistentVolumeClaim) -> String {
    let reference = claim.spec.as_ref().and_then(|spec| spec.data_source_ref.as_ref());
    let namespace_of_reference = reference.and_then(|reference| reference.namespace.as_deref());
    namespace_of_reference
        .filter(|namespace| !namespace.is_empty())
        .or_else(|| annotation(&claim.metadata, &keys.source_namespace))
        .unwrap_or_else(|| namespace(&claim.metadata))
        .into()
}

impl<S> Observer<S>
where
    S: Resource<DynamicType = ()> + Clone,
{
    /// One snapshot.
    pub(crate) async fn observe(&self, claim_ref: &ClaimRef, in_flight: bool) -> Result<Observed<S>, Error> {
        let uid_of = |object: &Arc<PersistentVolumeClaim>| uid(&object.metadata).to_owned();
        let (claims, primes): (Vec<_>, Vec<_>) =
            self.claims.of_claim(&claim_ref.uid).await.into_iter().partition(|object| uid_of(object) == claim_ref.uid);
        let workers = self.pods.of_claim(&claim_ref.uid).await;
        let mut claim = claims.into_iter().next();
        if claim.is_none() {
            // What follows from a missing claim cannot be undone, so a cache is not enough.
            claim = self.live_claim(claim_ref).await?.map(Arc::new);
        }
        let source_namespace =
            claim.as_ref().map_or_else(|| claim_ref.namespace.clone(), |claim| source_namespace(&self.keys, claim));
        let mut prime = pick_prime(primes, &prime_name(&claim_ref.uid), &source_namespace);
        if prime.is_none() && !workers.is_empty() {
            // The watch of pods may be ahead of that of claims.
            prime = self.live_prime(claim_ref, &source_namespace).await?.map(Arc::new);
        }
        let volumes = self.volumes(claim_ref, claim.as_deref(), prime.as_deref()).await?;

        let mut observed = Observed {
            now: Timestamp::now(),
            keys: Arc::clone(&self.keys),
            bind_deadline: self.config.bind_deadline,
            claim_ref: claim_ref.clone(),
            claim,
            prime,
            volumes,
            workers,
            in_flight,
            source_namespace,
            source: Source::Unread,
            class: Class::Missing,
            node: Node::Unread,
        };
        let wanted = observed.claim.clone().filter(|claim| {
            !is_going(&claim.metadata) && volume_name(claim).is_none() && observed.handed_over().is_none()
        });
        if let Some(claim) = wanted {
            observed.class = self.class(&claim);
            observed.source = self.source(&claim, &observed.source_namespace).await?;
            let is_open = observed.prime.as_deref().and_then(volume_name).is_none();
            if let Some(node) = selected_node(&claim)
                && is_open
                && observed.waits_for_consumer()
            {
                observed.node = self.node(node).await?;
            }
        }
        Ok(observed)
    }

    /// The claim as it is now, or `None` when it is gone or lives again under another UID.
    async fn live_claim(&self, claim: &ClaimRef) -> Result<Option<PersistentVolumeClaim>, Error> {
        if claim.name.is_empty() {
            // Its name was on an annotation that somebody took off.
            return Ok(None);
        }
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &claim.namespace);
        let found = api.get_opt(&claim.name).await.trying("read the claim")?;
        Ok(found.filter(|found| uid(&found.metadata) == claim.uid))
    }

    async fn live_prime(&self, claim: &ClaimRef, namespace: &str) -> Result<Option<PersistentVolumeClaim>, Error> {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let found = api.get_opt(&prime_name(&claim.uid)).await.trying("read the prime")?;
        Ok(found.filter(|found| self.keys.claim_of(&found.metadata).is_some_and(|of| of.uid == claim.uid)))
    }

    /// The volumes that may hold this claim's data: those that carry its label, and live those that it or its prime
    /// names.
    async fn volumes(
        &self,
        claim_ref: &ClaimRef,
        claim: Option<&PersistentVolumeClaim>,
        prime: Option<&PersistentVolumeClaim>,
    ) -> Result<Vec<Arc<PersistentVolume>>, Error> {
        let mut volumes = self.volumes.of_claim(&claim_ref.uid).await;
        let of_prime = prime.and_then(volume_name);
        // A claim that has long been bound to a volume of ours needs no read: its volume never changes again.
        let is_known = |named: &&str| {
            volumes.iter().any(|volume| name(&volume.metadata) == *named && claimed_by(volume, &claim_ref.uid))
        };
        let of_claim = claim.and_then(volume_name).filter(|named| !is_known(named));
        let live: BTreeSet<&str> = of_prime.into_iter().chain(of_claim).collect();
        let live = try_join_all(live.iter().map(|name| self.live_volume(name))).await?;
        for volume in live.into_iter().flatten() {
            volumes.retain(|cached| cached.metadata.name != volume.metadata.name);
            volumes.push(Arc::new(volume));
        }
        Ok(volumes)
    }

    async fn live_volume(&self, name: &str) -> Result<Option<PersistentVolume>, Error> {
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        api.get_opt(name).await.trying("read a volume")
    }

    fn class(&self, claim: &PersistentVolumeClaim) -> Class {
        let name = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()).unwrap_or_default();
        match self.classes.get(&ObjectRef::new(name)) {
            Some(class) => {
                let has_driver = self.drivers.get(&ObjectRef::new(&class.provisioner)).is_some();
                Class::Found { class, has_driver }
            }
            None => Class::Missing,
        }
    }

    async fn source(&self, claim: &PersistentVolumeClaim, namespace: &str) -> Result<Source<S>, Error> {
        let reference = claim.spec.as_ref().and_then(|spec| spec.data_source_ref.as_ref());
        let name = reference.map_or("", |reference| &reference.name);
        let kind = S::kind(&());
        let claim_namespace = claim.namespace().unwrap_or_default();
        if namespace != claim_namespace {
            let group = S::group(&());
            let asked = grant::Reference { claim_namespace: &claim_namespace, group: &group, kind: &kind, name };
            // Never from a cache: a grant that was taken back must not be used once more. And before the source is
            // looked for, so that nobody learns what exists in a namespace that grants him nothing.
            if !self.is_granted(namespace, asked).await? {
                return Ok(Source::Refused(notices::not_granted(&kind, namespace, name, &claim_namespace)));
            }
        }
        Ok(match self.sources.get(&ObjectRef::new(name).within(namespace)) {
            Some(object) => Source::Found(object),
            None => Source::Refused(notices::source_not_found(&kind, namespace, name)),
        })
    }

    async fn is_granted(&self, namespace: &str, asked: grant::Reference<'_>) -> Result<bool, Error> {
        let api: Api<ReferenceGrant> = Api::namespaced_with(self.client.clone(), namespace, &grant::resource());
        match api.list(&ListParams::default()).await {
            Ok(grants) => Ok(grant::allows(grants.items.iter().map(|grant| &grant.spec), asked)),
            // The CRD is not installed, so nothing is granted.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(error).trying("read the ReferenceGrants"),
        }
    }

    async fn node(&self, name: &str) -> Result<Node, Error> {
        let api: Api<KubeNode> = Api::all(self.client.clone());
        let node = api.get_opt(name).await.trying("read the selected node")?;
        Ok(match node {
            None => Node::Gone,
            Some(node) if is_going(&node.metadata) => Node::Gone,
            Some(node) if node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)) => Node::Cordoned,
            Some(_) => Node::Usable,
        })
    }

    /// Whether the claim still wants a prime: it lives, is unbound, and no volume was handed over to it. Asked right
    /// before one is made, because a second volume for one claim is what must never be.
    pub(crate) async fn wants_prime(&self, claim_ref: &ClaimRef) -> Result<bool, Error> {
        let open = |claim: &PersistentVolumeClaim| !is_going(&claim.metadata) && volume_name(claim).is_none();
        if !self.live_claim(claim_ref).await?.is_some_and(|claim| open(&claim)) {
            return Ok(false);
        }
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        let ours = ListParams::default().labels(&format!("{}={}", self.keys.claim_uid, claim_ref.uid));
        let volumes = api.list(&ours).await.trying("look for a volume that was handed over already")?;
        Ok(!volumes.items.iter().any(|volume| claimed_by(volume, &claim_ref.uid)))
    }

    /// What the provisioner said last of a prime that it could not serve.
    pub(crate) async fn provisioning_failure(&self, prime: &PersistentVolumeClaim) -> Result<Option<String>, Error> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace(&prime.metadata));
        let failures = format!("involvedObject.uid={},reason=ProvisioningFailed", uid(&prime.metadata));
        let events = api.list(&ListParams::default().fields(&failures)).await.trying("read the prime's events")?;
        let when = |event: &Event| {
            let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
            let observed = series.or(event.event_time.as_ref()).map(|time| time.0);
            observed.or(event.last_timestamp.as_ref().map(|time| time.0))
        };
        Ok(events.items.into_iter().max_by_key(when).and_then(|event| event.message))
    }

    /// The last look before a volume changes hands.
    pub(crate) async fn inspect(&self, observed: &Observed<S>) -> Result<Inspection, Error> {
        let prime = observed.prime.as_ref().map(|prime| &prime.metadata);
        let volume = observed.prime.as_deref().and_then(volume_name);
        Ok(Inspection {
            claim: self.live_claim(&observed.claim_ref).await?,
            volume: match volume {
                Some(volume) => self.live_volume(volume).await?,
                None => None,
            },
            pods: match prime {
                Some(prime) => self.pods_that_name(prime).await?,
                None => Vec::new(),
            },
        })
    }

    async fn pods_that_name(&self, prime: &ObjectMeta) -> Result<Vec<Pod>, Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace(prime));
        let pods = api.list(&ListParams::default()).await.trying("look for pods that name the prime")?;
        Ok(pods.items.into_iter().filter(|pod| names_claim(pod, name(prime))).collect())
    }
}

/// The prime among what claims to be one; that in the source's namespace first, and any leftover after it.
fn pick_prime(
    mut candidates: Vec<Arc<PersistentVolumeClaim>>,
    name_wanted: &str,
    namespace_wanted: &str,
) -> Option<Arc<PersistentVolumeClaim>> {
    candidates.retain(|candidate| name(&candidate.metadata) == name_wanted);
    candidates.sort_by_key(|candidate| namespace(&candidate.metadata) != namespace_wanted);
    candidates.into_iter().next()
}
