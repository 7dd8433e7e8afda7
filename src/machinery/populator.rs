//! The three callbacks that make a populator: populate, complete, cleanup.

use std::{fmt::Debug, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use k8s_openapi::{
    api::{
        core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
        storage::v1::StorageClass,
    },
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
/// at any moment: cleanup(Gone | Elsewhere | Unplaced | Refused | Lost | Discarded) → prime deleted
///                cleanup(Mismatch) → prime kept
/// ```
///
/// # Whom to believe
///
/// Names and labels only say where to look: whoever may create claims or pods in a namespace can write ours. A populator
/// that keeps [`Populator::recorded`] is only ever shown primes and workers whose UIDs it has written down itself. One
/// that does not ([`Recorded::Unkept`]) trusts whoever may write to the namespace of the source.
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

    /// What is written down of the objects that were made for a claim. Asked several times a pass and on every event, so
    /// it answers from memory.
    fn recorded(&self, _claim_uid: &str) -> Recorded {
        Recorded::Unkept
    }

    /// The prime of this claim has just been created, with this UID: to be told by [`Populator::recorded`] from now on.
    fn prime_made(&self, _claim: &ClaimRef, _namespace: &str, _prime_uid: &str) {}

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

/// What a populator has written down of a claim's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Nothing is ever written down: objects of the right name and labels in the source's namespace are believed.
    Unkept,
    /// One entry for each namespace in which something may have been made for the claim; nothing else is believed.
    Kept(Vec<Made>),
}

impl Recorded {
    /// The claim, as the records name it.
    pub(crate) fn claim(&self) -> Option<ClaimRef> {
        self.made().first().map(|made| made.claim.clone())
    }

    /// A namespace where something of it may be.
    pub(crate) fn namespace(&self) -> Option<String> {
        self.made().first().map(|made| made.namespace.clone())
    }

    fn made(&self) -> &[Made] {
        match self {
            Self::Unkept => &[],
            Self::Kept(made) => made,
        }
    }
}

/// What was made for a claim in one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The claim, as the populator knows it.
    pub claim: ClaimRef,
    /// Where prime and worker are.
    pub namespace: String,
    /// The UID of the object that owns prime and worker. What bears it and no recorded UID was made by an earlier process
    /// that came to its end before it could say so: it is deleted and never believed.
    pub owner: String,
    /// The UID of the prime, once it exists.
    pub prime: Option<String>,
    /// The UID of the worker, once it exists.
    pub worker: Option<String>,
}

/// What a pass knows of a claim that is being populated.
#[non_exhaustive]
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
    /// The storage class of the claim. It passed pre-flight, so there is one.
    pub class: Option<Arc<StorageClass>>,
    /// The prime, once it exists.
    pub prime: Option<Arc<PersistentVolumeClaim>>,
    /// The volume that is bound to the prime, once there is one.
    pub volume: Option<Arc<PersistentVolume>>,
    /// The node that the worker must run on: the one that the scheduler selected for the claim's own consumer.
    pub node: Option<String>,
    /// The API server refused the prime that was just asked for (403: a quota, a `LimitRange`, a policy; or its name is
    /// taken), and this is its message. Set only on the one more call that follows the refusal in the same pass, so that a permit can be
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
    /// A data source for the prime itself (a `VolumeSnapshot` or a claim in the same namespace): cut, not fetched.
    pub data_source: Option<k8s_openapi::api::core::v1::TypedLocalObjectReference>,
    /// The least bytes that the prime requests, where that is more than the claim does: a driver may refuse to make less
    /// of a snapshot.
    pub at_least_bytes: Option<i64>,
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
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct CleanupContext {
    /// Names the claim, as far as its objects still tell.
    pub claim_ref: ClaimRef,
    /// The namespace of the source that the claim names now; `None` once the claim is gone. What was made for it in
    /// another namespace is not asked for any more.
    pub source_namespace: Option<String>,
    /// Why it is over.
    pub cause: Cause,
    /// What the claim's user is told of it, if anything.
    pub notice: Option<Notice>,
    /// The prime, as long as it exists.
    pub prime: Option<Arc<PersistentVolumeClaim>>,
    /// The workers of this claim, as the machinery's watch has them: what is left to remove, also when nothing else
    /// tells any more where it is. Only recorded ones, and strays with the recorded owner, where records are kept.
    pub workers: Vec<Arc<PartialObjectMeta<Pod>>>,
}

/// Why a filling is over, or an attempt of it.
#[non_exhaustive]
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
    /// What was being filled was lost through no word of the populator's: the prime or its volume is gone or going, a
    /// stranger had it mounted, or the claim names a source elsewhere now. A worker that is left is told by its pod.
    /// What was fetched is lost with it, so whoever keeps count of attempts counts this one *now*: `populate` is asked
    /// again, as for a new claim, once everything is removed.
    Lost,
    /// The volume that was provisioned can never be bound to the claim. It is kept, with its prime, because another one
    /// would not match either; `populate` is not asked again as long as it is there.
    Mismatch,
    /// The populator said so: [`Populate::Discard`], [`Populate::Failed`] or [`Complete::Discard`]. It is asked to remove
    /// its worker, and has nothing to conclude.
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
