//! Where the volume of a `WaitForFirstConsumer` claim may be made, and when that choice has to be taken back.
//!
//! The scheduler writes the node that it chose for the claim's consumer on the claim; the prime gets a copy. As long as
//! the annotation stands, the consumer can go nowhere else. So when the provisioner takes the copy off the prime (no
//! capacity, wrong topology), or the node is lost before the volume exists, the original is taken off the claim too.

use crate::names::annotation;
use crate::observed::{Node, Observed, selected_node, volume_name};

/// What becomes of a claim's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Go on, on that node; `None`: wherever the scheduler puts the worker.
    At(Option<String>),
    /// No node is selected, or another than the prime was made for. Nothing may exist before that changes.
    Unplaced,
    /// This node will not do: take the annotation off the claim if it still says so.
    Unpin(String),
}

pub(crate) fn placement<S>(observed: &Observed<S>) -> Placement {
    let keys = &observed.keys;
    let prime = observed.prime.as_ref();
    let copied = prime.and_then(|prime| annotation(&prime.metadata, &keys.selected_node));
    if prime.is_some_and(|prime| volume_name(prime).is_some()) {
        // The volume exists, so its topology rules now, and the node that it was made for is the one.
        return Placement::At(copied.map(Into::into));
    }
    if !observed.waits_for_consumer() {
        return Placement::At(None);
    }
    let chosen = observed.claim.as_deref().and_then(selected_node);
    let Some(chosen) = chosen else { return Placement::Unplaced };
    if let Some(prime) = prime {
        if copied != Some(chosen) {
            return Placement::Unplaced;
        }
        if selected_node(prime) != copied {
            return Placement::Unpin(chosen.into());
        }
    }
    match observed.node {
        Node::Cordoned | Node::Gone => Placement::Unpin(chosen.into()),
        Node::Usable | Node::Unread => Placement::At(Some(chosen.into())),
    }
}
