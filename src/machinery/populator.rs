//! The three callbacks that make a populator: populate, complete, cleanup.

use std::{fmt::Debug, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use k8s_openapi::{
    api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Resource, core::PartialObjectMeta};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// An error of a callback. The pass ends, is counted and is repeated with back-off; the claim hears nothing of it,
/// so what the user must know goes into [`Populate`] instead.
pub type CallbackError = Box<dyn std::error::Error + Send + Sync>;

/// Fills volumes of one kind of source.
///
/// The machinery keeps no memory: every pass observes the claim's world and asks again. All callbacks are therefore
/// idempotent, and each is one short step that never waits for the world to change: it says what it is waiting for,
/// and a watch or [`Populator::triggers`] brings the next pass.
///
/// Order of calls for one claim:
///
/// ```text
/// populate → Hold … → NeedPrime → (prime exists) → Running … → Filled → complete → Done
///     → rebind → (claim is Bound to our volume) → cleanup(Bound) → prime deleted
/// at any moment: cleanup(Gone | Bound | Elsewhere | Unplaced | Refused | Discarded) → prime deleted
/// ```
#[async_trait]
pub trait Populator: Send + Sync + 'static {
    /// The kind that `spec.dataSourceRef` of a claim names.
    type Source: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static;

    /// Brings the filling of this claim one step further and says where it stands.
    ///
    /// Called only for a claim that is live and unbound, passed pre-flight, whose source exists and is granted, and,
    /// in a `WaitForFirstConsumer` class, for which a node is selected or which is annotated to bind immediately (then
    /// `context.node` is `None`, and the worker is the consumer that the class waits for). `context.prime` tells whether the prime
    /// exists yet; it may still be Pending.
    async fn populate(&self, context: &Context<Self::Source>) -> Result<Populate, CallbackError>;

    /// The last word before the volume is handed over; asked only after [`Populate::Filled`], until it says
    /// [`Complete::Done`]. The place to prove that the bytes are whole and to cut a snapshot.
    async fn complete(&self, context: &Context<Self::Source>) -> Result<Complete, CallbackError>;

    /// Removes what the populator made for this claim: its worker first of all. The prime is the machinery's, which
    /// deletes it once this says [`Cleanup::Done`], that is: once the worker is *seen to be gone* (a prime that is
    /// discarded is deleted before, and goes when the worker has).
    ///
    /// Called after the commit point and whenever a filling is given up, also for claims of which nothing but the UID
    /// is known any more; never needs the source, the class, the grant or the node. It is asked on every pass of such a
    /// claim, so it must be cheap when there is nothing left to do.
    async fn cleanup(&self, context: &CleanupContext) -> Result<Cleanup, CallbackError>;

    /// Claims that need a pass for a reason that the machinery's own watches do not see.
    fn triggers(&self) -> BoxStream<'static, ClaimRef> {
        stream::pending().boxed()
    }
}

/// Names one claim. Two claims of one name that lived one after the other differ in `uid`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimRef {
    /// The claim's namespace.
    pub namespace: String,
    /// The claim's name.
    pub name: String,
    /// The claim's UID.
    pub uid: String,
}

/// What a pass knows of a claim that is being populated.
#[derive(Clone, Debug)]
pub struct Context<S> {
    /// Names the claim.
    pub claim_ref: ClaimRef,
    /// The claim as observed.
    pub claim: Arc<PersistentVolumeClaim>,
    /// The source that it names.
    pub source: Arc<S>,
    /// The namespace of the source, where prime and worker belong.
    pub source_namespace: String,
    /// The prime, once it exists.
    pub prime: Option<Arc<PersistentVolumeClaim>>,
    /// The volume that is bound to the prime, once there is one.
    pub volume: Option<Arc<PersistentVolume>>,
    /// The node that the worker must run on: the one that the scheduler selected for the claim's own consumer.
    pub node: Option<String>,
    /// The API server refused the prime that was just asked for (403: a quota, a `LimitRange`, a policy), and this is
    /// its message. Set only on the one more call that follows the refusal in the same pass, so that a permit can be
    /// given back; the machinery keeps no memory of it. An answer of [`Populate::NeedPrime`] is then taken for
    /// "try again later".
    pub prime_refused: Option<String>,
}

