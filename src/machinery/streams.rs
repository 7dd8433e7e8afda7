//! The watches: what they keep, and which claims each event wakes.
//!
//! Each keeps as little as it can. Claims of other kinds of source, and those that are filled, are dropped before they
//! are stored; workers and volumes are selected by our own label and kept where something may be left to do
//! ([`crate::places`]); of nodes only the cordoned are watched, and of workers only the metadata. No CRD of somebody else is
//! needed: a watch of `ReferenceGrant`s that cannot be started is tried again for ever and holds up nothing.

use std::{fmt::Debug, future::Future, hash::Hash, sync::Arc};

use futures::{Stream, StreamExt};
use k8s_openapi::api::{
    core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::{CSIDriver, StorageClass},
};
use kube::{
    Api, Client, Resource,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        reflector::store::Writer,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedSender;

use crate::{
    cache::Cache,
    grant,
    grants::Grants,
    names::Keys,
    news::{Known, News},
    observe::Nodes,
    observed::{name, namespace, selected_node, volume_name},
    places::{names_source, source_namespace},
    populator::ClaimRef,
    prune::prune,
    readable::watch_readable,
};

/// Wakes claims.
#[derive(Clone)]
pub(crate) struct Wake {
    pub(crate) prefix: String,
    pub(crate) requests: UnboundedSender<ClaimRef>,
    pub(crate) claims: Arc<Cache<PersistentVolumeClaim>>,
    pub(crate) keys: Arc<Keys>,
}

impl Wake {
    pub(crate) fn all(&self, claims: impl IntoIterator<Item = ClaimRef>) {
        for claim in claims {
            // The queue outlives the watches; when it is gone, the process is about to be.
            let _ = self.requests.send(claim);
        }
    }

    /// Wakes those among the claims that still wait for a volume.
    fn waiting<S: Resource<DynamicType = ()>>(&self, concerned: impl Fn(&PersistentVolumeClaim) -> bool) {
        let waiting = |claim: &PersistentVolumeClaim| {
            names_source::<S>(claim) && volume_name(claim).is_none() && concerned(claim)
        };
        self.all(self.claims.claims(waiting));
    }
}

/// A watch that survives whatever happens to it.
fn watch<K>(client: Client, config: watcher::Config) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource<DynamicType: Default> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let kind = K::kind(&K::DynamicType::default()).into_owned();
    surviving(watch_readable(client, config), move |error| tracing::warn!(kind, %error, "watch interrupted"))
}

fn surviving<K: Send>(
    stream: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send,
    interrupted: impl Fn(&watcher::Error) + Send,
) -> impl Stream<Item = Event<K>> + Send {
    stream.default_backoff().filter_map(move |event| std::future::ready(event.inspect_err(&interrupted).ok()))
}

/// Keeps a cache by claim up to date.
async fn fill<K>(events: impl Stream<Item = Event<K>>, cache: Arc<Cache<K>>, wake: Wake)
where
    K: Resource,
{
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        wake.all(cache.apply(event));
    }
}

/// Claims and primes: one watch for both, so that they are seen in the order in which they changed.
pub(crate) async fn claims(client: Client, primes: Arc<Cache<PersistentVolumeClaim>>, wake: Wake) {
    let mut events = std::pin::pin!(watch::<PersistentVolumeClaim>(client, watcher::Config::default()));
    while let Some(event) = events.next().await {
        wake.all(wake.claims.apply(event.clone()));
        wake.all(primes.apply(event));
    }
}

/// Workers.
pub(crate) fn pods(
    client: Client,
    cache: Arc<Cache<PartialObjectMeta<Pod>>>,
    wake: Wake,
) -> impl Future<Output = ()> + Send {
    let ours = watcher::Config::default().labels(&wake.keys.claim_uid);
    fill(watch::<PartialObjectMeta<Pod>>(client, ours), cache, wake)
}

/// Volumes that are marked as ours.
pub(crate) fn volumes(
    client: Client,
    cache: Arc<Cache<PersistentVolume>>,
    wake: Wake,
) -> impl Future<Output = ()> + Send {
    let ours = watcher::Config::default().labels(&wake.keys.claim_uid);
    fill(watch::<PersistentVolume>(client, ours), cache, wake)
}

