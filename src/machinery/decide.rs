//! What to do next for one claim. Pure: what is known goes in, the next step comes out.
//!
//! The order is the safety argument. First come the branches that end a filling, and they need nothing but the UID;
//! then those that concern a volume that was handed over already; only then may anything be made or filled. So nothing
//! that a later branch finds missing (source, grant, class, node) can keep a claim from being cleaned up, and no claim
//! gets a second volume.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::Resource;

use crate::{
    matching,
    names::annotation,
    notices,
    observed::{
        Observed, PrimeVolume, Source, Stray, claimed_by, is_finished, is_going, name, namespace, phase,
        reclaim_policy, uid, volume_name,
    },
    placement::{Placement, placement},
    populator::{Cause, Cleanup, Complete, Notice, Populate, PrimeSpec, Recorded, Wait},
    preflight,
};

/// The next step of a pass.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// The pass is over; a change brings the next one.
    Rest(Wait),
    /// Ask the populator how far the filling is; the worker belongs on this node.
    Populate(Option<String>),
    /// Ask the populator whether the filled volume may be handed over.
    Complete(Option<String>),
    /// Ask the populator to remove its own.
    Cleanup(Ending),
    /// Look again at everything that a wrong hand-over would hurt.
    Inspect,
    /// The prime has no volume yet: see whether its provisioner says why, then rest.
    AwaitVolume(Wait),
    /// Write, once; the pass is over.
    Write(Write),
    /// Tell the user first.
    Tell(Notice, Box<Step>),
}

impl Step {
    /// For the log.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Rest(_) => "rest".into(),
            Self::Populate(_) => "populate".into(),
            Self::Complete(_) => "complete".into(),
            Self::Cleanup(ending) => format!("clean up {:?}", ending.cause),
            Self::Inspect => "inspect".into(),
            Self::AwaitVolume(_) => "await volume".into(),
            Self::Write(Write::CreatePrime { .. }) => "create prime".into(),
            Self::Write(Write::DeletePrime(_)) => "delete prime".into(),
            Self::Write(Write::Reclaim(_)) => "reclaim".into(),
            Self::Write(Write::Rebind(_)) => "rebind".into(),
            Self::Write(Write::Unpin { .. }) => "unpin".into(),
            Self::Tell(_, next) => next.name(),
        }
    }
}

/// How a filling ends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ending {
    pub(crate) cause: Cause,
    /// Whether the prime goes, once the populator's own has gone.
    pub(crate) prime: Remains,
    /// The node to take off the claim.
    pub(crate) unpin: Option<String>,
    pub(crate) wait: Wait,
}

/// What becomes of the prime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remains {
    /// It goes once the populator's own has gone.
    Deleted,
    /// It goes as soon as the populator has heard of the end, and that it goes is what remembers the verdict, whatever
    /// becomes of this process: until its worker has been removed the worker holds it, and nobody is asked to fill a prime
    /// that goes.
    DeletedAlong,
    /// It stays, because it holds a volume after which no other must be made.
    Kept,
}

/// One write to the API server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Write {
    CreatePrime {
        spec: Box<PrimeSpec>,
        node: Option<String>,
    },
    DeletePrime(Arc<PersistentVolumeClaim>),
    /// Let the volume go with its prime, whatever its class says: what it holds is partial, and ours.
    Reclaim(Arc<PersistentVolume>),
    /// Hand the volume over to the claim.
    Rebind(Arc<PersistentVolume>),
    /// Take this node off the claim, so that the scheduler chooses again, and delete the prime that was made for it. Both
    /// in one pass: a scheduler that is faster than the next one may choose the same node again, and only the prime
    /// remembers that the first choice failed.
    Unpin {
        node: String,
        prime: Option<Arc<PersistentVolumeClaim>>,
    },
}

