//! The real machinery in the model's world.

use std::{
    collections::{BTreeSet, VecDeque},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
};

use http::{Method, Request, Response, StatusCode};
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::StorageClass,
};
use kube::{
    Client, Resource,
    client::Body,
    core::PartialObjectMeta,
    runtime::{
        reflector::{self, store::Writer},
        watcher::Event,
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, from_value, json};

use crate::{
    ClaimRef, Config, Populator,
    cache::Cache,
    events::Announcer,
    metrics::Metrics,
    model::{
        api::{Change, Laxity, serve},
        bugs::Tamper,
        populator::{ModelPopulator, Source},
        world::{CLAIMS, Move, NODES, PODS, PREFIX, SOURCES, VOLUMES, World, is_forged},
    },
    observe::Observer,
    pass::Passes,
    places::{Places, Records},
    streams::Wake,
    sweep::Sweep,
};

/// Who may lag behind beside the watches.
pub(crate) const PROVISIONER: &str = "provisioner";
pub(crate) const WATCHED: [&str; 4] = [CLAIMS, VOLUMES, PODS, SOURCES];
/// How often everybody may act before a state counts as one that does not converge.
const PATIENCE: usize = 100;

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Everybody does what is due, undisturbed; but one watch, or the provisioner, may lag behind.
    Round(Option<&'static str>),
    Move(Move),
    /// A pass over one of the claims that ever were, and what others do before each of its requests.
    Pass {
        claim: usize,
        meanwhile: Vec<Vec<Move>>,
    },
    /// The process starts anew, with nothing in memory.
    Restart,
}

/// The watches' end: caches, and the claims that a change has woken.
struct Watches {
    claims: Arc<Cache<PersistentVolumeClaim>>,
    primes: Arc<Cache<PersistentVolumeClaim>>,
    pods: Arc<Cache<PartialObjectMeta<Pod>>>,
    volumes: Arc<Cache<PersistentVolume>>,
    sources: Mutex<Writer<Source>>,
    woken: Mutex<BTreeSet<ClaimRef>>,
}

fn event<K: DeserializeOwned>(change: Change) -> Event<K> {
    match change {
        Change::Applied(object) => Event::Apply(from_value(object).unwrap()),
        Change::Deleted(object) => Event::Delete(from_value(object).unwrap()),
    }
}

impl Watches {
    /// Takes in the oldest change that was not reported yet; says whether there was one.
    fn report(&self, world: &Mutex<World>, resource: &str) -> bool {
        let Some(change) = world.lock().unwrap().store.report(resource) else { return false };
        let woken = match resource {
            CLAIMS => {
                let mut woken = self.claims.apply(event(change.clone()));
                woken.extend(self.primes.apply(event(change)));
                woken
            }
            PODS => self.pods.apply(event(change)),
            VOLUMES => self.volumes.apply(event(change)),
            _ => {
                self.sources.lock().unwrap().apply_watcher_event(&event(change));
                self.claims.claims(|_| true).into_iter().collect()
            }
        };
        self.woken.lock().unwrap().extend(woken);
        true
    }
}

pub(crate) struct Harness {
    world: Arc<Mutex<World>>,
    watches: Arc<Watches>,
    meanwhile: Arc<Mutex<VecDeque<Vec<Move>>>>,
    passes: Passes<ModelPopulator>,
    sweep: Sweep,
    client: Client,
    config: Arc<Config>,
    ever: Vec<ClaimRef>,
}

impl Harness {
    pub(crate) fn new(laxity: Laxity, tamper: Option<Tamper>, keeps_records: bool) -> Self {
        let config = Arc::new(Config::new(PREFIX));
        let keys = Arc::new(config.keys());
        let world = Arc::new(Mutex::new(World::new(laxity)));
        let (sources, sources_writer) = reflector::store();
        let populator = Arc::new(ModelPopulator::new(&world, &keys, keeps_records));
        let records: Records = {
            let populator = Arc::clone(&populator);
            Arc::new(move |claim_uid| populator.recorded(claim_uid))
        };
        let claims = Arc::new(Places::claims::<Source>(PREFIX));
        let places = Places {
            prefix: PREFIX.into(),
            keys: Arc::clone(&keys),
            claims: Arc::clone(&claims),
            records: Arc::clone(&records),
        };
        let watches = Arc::new(Watches {
            primes: Arc::new(places.primes()),
            pods: Arc::new(places.pods()),
            volumes: Arc::new(places.volumes()),
            claims,
            sources: Mutex::new(sources_writer),
            woken: Mutex::default(),
        });
        let meanwhile = Arc::default();
        let client = client(&world, &watches, &meanwhile);
        let passes = Passes {
            observer: Observer {
                client: client.clone(),
                config: Arc::clone(&config),
                keys: Arc::clone(&keys),
                claims: Arc::clone(&watches.claims),
                primes: Arc::clone(&watches.primes),
                grants: Arc::default(),
                nodes: Arc::default(),
                records,
                pods: Arc::clone(&watches.pods),
                volumes: Arc::clone(&watches.volumes),
                sources,
                classes: store(classes()),
                drivers: store(vec![from_value(json!({"metadata": {"name": "csi.example.com"}, "spec": {}})).unwrap()]),
            },
            populator,
            announcer: Announcer::new(client.clone(), &config),
            metrics: Metrics::default(),
            retired: Arc::default(),
            tamper,
        };
        let (requests, _) = tokio::sync::mpsc::unbounded_channel();
        let sweep = Sweep {
            client: client.clone(),
            config: Arc::clone(&config),
            primes: Arc::clone(&watches.primes),
            pods: Arc::clone(&watches.pods),
            volumes: Arc::clone(&watches.volumes),
            classes: passes.observer.classes.clone(),
            retired: Arc::clone(&passes.retired),
            wake: Wake { prefix: PREFIX.into(), requests, claims: Arc::clone(&watches.claims), keys },
        };
        Self { sweep, world, watches, meanwhile, passes, client, config, ever: Vec::new() }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(crate) async fn act(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::Round(lagging) => self.round(*lagging).await?,
            Action::Move(step) => self.step(*step),
            Action::Pass { claim, meanwhile } => {
                if let Some(claim) = self.ever.get(claim % self.ever.len().max(1)).cloned() {
                    self.meanwhile.lock().unwrap().extend(meanwhile.iter().cloned());
                    self.pass(&claim).await;
                    self.meanwhile.lock().unwrap().clear();
                }
            }
            Action::Restart => {
                self.passes.announcer = Announcer::new(self.client.clone(), &self.config);
                self.passes.metrics = Metrics::default();
                self.passes.populator.forget();
            }
        }
        self.note_claims();
        self.check_safety()
    }

    fn step(&self, step: Move) {
        if let Move::Report(resource) = step {
            self.watches.report(&self.world, resource);
        } else {
            self.world().apply(step);
        }
    }

    async fn pass(&mut self, claim: &ClaimRef) {
        // A pass that fails, or asks for the next one, is repeated; when, the model does not care.
        if !matches!(self.passes.run(claim).await, Ok(None)) {
            self.watches.woken.lock().unwrap().insert(claim.clone());
        }
    }

    fn note_claims(&mut self) {
        let claims = self.world().claims();
        for (key, claim) in claims {
            let uid = claim["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            if !self.ever.iter().any(|ever| ever.uid == uid) {
                self.ever.push(ClaimRef { namespace: key.1, name: key.2, uid });
            }
        }
    }

    async fn round(&mut self, lagging: Option<&str>) -> Result<(), String> {
        for resource in WATCHED.into_iter().filter(|resource| lagging != Some(*resource)) {
            while self.watches.report(&self.world, resource) {}
        }
        // As the watch of cordoned nodes does.
        for node in NODES {
            self.passes.observer.nodes.forget(node);
        }
        let woken = std::mem::take(&mut *self.watches.woken.lock().unwrap());
        for claim in woken {
            self.pass(&claim).await;
            self.check_safety()?;
        }
        for step in [Move::Schedule, Move::Provision, Move::PvController, Move::Kubelet, Move::PvcProtection] {
            if step == Move::Provision && lagging == Some(PROVISIONER) {
                continue;
            }
            self.step(step);
            self.check_safety()?;
        }
        Ok(())
    }

    /// Lets everybody act, fairly and undisturbed, until nothing changes any more.
    pub(crate) async fn settle(&mut self) -> Result<(), String> {
        self.world().heal();
        let mut quiet = 0;
        for round in 0..PATIENCE {
            let before = self.world().store.objects.clone();
            if round % 5 == 4 || quiet > 0 {
                self.watches.woken.lock().unwrap().extend(self.ever.iter().cloned());
            }
            self.round(None).await?;
            self.sweep.reclaim_orphans().await.map_err(|error| error.to_string())?;
            let after = self.world().store.objects.clone();
            quiet = if without_events(&before) == without_events(&after) { quiet + 1 } else { 0 };
            if quiet == 4 {
                return Ok(());
            }
        }
        Err(format!("does not converge: {}", self.describe()))
    }

    /// No claim has, or will have, a volume of ours that is not whole; and none has two.
    fn check_safety(&self) -> Result<(), String> {
        let world = self.world();
        if let Some(broken) = world.broken.first() {
            return Err(broken.clone());
        }
        for name in &world.kept {
            let volume = world.store.objects.get(&crate::model::api::key(VOLUMES, "", name));
            if volume.is_none_or(|volume| volume["spec"]["persistentVolumeReclaimPolicy"] != "Retain") {
                return Err(format!("volume {name} was its user's to keep, and is now {volume:?}"));
            }
        }
        for (key, claim) in world.claims() {
            let uid = &claim["metadata"]["uid"];
            let mut volumes = BTreeSet::new();
            for (volume, object) in world.store.of(VOLUMES) {
                let Some(disk) = world.disks.get(&volume.2) else { continue };
                if object["spec"]["claimRef"]["uid"] != *uid {
                    continue;
                }
                if !disk.is_whole || !disk.is_verified || disk.is_tampered {
                    return Err(format!("claim {key:?} was given {volume:?}, which is {disk:?}"));
                }
                volumes.insert(volume.2);
            }
            if volumes.len() > 1 {
                return Err(format!("claim {key:?} was given {volumes:?}"));
            }
        }
        Ok(())
    }

    /// Every claim that lives has its volume, or a volume that does not match and is kept for that.
    pub(crate) fn check_bound(&self) -> Result<(), String> {
        let world = self.world();
        for (key, claim) in world.claims() {
            let uid = claim["metadata"]["uid"].as_str().unwrap_or_default();
            let kept = world.store.of(VOLUMES).iter().any(|(_, volume)| {
                volume["spec"]["capacity"]["storage"] == "1Mi"
                    && volume["spec"]["claimRef"]["name"] == format!("prime-{uid}")
            });
            if kept && world.queued.contains(uid) {
                return Err(format!("claim {key:?} holds its place for a volume that will never match"));
            }
            // One whose volume is gone is lost, to nobody's profit but not by us.
            if !claim["spec"]["volumeName"].is_string() && !kept {
                drop(world);
                return Err(format!("claim {key:?} never got a volume: {}", self.describe()));
            }
        }
        Ok(())
    }

    /// Nothing is left of claims that are gone or done.
    pub(crate) fn check_clean(&self) -> Result<(), String> {
        let world = self.world();
        let open = |uid: &str| {
            world
                .claims()
                .iter()
                .any(|(_, claim)| claim["metadata"]["uid"] == uid && !claim["spec"]["volumeName"].is_string())
        };
        let mut left = Vec::new();
        let forged = |(_, object): &(crate::model::api::Key, Value)| is_forged(object);
        for (key, object) in world.primes().into_iter().chain(world.store.of(PODS)).filter(|object| !forged(object)) {
            let label = &object["metadata"]["labels"][format!("{PREFIX}/claim-uid")];
            if label.as_str().is_some_and(|uid| !open(uid)) {
                left.push(key.2);
            }
        }
        for (key, volume) in world.store.of(VOLUMES) {
            let reference = &volume["spec"]["claimRef"];
            let claim = crate::model::api::key(
                CLAIMS,
                reference["namespace"].as_str().unwrap_or_default(),
                reference["name"].as_str().unwrap_or_default(),
            );
            let lives =
                world.store.objects.get(&claim).is_some_and(|claim| claim["metadata"]["uid"] == reference["uid"]);
            // A class that says Retain keeps what was handed over, also of claims that are gone.
            let kept = volume["metadata"]["annotations"][format!("{PREFIX}/rebound-at")].is_string()
                && volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain";
            // What a user orphaned together with its claim, before it was marked, could be another populator's.
            let claim_uid = reference["name"].as_str().unwrap_or_default().trim_start_matches("prime-").to_owned();
            let unprovable = world.robbed.contains(&claim_uid) && volume["metadata"]["labels"].is_null();
            if world.disks.contains_key(&key.2) && !lives && !kept && !unprovable {
                left.push(key.2);
            }
        }
        left.extend(world.queued.iter().filter(|uid| !open(uid)).map(|uid| format!("queued {uid}")));
        drop(world);
        if left.is_empty() { Ok(()) } else { Err(format!("left behind: {left:?}; {}", self.describe())) }
    }

    fn describe(&self) -> String {
        let world = self.world();
        let lines = world
            .store
            .objects
            .iter()
            .filter(|((resource, ..), _)| matches!(resource.as_str(), CLAIMS | PODS | VOLUMES));
        let lines = lines.map(|((_, namespace, name), object)| {
            format!(
                "\n  {namespace}/{name} uid={} going={} phase={} volume={} claimRef={} policy={} annotations={}",
                object["metadata"]["uid"],
                object["metadata"]["deletionTimestamp"].is_string(),
                object["status"]["phase"],
                object["spec"]["volumeName"],
                object["spec"]["claimRef"]["uid"],
                object["spec"]["persistentVolumeReclaimPolicy"],
                object["metadata"]["annotations"],
            )
        });
        lines.collect()
    }

    /// Everybody deletes their claims.
    pub(crate) fn delete_claims(&mut self) {
        for index in 0..crate::model::world::WANTED.len() {
            self.step(Move::DeleteClaim(index));
        }
    }
}

fn without_events(
    objects: &std::collections::BTreeMap<crate::model::api::Key, Value>,
) -> Vec<(&crate::model::api::Key, &Value)> {
    objects.iter().filter(|((resource, ..), _)| resource != "events").collect()
}

fn classes() -> Vec<StorageClass> {
    let class = |mode: &str, policy: &str, name: &str| {
        from_value(json!({
            "metadata": {"name": name}, "provisioner": "csi.example.com",
            "volumeBindingMode": mode, "reclaimPolicy": policy,
        }))
        .unwrap()
    };
    vec![
        class("Immediate", "Delete", "immediate-delete"),
        class("WaitForFirstConsumer", "Delete", "waiting-delete"),
        class("Immediate", "Retain", "immediate-retain"),
    ]
}

fn store<K>(objects: Vec<K>) -> reflector::Store<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let (store, mut writer) = reflector::store();
    for object in objects {
        writer.apply_watcher_event(&Event::Apply(object));
    }
    store
}

