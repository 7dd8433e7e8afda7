//! Reads one claim's world: what the watches know, and live what a stale answer could do harm with.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{Event, Node as KubeNode, PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::{CSIDriver, StorageClass},
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
    grants::Grants,
    names::{Keys, prime_name},
    notices,
    observed::{
        Class, Node, Observed, Source, Stray, claimed_by, is_going, name, namespace, selected_node, uid, volume_name,
    },
    places::{NoNamespace, Records, Standing, Which, claim_ref, source_namespace, standing},
    pods::pods_naming,
    populator::{ClaimRef, Recorded},
};

/// Where everything is read.
pub(crate) struct Observer<S: Resource<DynamicType = ()> + 'static> {
    pub(crate) client: Client,
    pub(crate) config: Arc<Config>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) claims: Arc<Cache<PersistentVolumeClaim>>,
    pub(crate) primes: Arc<Cache<PersistentVolumeClaim>>,
    pub(crate) pods: Arc<Cache<PartialObjectMeta<Pod>>>,
    pub(crate) volumes: Arc<Cache<PersistentVolume>>,
    pub(crate) grants: Arc<Grants>,
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) records: Records,
    pub(crate) sources: Store<S>,
    pub(crate) classes: Store<StorageClass>,
    pub(crate) drivers: Store<CSIDriver>,
}