/// What [`Step::Inspect`] saw, all of it read from the API server at that moment.
#[derive(Clone, Debug)]
pub(crate) struct Inspection {
    pub(crate) claim: Option<PersistentVolumeClaim>,
    pub(crate) volume: Option<PersistentVolume>,
    /// The pods of the prime's namespace that name the prime.
    pub(crate) pods: Vec<Pod>,
    /// What the populator has written down by now: a worker that was made in this very pass is in no earlier view.
    pub(crate) recorded: Recorded,
}

/// How soon to look again at something that no watch of ours tells of.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What a provisioner needs that is well; after that, it is asked what is wrong as often.
const PROVISIONED_SOON: Duration = Duration::from_secs(5);
/// How soon to ask again for a prime that a quota or a policy refused.
const REFUSED_AGAIN: Duration = Duration::from_secs(30);

/// How long a claim that is being deleted may take to be gone, if nothing holds it.
const GOES_SOON: SignedDuration = SignedDuration::from_secs(10);

fn say(notice: Notice) -> Wait {
    Wait { notice: Some(notice), at_most: None }
}

fn look_again(after: Duration) -> Step {
    Step::Rest(Wait { notice: None, at_most: Some(after) })
}

fn end(cause: Cause, wait: Wait) -> Step {
    Step::Cleanup(Ending { cause, prime: Remains::Deleted, unpin: None, wait })
}

/// The claim's filling is over for good. The prime goes first, so that nothing is left to do once the populator has heard
/// of it and removed its own: what it then writes down as done costs nobody another look.
fn conclude<S>(observed: &Observed<S>, cause: Cause, notice: Option<Notice>) -> Step {
    let Some(write) = delete_prime(observed, cause) else { return end(cause, Wait { notice, at_most: None }) };
    tell_and_write(notice, write)
}

/// The populator says that what the prime holds is worth nothing, and has drawn its conclusions.
fn discard<S>(observed: &Observed<S>, wait: Wait) -> Step {
    let Some(write) = delete_prime(observed, Cause::Discarded) else { return end(Cause::Discarded, wait) };
    tell_and_write(wait.notice, write)
}

fn tell_and_write(notice: Option<Notice>, write: Write) -> Step {
    match notice {
        Some(notice) => Step::Tell(notice, Box::new(Step::Write(write))),
        None => Step::Write(write),
    }
}

/// What the prime holds is lost, and the populator has to hear of it before anything is made again.
fn lose(notice: Option<Notice>) -> Step {
    let wait = Wait { notice, at_most: None };
    Step::Cleanup(Ending { cause: Cause::Lost, prime: Remains::DeletedAlong, unpin: None, wait })
}

/// The write that lets the prime go, and its volume with it; `None`: there is none, or it goes already.
fn delete_prime<S>(observed: &Observed<S>, cause: Cause) -> Option<Write> {
    if let Some(volume) = abandoned(observed, cause) {
        return Some(Write::Reclaim(volume));
    }
    let prime = observed.made().filter(|prime| !is_going(&prime.metadata))?;
    Some(Write::DeletePrime(Arc::clone(prime)))
}

/// The first step of a pass.
pub(crate) fn decide<S: Resource<DynamicType = ()>>(observed: &Observed<S>) -> Step {
    let Some(claim) = observed.claim.as_ref().filter(|claim| !is_going(&claim.metadata)) else {
        return conclude(observed, Cause::Gone, None);
    };
    if let Some(volume) = volume_name(claim) {
        return bound(observed, claim, volume);
    }
    if let Some(volume) = observed.handed_over() {
        return awaiting_bind(observed, volume);
    }
    unbound(observed, claim)
}

