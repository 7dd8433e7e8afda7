//! The three callbacks: they look at what is ours, ask the pure deciders, and do what those say.

mod way;
mod workers;

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
use kube::{Client, ResourceExt};
use populator_crd::{
    names,
    v1alpha1::{Route, SyncPhase, VMDiskImage, VMDiskSync, VMDiskSyncStatus},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use volume_populator::{
    CallbackError, Cause, ClaimRef, Cleanup, CleanupContext, Complete, Context, Made, Notice, Populate, Populator,
    Recorded, Wait,
};

use way::{purpose_of, target_facts, task};

use crate::{
    gate::{Lane, Lanes},
    image,
    pod::{Order, Task},
    policy::PolicyReceiver,
    route::Choice,
    runtime::{metrics::Metrics, tasks::Tasks},
    sync::{
        decide::{self, Answer, Ending, Permit, Prime, Situation, Step},
        failure::Failure,
        records::{Records, claim_of},
        transition::{self, Admission},
        trials::Trials,
        verdict::{self, Verdict},
    },
    worker::Worker,
    world::{World, is_inspector, owner_of, phase},
};

/// The most steps of one pass: a bound on a loop that ends by itself, in case two deciders disagree.
const STEPS: usize = 8;

/// How soon to look again for the end of a worker, in case its node is lost and no event tells.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// How soon to try again what the API server does not allow.
const REFUSED_AGAIN: Duration = Duration::from_secs(30);

/// How many pods may ask sources at once whether they can be had again. They hold no permit and no volume.
const INSPECTORS: usize = 2;

/// Fills claims from images.
pub struct DiskPopulator {
    client: Client,
    world: World,
    records: Records,
    trials: Trials,
    gate: Lanes,
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
    pub gate: Lanes,
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
    /// Where tasks are started.
    pub tasks: Tasks,
}

type CallbackResult<T> = Result<T, CallbackError>;

impl DiskPopulator {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let refused = Arc::<Mutex<HashMap<String, ClaimRef>>>::default();
        parts.tasks.keep("refused claims", wake_refused(parts.policy.clone(), Arc::clone(&refused), parts.wake));
        Self {
            records: Records::new(parts.client.clone(), parts.world.clone()),
            trials: Trials::default(),
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
        let target = target_facts(&context.claim);
        let mut permit = Permit::Unasked;
        for _ in 0..STEPS {
            let Some(sync) = self.records.find(claim, &context.source_namespace) else {
                let choice = self.choose(context, purpose_of(context), &VMDiskSyncStatus::default(), &target)?;
                match self.enter(context, &choice).await? {
                    Ok(entered) => permit = entered,
                    Err(refused) => return Ok(Populate::Hold(wait(Some(refused), Some(REFUSED_AGAIN)))),
                }
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
            let others = self.world.of_image(&sync.spec.image.uid);
            let (verdict, route) = match self.choose(context, sync.spec.purpose, status, &target)? {
                Choice::Go(route) => (self.verdict(&sync, &route, &target, &policy, &others, now), route),
                Choice::Wait(message) => (Verdict::Golden { message }, Route::fetch()),
            };
            let (lane, admitted_in) = (Lane::of(route.kind), Lane::of_status(Some(status)));
            if verdict != Verdict::Go && phase(&sync) != Some(SyncPhase::Syncing) {
                // It goes by another sync of its image, and its turn is the next one's.
                self.gate.withdraw(&sync_uid).await?;
                permit = Permit::Unasked;
            }
            let siblings: Vec<&VMDiskSync> = others.iter().map(|sync| &**sync).collect();
            let not_before = status.not_before.as_ref().map(|time| time.0);
            let situation = Situation {
                status,
                unwritten: self.records.is_behind(&sync),
                asks_for_all: verdict::asks_for_all(&sync_uid, &verdict, not_before, &siblings),
                verdict: &verdict,
                created: sync.metadata.creation_timestamp.as_ref().map(|time| time.0),
                admission: Admission {
                    claim_uid: &claim.uid,
                    generation: image.metadata.generation.unwrap_or_default(),
                    route,
                    target: &target,
                },
                worker: &worker,
                inspects: pod.as_deref().is_some_and(is_inspector),
                may_inspect: self.world.inspectors(now) < INSPECTORS,
                prime: prime_of(context.prime.as_deref(), &sync_uid),
                worker_binds: binds_immediately(&context.claim),
                prime_refused: context.prime_refused.as_deref(),
                permit,
                policy: &policy,
                now,
                jitter: jitter(&sync_uid, status.attempt),
            };
            let prime_uid = context.prime.as_deref().and_then(|prime| prime.metadata.uid.as_deref());
            let order = Order { image, claim: &context.claim, status, policy: &policy, prime_uid };
            match decide::next(&situation) {
                Step::AskGate(_) if status.phase == Some(SyncPhase::Syncing) => {
                    permit = self.gate.adopt(admitted_in, &sync_uid).await?;
                }
                Step::AskGate(place) => permit = self.gate.request(lane, &sync_uid, place, claim).await?,
                Step::Write(next) => {
                    self.write(&sync, &next, &worker).await?;
                    permit = if next.phase != Some(SyncPhase::Syncing) {
                        Permit::Unasked
                    } else if status.phase == next.phase {
                        permit
                    } else {
                        self.gate.admitted(Lane::of_status(Some(&next)), &sync_uid).await?;
                        Permit::Fresh
                    };
                }
                Step::Vouch => {
                    self.gate.admitted(admitted_in, &sync_uid).await?;
                    permit = Permit::Fresh;
                }
                Step::CreateWorker => {
                    let Some(refused) = self.create_worker(task(order), context, &sync).await? else {
                        self.gate.started(admitted_in, &sync_uid).await?;
                        permit = Permit::Used;
                        continue;
                    };
                    let next = transition::failed(status, &refused, None, &policy, now, situation.jitter);
                    self.write(&sync, &next, &worker).await?;
                    permit = Permit::Unasked;
                }
                Step::CreateInspector => return self.inspect(order, context, &sync).await,
                Step::DeleteWorker => return self.stop(pod.as_deref(), &worker).await,
                Step::Answer(answer) => return Ok(self.to_machinery(answer, &sync, context)),
            }
        }
        Err(format!("the sync of claim {}/{} did not come to rest", claim.namespace, claim.name).into())
    }

    /// Tells a worker to go, and waits until it is seen gone.
    async fn stop(&self, pod: Option<&Pod>, worker: &Worker) -> CallbackResult<Populate> {
        if let Some(pod) = pod {
            self.delete_worker(pod, worker).await?;
        }
        Ok(Populate::Hold(wait(None, Some(LOOK_AGAIN))))
    }

    /// Asks, without a volume, whether the source can be had.
    async fn inspect(
        &self,
        order: Order<'_>,
        context: &Context<VMDiskImage>,
        sync: &VMDiskSync,
    ) -> CallbackResult<Populate> {
        let refused = self.create_worker(Task::Inspect(order), context, sync).await?;
        let notice = |refused: Failure| Notice { warning: true, reason: "WorkerRefused", message: refused.message };
        Ok(Populate::Hold(wait(refused.map(notice), Some(LOOK_AGAIN))))
    }

    fn to_machinery(&self, answer: Answer, sync: &VMDiskSync, context: &Context<VMDiskImage>) -> Populate {
        match answer {
            Answer::Hold(notice, at_most) => Populate::Hold(wait(notice, at_most)),
            Answer::Running(at_most) => Populate::Running(wait(None, at_most)),
            Answer::Filled => Populate::Filled,
            Answer::Discard(notice, at_most) => Populate::Discard(wait(notice, at_most)),
            Answer::Failed(notice) => Populate::Failed(wait(Some(notice), None)),
            Answer::NeedPrime => Populate::NeedPrime(self.prime_spec(sync, context)),
        }
    }

    /// Creates the record of a new sync, one claim at a time in the order in which the machinery asked: the answers of the
    /// API server come in any order. `Err`: what to tell the claim, where the controller may not.
    async fn enter(&self, context: &Context<VMDiskImage>, choice: &Choice) -> CallbackResult<Result<Permit, Notice>> {
        let _turn = self.entrance.lock().await;
        let claim = &context.claim_ref;
        let purpose = purpose_of(context);
        match self.records.create(claim, purpose, &context.source, &context.source_namespace).await {
            Ok(()) => {}
            Err(error) if error.is_forbidden() => return Ok(Err(not_permitted(&context.source_namespace))),
            Err(error) => return Err(error.into()),
        }
        // Its place is taken here, in the order of arrival. The record says it to the second only.
        match (self.records.find(claim, &context.source_namespace), choice) {
            (Some(sync), Choice::Go(route)) if sync.status.as_ref().is_none_or(transition::is_new) => {
                let uid = sync.uid().unwrap_or_default();
                Ok(Ok(self.gate.request(Lane::of(route.kind), &uid, None, claim).await?))
            }
            _ => Ok(Ok(Permit::Unasked)),
        }
    }

    /// Gives up what was begun for this claim from an image in another namespace, which it does not name any more.
    async fn leave_others(&self, context: &Context<VMDiskImage>) -> CallbackResult<()> {
        for sync in self.records.of_claim(&context.claim_ref.uid) {
            let elsewhere = sync.namespace().as_deref() != Some(&*context.source_namespace);
            if elsewhere && !phase(&sync).is_some_and(SyncPhase::is_final) {
                self.wind_up(&sync, Cause::Refused, None, true).await?;
            }
        }
        Ok(())
    }

    /// Ends the filling of one sync: its worker is told to go, then the record says so.
    async fn wind_up(
        &self,
        sync: &VMDiskSync,
        cause: Cause,
        notice: Option<&Notice>,
        moved: bool,
    ) -> CallbackResult<()> {
        let (uid, now) = (sync.uid().unwrap_or_default(), Timestamp::now());
        let pod = self.world.worker_of(&sync.spec.claim.uid, &uid);
        let worker = Worker::observe(pod.as_deref(), now);
        self.gate.withdraw(&uid).await?;
        match &pod {
            Some(pod) => self.delete_worker(pod, &worker).await?,
            None => drop(self.remove_hidden(sync, &sync.spec.claim.uid).await?),
        }
        let none = VMDiskSyncStatus::default();
        let status = sync.status.as_ref().unwrap_or(&none);
        let policy = Arc::clone(&self.policy.borrow());
        let jitter = jitter(&uid, status.attempt);
        let ending = Ending { cause, notice, moved, worker: &worker, policy: &policy, now, jitter };
        match decide::wind_up(status, &ending) {
            Some(next) => self.write(sync, &next, &worker).await,
            None => Ok(()),
        }
    }

    /// Writes a status, and counts the attempt that it ends.
    async fn write(&self, sync: &VMDiskSync, next: &VMDiskSyncStatus, worker: &Worker) -> CallbackResult<()> {
        self.records.write(sync, next).await?;
        let was = phase(sync);
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
            .is_some_and(|sync| phase(&sync) == Some(SyncPhase::Syncing));
        self.leave_others(context).await?;
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
        let uid = sync.as_ref().and_then(|sync| sync.uid()).unwrap_or_default();
        // Asked once more, from the worker itself, or from the record where it had to go before: nothing is handed over on
        // hearsay.
        let recorded = sync.is_some_and(|sync| sync.status.as_ref().is_some_and(|status| status.filled_at.is_some()));
        let worker = self.world.worker(&context.claim_ref.uid, &uid, Timestamp::now());
        Ok(if worker.is_done() || (recorded && worker == Worker::Absent) {
            Complete::Done
        } else {
            Complete::Wait(Wait::default())
        })
    }

    async fn cleanup(&self, context: &CleanupContext) -> CallbackResult<Cleanup> {
        let claim = &context.claim_ref;
        self.remember_refused(claim, false);
        let syncs = self.records.of_claim(&claim.uid);
        // Also of syncs that are gone or done, as far as this process knows of their workers.
        let ours = |pod: &&Arc<Pod>| {
            let made = syncs.iter().any(|sync| owner_of(pod) == sync.metadata.uid.as_deref());
            made || self.world.sync_of(pod).is_some()
        };
        let pods = self.world.pods.of_claim(&claim.uid);
        let pods: Vec<_> = pods.iter().filter(ours).collect();
        for sync in &syncs {
            let moved =
                context.source_namespace.as_ref().is_some_and(|namespace| sync.namespace().as_ref() != Some(namespace));
            self.wind_up(sync, context.cause, context.notice.as_ref(), moved).await?;
        }
        // As they are by now: what was wound up has deleted its worker.
        let listed = |pod: &&Arc<Pod>| pods.iter().any(|listed| listed.metadata.uid == pod.metadata.uid);
        for pod in self.world.pods.of_claim(&claim.uid).iter().filter(listed) {
            self.delete_worker(pod, &Worker::observe(Some(pod), Timestamp::now())).await?;
        }
        Ok(if pods.is_empty() { Cleanup::Done } else { Cleanup::Pending(wait(None, Some(LOOK_AGAIN))) })
    }

    fn recorded(&self, claim_uid: &str) -> Recorded {
        let made = |sync: Arc<VMDiskSync>| {
            let status = sync.status.as_ref();
            Made {
                claim: claim_of(&sync),
                namespace: sync.namespace().unwrap_or_default(),
                owner: sync.uid().unwrap_or_default(),
                prime: status.and_then(|status| status.prime_uid.clone()),
                worker: status.and_then(|status| status.pod_uid.clone()),
            }
        };
        Recorded::Kept(self.records.of_claim(claim_uid).into_iter().map(made).collect())
    }

    fn prime_made(&self, claim: &ClaimRef, namespace: &str, prime_uid: &str) {
        if let Some(uid) = self.records.find(claim, namespace).and_then(|sync| sync.uid()) {
            self.world.note_prime(&uid, prime_uid);
        }
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

/// In a narrow installation an administrator allows the controller to work in a namespace first.
fn not_permitted(namespace: &str) -> Notice {
    Notice {
        warning: true,
        reason: "NamespaceNotServed",
        message: format!(
            "The controller may not create VMDiskSyncs in namespace {namespace}. An administrator has to bind the ClusterRole \
             vmdisk-images to its ServiceAccount there; it is tried again."
        ),
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
