//! The test of the test: bugs that a populator has had or could have, each of which the property must find.

use std::sync::Arc;

use crate::{
    Cause,
    decide::{Step, Write},
    model::{api::Laxity, populator::Source},
    observed::{PrimeVolume, is_going},
    populator::Wait,
};

pub(crate) type Tamper = crate::pass::Tamper<Source>;

/// One way to get it wrong.
pub(crate) struct Bug {
    pub(crate) name: &'static str,
    pub(crate) laxity: Laxity,
    pub(crate) tamper: Option<Tamper>,
    /// Whether somebody forges, and the populator keeps no records that could tell.
    pub(crate) forged: bool,
}

const STRICT: Laxity = Laxity { reads_are_stale: false };

const fn wrong_step(name: &'static str, tamper: Tamper) -> Bug {
    Bug { name, laxity: STRICT, tamper: Some(tamper), forged: false }
}

fn rest() -> Step {
    Step::Rest(Wait::default())
}

pub(crate) const BUGS: [Bug; 13] = [
    Bug {
        name: "what is read live elsewhere is read from the caches",
        laxity: Laxity { reads_are_stale: true },
        tamper: None,
        forged: false,
    },
    Bug { name: "names and labels are believed", laxity: STRICT, tamper: None, forged: true },
    wrong_step("the volume is handed over as soon as it is there", |observed, step| {
        match (step, observed.prime_volume()) {
            (Step::Populate(_), PrimeVolume::Bound(volume)) => Step::Write(Write::Rebind(Arc::clone(volume))),
            (step, _) => step,
        }
    }),
    wrong_step("the populator has no last word", |_, step| match step {
        Step::Complete(_) => Step::Inspect,
        step => step,
    }),
    wrong_step("nobody takes a last look", |observed, step| match (step, observed.prime_volume()) {
        (Step::Inspect, PrimeVolume::Bound(volume)) => Step::Write(Write::Rebind(Arc::clone(volume))),
        (step, _) => step,
    }),
    wrong_step("a claim that is gone is forgotten", |_, step| match step {
        Step::Cleanup(ending) if ending.cause == Cause::Gone => rest(),
        step => step,
    }),
    wrong_step("the prime is deleted, and the worker left to itself", |observed, step| match (step, &observed.prime) {
        (Step::Cleanup(ending), Some(prime)) if ending.cause == Cause::Gone && !is_going(&prime.metadata) => {
            Step::Write(Write::DeletePrime(Arc::clone(prime)))
        }
        (Step::Cleanup(ending), _) if ending.cause == Cause::Gone => rest(),
        (step, _) => step,
    }),
    wrong_step("a claim that is bound elsewhere is waited for", |_, step| match step {
        Step::Cleanup(ending) if ending.cause == Cause::Elsewhere => rest(),
        step => step,
    }),
    wrong_step("the claim keeps the node that will not do", |_, step| match step {
        Step::Write(Write::Unpin { .. }) => rest(),
        step => step,
    }),
    wrong_step("a class that retains is not looked at", |observed, step| match (step, &observed.prime) {
        (Step::Write(Write::Reclaim(_)), Some(prime)) if observed.claim.is_none() => {
            Step::Write(Write::DeletePrime(Arc::clone(prime)))
        }
        (Step::Write(Write::Reclaim(_)), Some(_)) => Step::Populate(None),
        (Step::Write(Write::Reclaim(_)), None) => rest(),
        (step, _) => step,
    }),
    wrong_step("a prime that goes is waited for, while the worker holds it", |observed, step| {
        match (step, &observed.prime) {
            (Step::Cleanup(ending), Some(prime)) if ending.cause == Cause::Lost && is_going(&prime.metadata) => rest(),
            (step, _) => step,
        }
    }),
    wrong_step("a volume that is lost is waited for", |observed, step| match (step, observed.prime_volume()) {
        (Step::Cleanup(ending), PrimeVolume::Lost(_)) if ending.cause == Cause::Lost => rest(),
        (step, _) => step,
    }),
    wrong_step("success is declared at the swap", |observed, step| match step {
        Step::Rest(Wait { at_most: Some(_), .. })
            if observed.handed_over().is_some()
                && observed.claim.as_deref().is_some_and(|claim| crate::observed::volume_name(claim).is_none()) =>
        {
            Step::Cleanup(crate::decide::Ending {
                cause: Cause::Bound,
                prime: crate::decide::Remains::Deleted,
                unpin: None,
                wait: Wait::default(),
            })
        }
        step => step,
    }),
];