/// The claim has a volume, and will never have another.
fn bound<S: Resource<DynamicType = ()>>(
    observed: &Observed<S>,
    claim: &PersistentVolumeClaim,
    volume_name: &str,
) -> Step {
    let ours = observed.volume(volume_name).filter(|volume| {
        claimed_by(volume, &observed.claim_ref.uid) && annotation(&volume.metadata, &observed.keys.rebound_at).is_some()
    });
    match ours {
        Some(_) if phase(claim) == "Bound" => {
            let fresh = observed.prime.as_ref().is_some_and(|prime| !is_going(&prime.metadata));
            let notice = fresh.then(|| {
                let source = claim.spec.as_ref().and_then(|spec| spec.data_source_ref.as_ref());
                notices::finished(&S::kind(&()), &observed.source_namespace, source.map_or("", |source| &source.name))
            });
            conclude(observed, Cause::Bound, notice)
        }
        Some(volume) => awaiting_bind(observed, volume),
        None => {
            let news = observed.has_leftovers() || observed.in_flight;
            let notice = news.then(|| notices::bound_elsewhere(volume_name));
            conclude(observed, Cause::Elsewhere, notice)
        }
    }
}

/// The volume is the claim's, and the PV controller has the next move.
fn awaiting_bind<S>(observed: &Observed<S>, volume: &PersistentVolume) -> Step {
    let since: Option<Timestamp> =
        annotation(&volume.metadata, &observed.keys.rebound_at).and_then(|at| at.parse().ok());
    let waited = since.map_or(SignedDuration::ZERO, |since| observed.now.duration_since(since));
    let left = SignedDuration::try_from(observed.bind_deadline).unwrap_or(SignedDuration::MAX) - waited;
    Step::Rest(match Duration::try_from(left) {
        Ok(left) if !left.is_zero() => Wait { notice: None, at_most: Some(left) },
        _ => say(notices::bind_deadline(name(&volume.metadata))),
    })
}

/// The claim has no volume and none is reserved for it: the only place from which anything is made or filled.
fn unbound<S>(observed: &Observed<S>, claim: &PersistentVolumeClaim) -> Step {
    let prime = observed.prime.as_ref();
    if prime.is_some_and(|prime| is_going(&prime.metadata)) {
        return end(Cause::Lost, Wait::default());
    }
    if let PrimeVolume::Lost(volume) = observed.prime_volume() {
        return lose(Some(notices::volume_lost(volume)));
    }
    if let (Some(stray), None) = (&observed.stray, prime) {
        return out_of_the_way(observed, stray);
    }
    match &observed.source {
        Source::Found(_) => {}
        Source::Refused(notice) => return end(Cause::Refused, say(notice.clone())),
        Source::Unread => return look_again(LOOK_AGAIN),
    }
    match prime {
        Some(prime) if namespace(&prime.metadata) != observed.source_namespace => {
            // The user has pointed the claim at a source in another namespace since.
            return lose(None);
        }
        Some(_) => {}
        None if observed.has_worker() => {
            // It outlived its prime, so what it says is not about the one to come.
            return end(Cause::Lost, Wait::default());
        }
        None => {
            let crosses = observed.source_namespace != observed.claim_ref.namespace;
            if let Err(notice) = preflight::check(claim, &observed.class, crosses) {
                return end(Cause::Refused, say(notice));
            }
        }
    }
    let node = match placement(observed) {
        Placement::At(node) => node,
        Placement::Unplaced => return end(Cause::Unplaced, Wait::default()),
        Placement::Unpin(node) => {
            return Step::Cleanup(Ending {
                cause: Cause::Unplaced,
                prime: Remains::Deleted,
                unpin: Some(node),
                wait: Wait::default(),
            });
        }
    };
    if let PrimeVolume::Bound(volume) = observed.prime_volume() {
        if let Err(why) = matching::check(volume, claim) {
            return keep_mismatch(volume, &why);
        }
        if reclaim_policy(volume) != "Delete" {
            return Step::Write(Write::Reclaim(Arc::clone(volume)));
        }
    }
    Step::Populate(node)
}

/// Something has the prime's name. What an earlier process made is removed; what somebody else made is waited for, and
/// its maker is the one to remove it.
fn out_of_the_way<S>(observed: &Observed<S>, stray: &Stray) -> Step {
    let meta = &stray.object.metadata;
    let going_since = meta.deletion_timestamp.as_ref().map(|since| observed.now.duration_since(since.0));
    if stray.unrecorded && going_since.is_none() {
        return lose(None);
    }
    // What goes is gone in a moment, unless somebody holds it.
    let stands = going_since.is_none_or(|since| since > GOES_SOON);
    let notice = stands.then(|| notices::prime_name_taken(namespace(meta), name(meta)));
    end(Cause::Refused, Wait { notice, at_most: Some(if stands { REFUSED_AGAIN } else { LOOK_AGAIN }) })
}