impl<S> Observer<S>
where
    S: Resource<DynamicType = ()> + Clone,
{
    /// One snapshot.
    pub(crate) async fn observe(&self, asked: &ClaimRef, in_flight: bool) -> Result<Observed<S>, Error> {
        let recorded = (self.records)(&asked.uid);
        let mut claim = self.claims.of_claim(&asked.uid).into_iter().next();
        // Whoever asked may have read the names from a label. The claim itself knows better, and so do the records.
        let claim_ref =
            claim.as_deref().and_then(claim_ref).or_else(|| recorded.claim()).unwrap_or_else(|| asked.clone());
        if claim.is_none() {
            // What follows from a missing claim cannot be undone, so a cache is not enough.
            claim = self.live_claim(&claim_ref).await?.map(Arc::new);
        }
        let source_namespace = match &claim {
            Some(claim) => source_namespace(&self.keys, claim),
            None => Ok(recorded.namespace().unwrap_or_else(|| claim_ref.namespace.clone())),
        };
        let (source_namespace, misnamed) = match source_namespace {
            Ok(namespace) => (namespace, None),
            // Nothing can be there.
            Err(NoNamespace(named)) => (String::new(), Some(named)),
        };
        let workers = self.workers(&claim_ref.uid, &recorded);
        let mut primes = self.primes.of_claim(&claim_ref.uid);
        if primes.is_empty() && !workers.is_empty() && !source_namespace.is_empty() {
            // The watch of pods may be ahead of that of claims.
            primes.extend(self.live_prime(&claim_ref, &source_namespace).await?.map(Arc::new));
        }
        let (prime, stray) = pick_prime(&self.keys, &recorded, primes, &source_namespace);
        let made = prime.as_ref().or(stray.as_ref().and_then(Stray::made));
        let volumes = self.volumes(&claim_ref, claim.as_deref(), made.map(AsRef::as_ref)).await?;

        let mut observed = Observed {
            now: Timestamp::now(),
            keys: Arc::clone(&self.keys),
            bind_deadline: self.config.bind_deadline,
            claim_ref,
            claim,
            prime,
            stray,
            volumes,
            workers,
            recorded,
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
            observed.source = match misnamed {
                Some(named) => Source::Refused(notices::no_namespace(&self.keys.source_namespace, &named)),
                None => self.source(&claim, &observed.source_namespace).await?,
            };
            let is_open = observed.prime.as_deref().and_then(volume_name).is_none();
            if let Some(node) = selected_node(&claim)
                && is_open
                && observed.waits_for_consumer()
            {
                observed.node = self.node(node, Fresh::Enough).await?;
            }
        }
        Ok(observed)
    }

    /// Nothing of the claim is left to do: it costs no memory from here on.
    pub(crate) fn forget(&self, claim_uid: &str) {
        self.claims.forget(claim_uid);
        self.volumes.forget(claim_uid);
    }

    /// What of the claim's pods is ours, by the records.
    fn workers(&self, claim_uid: &str, recorded: &Recorded) -> Vec<Arc<PartialObjectMeta<Pod>>> {
        let mut workers = self.pods.of_claim(claim_uid);
        workers.retain(|pod| standing(&self.keys, recorded, Which::Worker, &pod.metadata) != Standing::Foreign);
        workers
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
        api.get_opt(&prime_name(&claim.uid)).await.trying("read the prime")
    }

    /// The volumes that may hold this claim's data: those that carry its label, and live those that it or its prime
    /// names.
    async fn volumes(
        &self,
        claim_ref: &ClaimRef,
        claim: Option<&PersistentVolumeClaim>,
        prime: Option<&PersistentVolumeClaim>,
    ) -> Result<Vec<Arc<PersistentVolume>>, Error> {
        let mut volumes = self.volumes.of_claim(&claim_ref.uid);
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
        if !self.is_granted(claim, namespace, Fresh::Enough).await? {
            let claim_namespace = claim.namespace().unwrap_or_default();
            return Ok(Source::Refused(notices::not_granted(&kind, namespace, name, &claim_namespace)));
        }
        Ok(match self.sources.get(&ObjectRef::new(name).within(namespace)) {
            Some(object) => Source::Found(object),
            None => Source::Refused(notices::source_not_found(&kind, namespace, name)),
        })
    }

    /// Whether the claim may use a source of that namespace. Asked before the source is looked for, so that nobody learns
    /// what exists in a namespace that grants him nothing.
    async fn is_granted(&self, claim: &PersistentVolumeClaim, granting: &str, fresh: Fresh) -> Result<bool, Error> {
        let claim_namespace = namespace(&claim.metadata);
        if granting == claim_namespace {
            return Ok(true);
        }
        let reference = claim.spec.as_ref().and_then(|spec| spec.data_source_ref.as_ref());
        let name = reference.map_or("", |reference| &reference.name);
        let (group, kind) = (S::group(&()), S::kind(&()));
        let asked = grant::Reference { claim_namespace, group: &group, kind: &kind, name };
        if let (Fresh::Enough, Some(known)) = (fresh, self.grants.allow(granting, asked)) {
            return Ok(known);
        }
        let api: Api<ReferenceGrant> = Api::namespaced_with(self.client.clone(), granting, &grant::resource());
        match api.list(&ListParams::default()).await {
            Ok(grants) => Ok(grant::allows(grants.items.iter().map(|grant| &grant.spec), asked)),
            // The CRD is not installed, so nothing is granted.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(error).trying("read the ReferenceGrants"),
        }
    }

    async fn node(&self, name: &str, fresh: Fresh) -> Result<Node, Error> {
        if let (Fresh::Enough, Some(known)) = (fresh, self.nodes.known(name)) {
            return Ok(known);
        }
        let api: Api<KubeNode> = Api::all(self.client.clone());
        let node = api.get_opt(name).await.trying("read the selected node")?;
        let node = match node {
            None => Node::Gone,
            Some(node) if is_going(&node.metadata) => Node::Gone,
            Some(node) if node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)) => Node::Cordoned,
            Some(_) => Node::Usable,
        };
        self.nodes.learn(name, node);
        Ok(node)
    }

    /// Whether the claim still wants a prime: it lives, is unbound and may use the source, its node will do, and no volume
    /// was handed over to it. All of it is read live right before one is made, because a second volume for one claim is
    /// what must never be, and a grant that was taken back must not be used once more.
    pub(crate) async fn wants_prime(&self, observed: &Observed<S>, node: Option<&str>) -> Result<bool, Error> {
        let claim_ref = &observed.claim_ref;
        let open = |claim: &PersistentVolumeClaim| !is_going(&claim.metadata) && volume_name(claim).is_none();
        let Some(claim) = self.live_claim(claim_ref).await?.filter(open) else { return Ok(false) };
        if !self.is_granted(&claim, &observed.source_namespace, Fresh::Live).await? {
            return Ok(false);
        }
        if let Some(node) = node
            && self.node(node, Fresh::Live).await? != Node::Usable
        {
            return Ok(false);
        }
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        let ours = ListParams::default().labels(&format!("{}={}", self.keys.claim_uid, claim_ref.uid));
        let volumes = api.list(&ours).await.trying("look for a volume that was handed over already")?;
        let handed_over = volumes.items.into_iter().find(|volume| claimed_by(volume, &claim_ref.uid));
        let wanted = handed_over.is_none();
        if let Some(volume) = handed_over {
            // From now on the passes wait for it to be bound.
            self.volumes.wrote(volume);
        }
        Ok(wanted)
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
        let claim = self.live_claim(&observed.claim_ref).await?;
        let granted = match &claim {
            Some(claim) => self.is_granted(claim, &observed.source_namespace, Fresh::Live).await?,
            None => false,
        };
        Ok(Inspection {
            claim: claim.filter(|_| granted),
            volume: match volume {
                Some(volume) => self.live_volume(volume).await?,
                None => None,
            },
            pods: match prime {
                // Live, because what is missed here is never made good.
                Some(prime) => pods_naming(&self.client, namespace(prime), name(prime))
                    .await
                    .trying("look for pods that name the prime")?,
                None => Vec::new(),
            },
            // After the pods: of none that is there the record is yet to come.
            recorded: (self.records)(&observed.claim_ref.uid),
        })
    }
}