/// A reflector that also wakes the waiting claims that its news concern.
async fn reflect<S, K, Concerns>(client: Client, mut store: Writer<K>, wake: Wake, concerns: Concerns)
where
    S: Resource<DynamicType = ()>,
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Hash + Eq + Clone,
    Concerns: Fn(&K, &PersistentVolumeClaim) -> bool,
{
    let mut known = Known::default();
    let mut events = std::pin::pin!(watch::<K>(client, watcher::Config::default()));
    while let Some(mut event) = events.next().await {
        if let Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) = &mut event {
            prune(object, &wake.prefix);
        }
        store.apply_watcher_event(&event);
        match known.learn(&event) {
            News::Nobody => {}
            News::Of(object) => wake.waiting::<S>(|claim| concerns(object, claim)),
            News::ForAll => wake.waiting::<S>(|_| true),
        }
    }
}

/// Sources.
pub(crate) fn sources<S>(client: Client, store: Writer<S>, wake: Wake) -> impl Future<Output = ()> + Send
where
    S: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let keys = Arc::clone(&wake.keys);
    reflect::<S, S, _>(client, store, wake, move |source, claim| {
        let reference = claim.spec.as_ref().and_then(|spec| spec.data_source_ref.as_ref());
        reference.is_some_and(|reference| reference.name == name(source.meta()))
            && source_namespace(&keys, claim).is_ok_and(|it| it == namespace(source.meta()))
    })
}

/// Storage classes.
pub(crate) fn classes<S>(client: Client, store: Writer<StorageClass>, wake: Wake) -> impl Future<Output = ()> + Send
where
    S: Resource<DynamicType = ()> + Send + Sync,
{
    reflect::<S, StorageClass, _>(client, store, wake, |class, claim| {
        let named = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
        named == class.metadata.name.as_deref()
    })
}

/// CSI drivers; there are few, and they come with their classes.
pub(crate) fn drivers<S>(client: Client, store: Writer<CSIDriver>, wake: Wake) -> impl Future<Output = ()> + Send
where
    S: Resource<DynamicType = ()> + Send + Sync,
{
    reflect::<S, CSIDriver, _>(client, store, wake, |_, _| true)
}

/// Nodes that become unusable for volumes that do not exist yet.
pub(crate) async fn cordons<S: Resource<DynamicType = ()>>(client: Client, nodes: Arc<Nodes>, wake: Wake) {
    let cordoned = watcher::Config::default().fields("spec.unschedulable=true");
    let mut events = std::pin::pin!(watch::<PartialObjectMeta<Node>>(client, cordoned));
    while let Some(event) = events.next().await {
        if let Event::Apply(node) | Event::InitApply(node) | Event::Delete(node) = event {
            nodes.forget(name(&node.metadata));
            wake.waiting::<S>(|claim| selected_node(claim) == node.metadata.name.as_deref());
        }
    }
}

/// Grants.
pub(crate) async fn grants<S: Resource<DynamicType = ()>>(client: Client, grants: Arc<Grants>, wake: Wake) {
    let api = Api::<grant::ReferenceGrant>::all_with(client, &grant::resource());
    let mut events = std::pin::pin!(surviving(watcher(api, watcher::Config::default()), |error| {
        // Ordinary where its CRD is not installed.
        tracing::debug!(%error, "watch of ReferenceGrants interrupted");
    }));
    while let Some(event) = events.next().await {
        let granting = match &event {
            Event::Apply(grant) | Event::Delete(grant) => Some(namespace(&grant.metadata).to_owned()),
            Event::Init | Event::InitApply(_) | Event::InitDone => None,
        };
        // A list counts when it is complete.
        let listed = matches!(event, Event::InitDone);
        grants.apply(event);
        if listed || granting.is_some() {
            let granted = |it: &str| listed || granting.as_deref() == Some(it);
            let keys = Arc::clone(&wake.keys);
            wake.waiting::<S>(|claim| {
                source_namespace(&keys, claim).is_ok_and(|it| it != namespace(&claim.metadata) && granted(&it))
            });
        }
    }
}