/// No other volume is tried when one did not match: it would not match either, and each one costs.
fn keep_mismatch(volume: &PersistentVolume, why: &str) -> Step {
    Step::Cleanup(Ending {
        cause: Cause::Mismatch,
        prime: Remains::Kept,
        unpin: None,
        wait: say(notices::volume_mismatch(name(&volume.metadata), why)),
    })
}

/// The step after the populator has said how far the filling is.
pub(crate) fn after_populate<S>(observed: &Observed<S>, node: Option<String>, answer: Populate) -> Step {
    match answer {
        Populate::Running(wait) if observed.provisions_since(PROVISIONED_SOON) => Step::AwaitVolume(wait),
        Populate::Running(wait) if observed.provisions_since(Duration::ZERO) => {
            Step::Rest(no_later_than(wait, PROVISIONED_SOON))
        }
        Populate::Hold(wait) | Populate::Running(wait) => Step::Rest(wait),
        Populate::NeedPrime(spec) if observed.prime.is_none() => {
            Step::Write(Write::CreatePrime { spec: Box::new(spec), node })
        }
        // It has not seen the prime yet, which is its to tell by a trigger.
        Populate::NeedPrime(_) => look_again(LOOK_AGAIN),
        Populate::Filled => match observed.prime_volume() {
            PrimeVolume::Bound(_) => Step::Complete(node),
            // Filled before it is bound is a stale view of the prime, ours or the populator's.
            PrimeVolume::Pending | PrimeVolume::Lost(_) => look_again(LOOK_AGAIN),
        },
        Populate::Discard(wait) | Populate::Failed(wait) => discard(observed, wait),
    }
}

/// The step after the provisioner has been heard, or has said nothing.
pub(crate) fn await_volume(wait: Wait, failure: Option<&str>) -> Step {
    let mut wait = no_later_than(wait, PROVISIONED_SOON);
    wait.notice = wait.notice.or_else(|| failure.map(notices::provisioning_failed));
    Step::Rest(wait)
}

fn no_later_than(wait: Wait, limit: Duration) -> Wait {
    Wait { at_most: Some(wait.at_most.map_or(limit, |at_most| at_most.min(limit))), ..wait }
}

/// The step after the API server has refused the prime and the populator has been told.
pub(crate) fn after_refusal<S>(
    observed: &Observed<S>,
    node: Option<String>,
    answer: Populate,
    refusal: &Notice,
) -> Step {
    let told = |mut wait: Wait| {
        wait.notice = Some(wait.notice.unwrap_or_else(|| refusal.clone()));
        wait
    };
    let answer = match answer {
        // It did not look at the refusal, so the machinery sets the pace.
        Populate::NeedPrime(_) => Populate::Hold(told(Wait { notice: None, at_most: Some(REFUSED_AGAIN) })),
        Populate::Hold(wait) => Populate::Hold(told(wait)),
        Populate::Running(wait) => Populate::Running(told(wait)),
        Populate::Discard(wait) => Populate::Discard(told(wait)),
        Populate::Failed(wait) => Populate::Failed(told(wait)),
        Populate::Filled => Populate::Filled,
    };
    after_populate(observed, node, answer)
}

/// The step after the populator has had its last word.
pub(crate) fn after_complete<S>(observed: &Observed<S>, answer: Complete) -> Step {
    match answer {
        Complete::Done => Step::Inspect,
        Complete::Wait(wait) => Step::Rest(wait),
        Complete::Discard(wait) => discard(observed, wait),
    }
}