/// How much a read may be behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fresh {
    /// As far as watches and earlier reads know: nothing is made by it yet.
    Enough,
    /// As it is now.
    Live,
}

/// The nodes that were read lately: many claims may wait for one, and each would ask for it in every pass.
#[derive(Default)]
pub(crate) struct Nodes(Mutex<HashMap<String, (Instant, Node)>>);

impl Nodes {
    /// How long an answer holds for a claim that waits. A node that is cordoned or deleted meanwhile is read again before
    /// anything is made for it.
    const HOLDS: Duration = Duration::from_secs(15);
    const LIMIT: usize = 10_000;

    fn known(&self, name: &str) -> Option<Node> {
        let nodes = self.lock();
        nodes.get(name).filter(|(since, _)| since.elapsed() < Self::HOLDS).map(|(_, node)| *node)
    }

    fn learn(&self, name: &str, node: Node) {
        let mut nodes = self.lock();
        if nodes.len() >= Self::LIMIT {
            nodes.clear();
        }
        nodes.insert(name.into(), (Instant::now(), node));
    }

    /// Something happened to a node.
    pub(crate) fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Instant, Node)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The claim's prime, the one in the source's namespace first and any leftover elsewhere after it; and what stands in its
/// place.
fn pick_prime(
    keys: &Keys,
    recorded: &Recorded,
    mut candidates: Vec<Arc<PersistentVolumeClaim>>,
    namespace_wanted: &str,
) -> (Option<Arc<PersistentVolumeClaim>>, Option<Stray>) {
    candidates.sort_by_key(|candidate| namespace(&candidate.metadata) != namespace_wanted);
    let judge = |candidate: &PersistentVolumeClaim| standing(keys, recorded, Which::Prime, &candidate.metadata);
    let stray = candidates
        .iter()
        .filter(|candidate| namespace(&candidate.metadata) == namespace_wanted)
        .find(|candidate| judge(candidate) != Standing::Recorded)
        .map(|object| Stray { object: Arc::clone(object), unrecorded: judge(object) == Standing::Unrecorded });
    (candidates.into_iter().find(|candidate| judge(candidate) == Standing::Recorded), stray)
}
