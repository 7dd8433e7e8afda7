//! Asks again for an image's golden data whenever something of it changed.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{DeserializeGuard, PartialObjectMeta},
    runtime::{
        controller::{Action, Config, Controller},
        reflector::ObjectRef,
        watcher,
    },
};
use populator_crd::{
    names,
    v1alpha1::{VMDiskImage, VMDiskSync},
};
use tokio::sync::mpsc;
use volume_populator::ClaimRef;

use super::{
    apply::{Applier, Error},
    decide,
    observe::{Inspectors, Observer},
};
use crate::{
    image::{ImageKey, validate},
    policy::PolicyReceiver,
    sync::{
        records::{Records, claim_of},
        transition,
    },
    world::World,
};

/// How many images are looked at at once.
const AT_ONCE: u16 = 4;

/// The most steps of one pass.
const STEPS: usize = 8;

/// How long changes are gathered.
const GATHER: Duration = Duration::from_millis(200);

/// How soon to try again what failed.
const AGAIN: Duration = Duration::from_secs(10);

/// How soon to look again where a step was overtaken.
const OVERTAKEN: Duration = Duration::from_secs(1);

/// An image that cannot be read must not hide the others.
type Guarded = DeserializeGuard<VMDiskImage>;

/// What golden data is made with.
pub struct Golden {
    /// The one client of the process.
    pub client: Client,
    /// Our own objects.
    pub world: World,
    /// Their records.
    pub records: Records,
    /// The policy in force.
    pub policy: PolicyReceiver,
    /// The container image of workers.
    pub worker_image: String,
    /// Wakes claims.
    pub wake: mpsc::UnboundedSender<ClaimRef>,
    /// The images' statuses.
    pub statuses: mpsc::UnboundedSender<ImageKey>,
}

struct Context {
    golden: Golden,
    inspectors: Inspectors,
}

/// Keeps the golden data of all images, until the process ends.
///
/// Snapshots are not watched but looked at while they are taken: a cluster may lack the kind, or get it later, and a watch
/// that fails holds up the others.
pub async fn run(golden: Golden) {
    let client = golden.client.clone();
    let labelled = || watcher::Config::default().labels(names::GOLDEN_LABEL);
    // What serves a claim has its claim's UID, and is of no interest here.
    let inspectors = format!("{}={},!{}", names::COMPONENT_LABEL, names::WORKER_COMPONENT, names::CLAIM_UID_LABEL);
    let inspectors = watcher::Config::default().labels(&inspectors);
    let claims: Api<PartialObjectMeta<PersistentVolumeClaim>> = Api::all(client.clone());
    let pods: Api<PartialObjectMeta<Pod>> = Api::all(client.clone());
    let syncs: Api<PartialObjectMeta<VMDiskSync>> = Api::all(client.clone());
    Controller::new(Api::<Guarded>::all(client), watcher::Config::default())
        .with_config(Config::default().concurrency(AT_ONCE).debounce(GATHER))
        .watches(syncs, labelled(), |sync| image_of(&sync))
        .watches(claims, labelled(), |claim| image_of(&claim))
        .watches(pods, inspectors, |pod| image_of(&pod))
        .run(reconcile, again, Arc::new(Context { golden, inspectors: Inspectors::default() }))
        .for_each(|done| async move {
            if let Err(error) = done {
                tracing::debug!(%error, "a look at an image's golden data failed");
            }
        })
        .await;
}

/// The image that an object says it belongs to.
fn image_of<K: ResourceExt>(object: &K) -> Option<ObjectRef<Guarded>> {
    let name = object.annotations().get(names::IMAGE_NAME_ANNOTATION)?;
    Some(ObjectRef::new(name).within(&object.namespace()?))
}

async fn reconcile(guarded: Arc<Guarded>, context: Arc<Context>) -> Result<Action, Error> {
    let Ok(image) = &guarded.0 else { return Ok(Action::await_change()) };
    let Context { golden, inspectors } = &*context;
    let uid = image.uid().unwrap_or_default();
    if image.metadata.deletion_timestamp.is_some() {
        golden.world.preloads.forget(&uid);
        return Ok(Action::await_change());
    }
    let image = Arc::new(image.clone());
    let policy = Arc::clone(&golden.policy.borrow());
    let observer = Observer { client: &golden.client, world: &golden.world, policy: &policy, inspectors };
    let applier = Applier {
        client: &golden.client,
        records: &golden.records,
        policy: &policy,
        inspectors,
        worker_image: &golden.worker_image,
    };
    if validate(&image.spec, &policy).is_err() || policy.closed().is_some() {
        return Ok(Action::requeue(AGAIN));
    }
    for _ in 0..STEPS {
        let seen = observer.observe(&image).await?;
        let (step, told) = decide::next(&seen);
        if golden.world.preloads.tell(&uid, &told) {
            tell(golden, &image, &uid);
        }
        match applier.apply(&seen, step).await {
            Ok(Some(wait)) => return Ok(wait.map_or_else(Action::await_change, Action::requeue)),
            Ok(None) => {}
            Err(Error::Record(error)) if error.is_stale() => return Ok(Action::requeue(OVERTAKEN)),
            Err(error) => return Err(error),
        }
    }
    Ok(Action::requeue(OVERTAKEN))
}

/// Tells whom it concerns: the image's status, and the claims that wait for golden data.
fn tell(golden: &Golden, image: &VMDiskImage, uid: &str) {
    let key = ImageKey { namespace: image.namespace().unwrap_or_default(), name: image.name_any() };
    // No receiver: the process is going down.
    let _ = golden.statuses.send(key);
    for sync in golden.world.of_image(uid) {
        let sync: &VMDiskSync = &sync;
        if transition::waits_for_others(sync.status.as_ref()) {
            let _ = golden.wake.send(claim_of(sync));
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as the runtime calls it")]
fn again(image: Arc<Guarded>, error: &Error, _: Arc<Context>) -> Action {
    tracing::warn!(
        error = format!("{error:#}"),
        namespace = image.meta().namespace,
        name = image.meta().name,
        "failed to go on with an image's golden data; trying again"
    );
    Action::requeue(AGAIN)
}