/// The step after the populator has removed its own, or some of it.
pub(crate) fn after_cleanup<S>(observed: &Observed<S>, ending: Ending, answer: Cleanup) -> Step {
    if let Cleanup::Pending(wait) = answer {
        if ending.prime == Remains::DeletedAlong
            && let Some(write) = delete_prime(observed, ending.cause)
        {
            return Step::Write(write);
        }
        let notice = wait.notice.or(ending.wait.notice);
        return Step::Rest(Wait { notice, at_most: wait.at_most });
    }
    if let Some(node) = ending.unpin {
        let prime = observed.prime.clone().filter(|prime| !is_going(&prime.metadata));
        return Step::Write(Write::Unpin { node, prime });
    }
    if ending.prime == Remains::Kept {
        return Step::Rest(ending.wait);
    }
    match delete_prime(observed, ending.cause) {
        Some(write) => Step::Write(write),
        None => Step::Rest(ending.wait),
    }
}

/// A volume of ours that nobody will ever use, and that its class would keep.
fn abandoned<S>(observed: &Observed<S>, cause: Cause) -> Option<Arc<PersistentVolume>> {
    observed.volumes.iter().find(|volume| is_abandoned(observed, volume, cause)).cloned()
}

fn is_abandoned<S>(observed: &Observed<S>, volume: &PersistentVolume, cause: Cause) -> bool {
    let of_the_prime = observed.made().is_some_and(|prime| claimed_by(volume, uid(&prime.metadata)));
    // Marked as ours while it was filled, and not handed over since; its prime may be gone already.
    let marked = observed.keys.claim_of(&volume.metadata).is_some_and(|claim| claim.uid == observed.claim_ref.uid)
        && annotation(&volume.metadata, &observed.keys.rebound_at).is_none();
    // Handed over to a claim that took another volume. A claim that is gone may have been bound to it, and what it
    // wrote there is kept if its class says so.
    let spurned = cause == Cause::Elsewhere && claimed_by(volume, &observed.claim_ref.uid);
    (of_the_prime || marked || spurned) && reclaim_policy(volume) != "Delete" && !is_going(&volume.metadata)
}

/// The step after the last look: hand over, or not.
pub(crate) fn hand_over<S>(observed: &Observed<S>, seen: &Inspection) -> Step {
    let (Some(prime), PrimeVolume::Bound(known)) = (&observed.prime, observed.prime_volume()) else {
        return look_again(LOOK_AGAIN);
    };
    let unchanged = |claim: &&PersistentVolumeClaim| {
        uid(&claim.metadata) == observed.claim_ref.uid && !is_going(&claim.metadata) && volume_name(claim).is_none()
    };
    let volume = seen.volume.as_ref().filter(|volume| {
        uid(&volume.metadata) == uid(&known.metadata)
            && claimed_by(volume, uid(&prime.metadata))
            && !is_going(&volume.metadata)
    });
    let (Some(claim), Some(volume)) = (seen.claim.as_ref().filter(unchanged), volume) else {
        // Somebody was faster; the pass that their change brings decides on what they left.
        return look_again(LOOK_AGAIN);
    };
    if let Err(why) = matching::check(volume, claim) {
        return keep_mismatch(volume, &why);
    }
    let ours = |pod: &&Pod| observed.is_worker(&seen.recorded, &pod.metadata);
    let is_scheduled = |pod: &&Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    if let Some(pod) = seen.pods.iter().filter(|pod| !ours(pod)).find(is_scheduled) {
        return lose(Some(notices::volume_in_use(name(&volume.metadata), name(&pod.metadata))));
    }
    if let Some(pod) = seen.pods.iter().find(|pod| !ours(pod)) {
        let notice = notices::prime_named(name(&prime.metadata), name(&pod.metadata));
        return Step::Rest(Wait { notice: Some(notice), at_most: Some(LOOK_AGAIN) });
    }
    if seen.pods.iter().any(|pod| !is_finished(pod)) {
        return look_again(LOOK_AGAIN);
    }
    Step::Write(Write::Rebind(Arc::new(volume.clone())))
}

#[cfg(test)]
mod tests;
