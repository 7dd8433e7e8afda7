//! The three callbacks: they look at what is ours, ask the pure deciders, and do what those say.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, PostParams, Preconditions},
};
use populator_crd::{
    names,
    v1alpha1::{SyncPhase, VMDiskImage, VMDiskSync, VMDiskSyncStatus},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use volume_populator::{
    CallbackError, ClaimRef, Cleanup, CleanupContext, Complete, Context, Notice, Populate, Populator, PrimeSpec, Wait,
};

use crate::{
    gate::Gate,
    image,
    pod::{Order, WorkerPod},
    policy::PolicyReceiver,
    route,
    runtime::metrics::Metrics,
    sync::{
        decide::{self, Answer, Permit, Prime, Situation, Step},
        failure::Failure,
        records::Records,
        transition::{self, Admission},
    },
    worker::Worker,
    world::{World, owner_of, pruned_pod},
};

/// The most steps of one pass: a bound on a loop that ends by itself, in case two deciders disagree.
const STEPS: usize = 8;

/// How soon to look again for the end of a worker, in case its node is lost and no event tells.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// Fills claims from images.
pub struct DiskPopulator {
    client: Client,
    world: World,
    records: Records,
    gate: Gate,
    policy: PolicyReceiver,
    metrics: Metrics,
    worker_image: String,
    wakes: Mutex<Option<mpsc::UnboundedReceiver<ClaimRef>>>,
    /// Held by the one claim that enters; fair.
    entrance: tokio::sync::Mutex<()>,
    /// Claims whose image is refused as it is: a change of the policy may help.
    refused: Arc<Mutex<HashMap<String, ClaimRef>>>,
}

/// What a [`DiskPopulator`] is made of.
pub struct Parts {
    /// The one client of the process.
    pub client: Client,
    /// Our own objects.
    pub world: World,
    /// The gate.
    pub gate: Gate,
    /// The policy in force.
    pub policy: PolicyReceiver,
    /// Our metrics.
    pub metrics: Metrics,
    /// The container image of workers.
    pub worker_image: String,
    /// The claims that need a pass.
    pub wakes: mpsc::UnboundedReceiver<ClaimRef>,
    /// Wakes claims.
    pub wake: mpsc::UnboundedSender<ClaimRef>,
}

type CallbackResult<T> = Result<T, CallbackError>;

impl DiskPopulator {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let refused = Arc::<Mutex<HashMap<String, ClaimRef>>>::default();
        tokio::spawn(wake_refused(parts.policy.clone(), Arc::clone(&refused), parts.wake));
        Self {
            records: Records::new(parts.client.clone(), Arc::clone(&parts.world.syncs)),
            client: parts.client,
            world: parts.world,
            gate: parts.gate,
            policy: parts.policy,
            metrics: parts.metrics,
            worker_image: parts.worker_image,
            wakes: Mutex::new(Some(parts.wakes)),
            entrance: tokio::sync::Mutex::default(),
            refused,
        }
    }

    /// Steps through the sync's situation until there is nothing left to do now.
    async fn advance(&self, context: &Context<VMDiskImage>) -> CallbackResult<Populate> {
        let (claim, image) = (&context.claim_ref, &*context.source);
        let mut permit = Permit::Unasked;
        for _ in 0..STEPS {
            let Some(sync) = self.records.find(claim, &context.source_namespace) else {
                permit = self.enter(context).await?;
                continue;
            };
            if let Some(wait) = self.make_room(&sync, context).await? {
                return Ok(Populate::Hold(wait));
            }
            let policy = Arc::clone(&self.policy.borrow());
            let (sync_uid, none) = (sync.uid().unwrap_or_default(), VMDiskSyncStatus::default());
            let status = sync.status.as_ref().unwrap_or(&none);
            let pod = self.world.worker_of(&claim.uid, &sync_uid);
            let now = Timestamp::now();
            let worker = Worker::observe(pod.as_deref(), now);
            let situation = Situation {
                status,
                admission: Admission {
                    claim_uid: &claim.uid,
                    generation: image.metadata.generation.unwrap_or_default(),
                    route: route::choose(&image.spec)?,
                },
                worker: &worker,
                prime: prime_of(context.prime.as_deref(), &sync_uid),
                worker_binds: binds_immediately(&context.claim),
                prime_refused: context.prime_refused.as_deref(),
                permit,
                policy: &policy,
                now,
                jitter: jitter(&sync_uid, status.attempt),
            };
            match decide::next(&situation) {
                Step::AskGate(_) if status.phase == Some(SyncPhase::Syncing) => {
                    permit = self.gate.adopt(&sync_uid).await?;
                }
                Step::AskGate(place) => permit = self.gate.request(&sync_uid, place, claim).await?,
                Step::Write(next) => {
                    self.write(&sync, &next, &worker).await?;
                    if next.phase == Some(SyncPhase::Syncing) {
                        self.gate.admitted(&sync_uid).await?;
                        permit = Permit::Fresh;
                    } else {
                        permit = Permit::Unasked;
                    }
                }
                Step::Vouch => {
                    self.gate.admitted(&sync_uid).await?;
                    permit = Permit::Fresh;
                }
                Step::CreateWorker => {
                    let prime_uid = context.prime.as_deref().and_then(|prime| prime.metadata.uid.as_deref());
                    let order = Order { image, claim: &context.claim, status, policy: &policy, prime_uid };
                    let Some(refused) = self.create_worker(order, context, &sync).await? else {
                        self.gate.started(&sync_uid).await?;
                        return Ok(Populate::Running(wait(None, Some(policy.start_timeout))));
                    };
                    let next = transition::failed(status, &refused, None, &policy, now, situation.jitter);
                    self.write(&sync, &next, &worker).await?;
                    permit = Permit::Unasked;
                }
                Step::DeleteWorker => {
                    if let Some(pod) = pod {
                        self.delete_worker(&pod, &worker).await?;
                    }
                    return Ok(Populate::Hold(wait(None, Some(LOOK_AGAIN))));
                }
                Step::Answer(answer) => return Ok(to_machinery(answer, &sync, context)),
            }
        }
        Err(format!("the sync of claim {}/{} did not come to rest", claim.namespace, claim.name).into())
    }

    /// Creates the record of a new sync and takes its place in the queue, one claim at a time in the order in which the
    /// machinery asked: the answers of the API server come in any order.
    async fn enter(&self, context: &Context<VMDiskImage>) -> CallbackResult<Permit> {
        let _turn = self.entrance.lock().await;
        let claim = &context.claim_ref;
        self.records.create(claim, &context.source, &context.source_namespace).await?;
        let sync = self.records.find(claim, &context.source_namespace);
        let Some(sync) = sync.filter(|sync| sync.status.is_none()) else {
            return Ok(Permit::Unasked);
        };
        Ok(self.gate.request(&sync.uid().unwrap_or_default(), None, claim).await?)
    }

    /// Removes what stands in the way of this sync: a record of an image that is gone, a worker of a sync that is gone.
    async fn make_room(&self, sync: &VMDiskSync, context: &Context<VMDiskImage>) -> CallbackResult<Option<Wait>> {
        let soon = Some(wait(None, Some(LOOK_AGAIN)));
        if sync.metadata.deletion_timestamp.is_some() {
            return Ok(soon);
        }
        let syncing = sync.status.as_ref().and_then(|status| status.phase) == Some(SyncPhase::Syncing);
        if sync.spec.image.uid != context.source.uid().unwrap_or_default() && !syncing {
            self.records.delete(sync).await?;
            return Ok(soon);
        }
        let pods = self.world.pods.of_claim(&context.claim_ref.uid);
        let mut strangers = false;
        for pod in &pods {
            if owner_of(pod) != sync.metadata.uid.as_deref() {
                strangers = true;
                self.delete_worker(pod, &Worker::observe(Some(pod), Timestamp::now())).await?;
            }
        }
        Ok(soon.filter(|_| strangers))
    }

    /// Writes a status, and counts the attempt that it ends.
    async fn write(&self, sync: &VMDiskSync, next: &VMDiskSyncStatus, worker: &Worker) -> CallbackResult<()> {
        self.records.write(sync, next).await?;
        let was = sync.status.as_ref().and_then(|status| status.phase);
        if was != Some(SyncPhase::Syncing) || next.phase == was {
            return Ok(());
        }
        tracing::info!(
            sync = sync.name_any(),
            namespace = sync.namespace(),
            phase = next.phase.as_ref().map(tracing::field::debug),
            attempt = next.attempt,
            failure = next.last_failure.as_ref().map(|failure| failure.reason.as_str()),
            "an attempt ended"
        );
        match next.phase {
            Some(SyncPhase::Succeeded) => self.metrics.attempt(None),
            Some(SyncPhase::BackingOff | SyncPhase::Failed) => {
                self.metrics.attempt(next.last_failure.as_ref().map(|failure| failure.class));
            }
            _ => {}
        }
        if let Worker::Ended(ended) = worker
            && let Some(report) = &ended.report
        {
            self.metrics.moved(report.bytes_fetched, report.bytes_written);
        }
        Ok(())
    }

    /// Creates the worker. `Some`: the API server refused it, by quota or policy.
    async fn create_worker(
        &self,
        order: Order<'_>,
        context: &Context<VMDiskImage>,
        sync: &VMDiskSync,
    ) -> CallbackResult<Option<Failure>> {
        let namespace = &context.source_namespace;
        let owner = sync.controller_owner_ref(&()).ok_or("the record of the sync has no UID")?;
        let pod = WorkerPod {
            order,
            claim_ref: &context.claim_ref,
            namespace,
            owner,
            node: context.node.as_deref(),
            image: &self.worker_image,
        };
        let pod = pod.build()?;
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let stored = match api.create(&PostParams::default(), &pod).await {
            Ok(stored) => stored,
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let found = api.get(&pod.name_any()).await?;
                if owner_of(&found) != sync.metadata.uid.as_deref() {
                    return Err(format!("pod {namespace}/{} exists and is not ours; delete it", pod.name_any()).into());
                }
                found
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 422) => {
                let message = format!(
                    "the worker pod was refused ({}); correct the quota, the Pod Security level or the policy of \
                     namespace {namespace}",
                    status.message
                );
                return Ok(Some(Failure::not_started("WorkerRefused", message)));
            }
            Err(error) => return Err(error.into()),
        };
        self.world.pods.wrote(pruned_pod(stored));
        Ok(None)
    }

    /// Deletes a worker: once, and by force if its node is lost, because nobody else can end it.
    async fn delete_worker(&self, pod: &Pod, worker: &Worker) -> CallbackResult<()> {
        let lost = *worker == Worker::Lost;
        if pod.metadata.deletion_timestamp.is_some() && !lost {
            return Ok(());
        }
        let params = DeleteParams {
            grace_period_seconds: lost.then_some(0),
            preconditions: Some(Preconditions { uid: pod.uid(), resource_version: None }),
            ..DeleteParams::default()
        };
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        match api.delete(&pod.name_any(), &params).await {
            Ok(answer) => {
                if let Some(going) = answer.left() {
                    self.world.pods.wrote(pruned_pod(going));
                }
                Ok(())
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn remember_refused(&self, claim: &ClaimRef, refused: bool) {
        let mut all = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused {
            all.insert(claim.uid.clone(), claim.clone());
        } else {
            all.remove(&claim.uid);
        }
    }
}

#[async_trait]
impl Populator for DiskPopulator {
    type Source = VMDiskImage;

    async fn populate(&self, context: &Context<VMDiskImage>) -> CallbackResult<Populate> {
        let claim = &context.claim_ref;
        let problem = image::validate(&context.source.spec, &self.policy.borrow()).err();
        let running = self
            .records
            .find(claim, &context.source_namespace)
            .is_some_and(|sync| sync.status.as_ref().and_then(|status| status.phase) == Some(SyncPhase::Syncing));
        self.remember_refused(claim, problem.is_some());
        // What runs was valid when it was admitted.
        if let (Some(problem), false) = (problem, running) {
            for sync in self.records.of_claim(&claim.uid) {
                self.gate.withdraw(&sync.uid().unwrap_or_default()).await?;
            }
            let notice = Notice { warning: true, reason: problem.event_reason(), message: problem.to_string() };
            return Ok(Populate::Hold(wait(Some(notice), None)));
        }
        self.advance(context).await
    }

    async fn complete(&self, context: &Context<VMDiskImage>) -> CallbackResult<Complete> {
        let sync = self.records.find(&context.claim_ref, &context.source_namespace);
        let uid = sync.and_then(|sync| sync.uid()).unwrap_or_default();
        let pod = self.world.worker_of(&context.claim_ref.uid, &uid);
        // Asked once more, from the worker itself: nothing is handed over on hearsay.
        Ok(if Worker::observe(pod.as_deref(), Timestamp::now()).is_done() {
            Complete::Done
        } else {
            Complete::Wait(Wait::default())
        })
    }

    async fn cleanup(&self, context: &CleanupContext) -> CallbackResult<Cleanup> {
        let claim = &context.claim_ref;
        let now = Timestamp::now();
        self.remember_refused(claim, false);
        for sync in self.records.of_claim(&claim.uid) {
            let uid = sync.uid().unwrap_or_default();
            let pod = self.world.worker_of(&claim.uid, &uid);
            let worker = Worker::observe(pod.as_deref(), now);
            let none = VMDiskSyncStatus::default();
            let status = sync.status.as_ref().unwrap_or(&none);
            self.gate.withdraw(&uid).await?;
            if let Some(next) = decide::wind_up(status, context.cause, &worker, now) {
                self.write(&sync, &next, &worker).await?;
            }
        }
        let pods = self.world.pods.of_claim(&claim.uid);
        for pod in &pods {
            self.delete_worker(pod, &Worker::observe(Some(pod), now)).await?;
        }
        Ok(if pods.is_empty() { Cleanup::Done } else { Cleanup::Pending(wait(None, Some(LOOK_AGAIN))) })
    }

    fn triggers(&self) -> BoxStream<'static, ClaimRef> {
        let wakes = self.wakes.lock().unwrap_or_else(PoisonError::into_inner).take();
        match wakes {
            Some(wakes) => UnboundedReceiverStream::new(wakes).boxed(),
            None => futures::stream::pending().boxed(),
        }
    }
}

/// A change of the policy may allow what it refused.
async fn wake_refused(
    mut policy: PolicyReceiver,
    refused: Arc<Mutex<HashMap<String, ClaimRef>>>,
    wake: mpsc::UnboundedSender<ClaimRef>,
) {
    while policy.changed().await.is_ok() {
        let claims: Vec<ClaimRef> = refused.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for claim in claims {
            if wake.send(claim).is_err() {
                return;
            }
        }
    }
}

fn prime_of(prime: Option<&PersistentVolumeClaim>, sync_uid: &str) -> Prime {
    let Some(prime) = prime else {
        return Prime::Absent;
    };
    let ours = prime.owner_references().iter().any(|owner| owner.uid == sync_uid);
    if prime.metadata.deletion_timestamp.is_some() || !ours {
        return Prime::Foreign;
    }
    match prime.status.as_ref().and_then(|status| status.phase.as_deref()) {
        Some("Bound" | "Lost") => Prime::Bound,
        _ => Prime::Pending,
    }
}

/// Whether the claim is filled without a consumer of its own. In a class that waits for one it is the worker; in others
/// the worker may as well come early.
fn binds_immediately(claim: &PersistentVolumeClaim) -> bool {
    claim.annotations().get(names::BIND_IMMEDIATELY_ANNOTATION).is_some_and(|value| value == "true")
}

fn to_machinery(answer: Answer, sync: &VMDiskSync, context: &Context<VMDiskImage>) -> Populate {
    match answer {
        Answer::Hold(notice, at_most) => Populate::Hold(wait(notice, at_most)),
        Answer::Running(at_most) => Populate::Running(wait(None, at_most)),
        Answer::Filled => Populate::Filled,
        Answer::Discard(notice, at_most) => Populate::Discard(wait(notice, at_most)),
        Answer::Failed(notice) => Populate::Failed(wait(Some(notice), None)),
        Answer::NeedPrime => Populate::NeedPrime(PrimeSpec {
            owner: sync.controller_owner_ref(&()),
            labels: [
                (names::MANAGED_BY_LABEL.to_owned(), names::MANAGER.to_owned()),
                (names::IMAGE_UID_LABEL.to_owned(), context.source.uid().unwrap_or_default()),
            ]
            .into(),
            ..PrimeSpec::default()
        }),
    }
}

fn wait(notice: Option<Notice>, at_most: Option<Duration>) -> Wait {
    Wait { notice, at_most }
}

/// Spreads the waits of syncs that failed together; the same for one attempt however often it is computed.
fn jitter(sync_uid: &str, attempt: i32) -> f64 {
    let mut hasher = DefaultHasher::new();
    (sync_uid, attempt).hash(&mut hasher);
    #[expect(clippy::cast_precision_loss, reason = "a share needs few bits")]
    let share = (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64;
    share
}