/// A client whose requests end in the model, and before each of which somebody else may act.
fn client(world: &Arc<Mutex<World>>, watches: &Arc<Watches>, meanwhile: &Arc<Mutex<VecDeque<Vec<Move>>>>) -> Client {
    let (world, watches, meanwhile) = (Arc::clone(world), Arc::clone(watches), Arc::clone(meanwhile));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (world, watches, meanwhile) = (Arc::clone(&world), Arc::clone(&watches), Arc::clone(&meanwhile));
        async move {
            let next = meanwhile.lock().unwrap().pop_front().unwrap_or_default();
            for step in next {
                if let Move::Report(resource) = step {
                    watches.report(&world, resource);
                } else {
                    world.lock().unwrap().apply(step);
                }
            }
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let request = Request::from_parts(parts, Body::empty());
            let mut world = world.lock().unwrap();
            if world.has_quota && *request.method() == Method::POST && request.uri().path().ends_with(CLAIMS) {
                let refusal = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403,
                                     "reason": "Forbidden", "message": "exceeded quota"});
                let mut response = Response::new(Body::from(refusal.to_string().into_bytes()));
                *response.status_mut() = StatusCode::FORBIDDEN;
                return Ok::<_, Infallible>(response);
            }
            let laxity = world.laxity;
            Ok(serve(&mut world.store, laxity, &request, &body))
        }
    });
    Client::new(service, "default")
}