/// Where the filling of a claim stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Populate {
    /// Not now. Nothing is created, and what exists (a prime kept for a later attempt) stays.
    Hold(Wait),
    /// The turn of this claim has come: create its prime. Said again on every pass until `context.prime` is there.
    NeedPrime(PrimeSpec),
    /// The worker is at it.
    Running(Wait),
    /// The volume holds everything, and the worker has ended.
    Filled,
    /// What the prime holds is worthless: remove worker and prime, then ask again. Said once it is done at once: the
    /// prime is deleted, `cleanup` asked to remove the worker that still holds it, and `populate` not asked again before
    /// it is gone.
    Discard(Wait),
    /// This cannot succeed until the user changes something: remove worker and prime as with [`Populate::Discard`], and
    /// wait for a change.
    Failed(Wait),
}

/// Why a claim is waiting, and until when at the latest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wait {
    /// Said to the user as an event on the claim, once per change of reason; `None`: nothing to say.
    pub notice: Option<Notice>,
    /// The next pass comes no later than this; `None`: only when something changes.
    pub at_most: Option<Duration>,
}

/// One event for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether something is wrong.
    pub warning: bool,
    /// One CamelCase word for the cause, from a closed set.
    pub reason: &'static str,
    /// What was found, what was expected, what to do next.
    pub message: String,
}

/// What the populator says of the prime to be made. The rest (access modes, volume mode, class, class of attributes,
/// size, selected node) the machinery copies from the claim.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PrimeSpec {
    /// The owner, in the source's namespace: deleting it deletes the prime.
    pub owner: Option<OwnerReference>,
    /// Labels beside the machinery's own.
    pub labels: BTreeMap<String, String>,
    /// Annotations beside the machinery's own.
    pub annotations: BTreeMap<String, String>,
    /// A data source for the prime itself (a `VolumeSnapshot` in the same namespace): cut, not fetched.
    pub data_source: Option<k8s_openapi::api::core::v1::TypedLocalObjectReference>,
}

/// Whether a filled volume may be handed over.
#[derive(Clone, Debug, PartialEq)]
pub enum Complete {
    /// Hand it over.
    Done,
    /// Not yet.
    Wait(Wait),
    /// Never: remove worker and prime, then ask `populate` again.
    Discard(Wait),
}

/// What a pass knows of a claim whose filling is over.
#[derive(Clone, Debug)]
pub struct CleanupContext {
    /// Names the claim, as far as its objects still tell.
    pub claim_ref: ClaimRef,
    /// Why it is over.
    pub cause: Cause,
    /// The prime, as long as it exists.
    pub prime: Option<Arc<PersistentVolumeClaim>>,
    /// The pods that carry this claim's labels, as the machinery's watch has them: what is left to remove, also when
    /// nothing else tells any more where it is.
    pub workers: Vec<Arc<PartialObjectMeta<Pod>>>,
}

/// Why a filling is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The claim is Bound to the volume that was filled for it: success.
    Bound,
    /// The claim is gone, or going, or lives again under another UID.
    Gone,
    /// The claim was bound to a volume that is not ours.
    Elsewhere,
    /// The claim's class waits for a consumer, and no node is selected, or the one that was will not do. Said on every
    /// pass of such a claim, so that it leaves a queue that it may stand in.
    Unplaced,
    /// The claim may not be filled now: its source or its grant is missing or gone, or pre-flight refused it. `populate`
    /// is not asked until that changes, so it leaves a queue that it may stand in, and the user has been told why.
    Refused,
    /// The populator said so: [`Populate::Discard`], [`Populate::Failed`] or [`Complete::Discard`].
    Discarded,
}

/// How far a clean-up is.
#[derive(Clone, Debug, PartialEq)]
pub enum Cleanup {
    /// The worker is gone, or there never was one.
    Done,
    /// Deletion is under way.
    Pending(Wait),
}
