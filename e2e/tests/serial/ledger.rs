//! What the gate let happen, folded from every change in the order in which the API server's store took it; and whether
//! that kept the gate's rules. Pure.
//!
//! Every kind of object shares the store's one counter of revisions, so changes of syncs, primes, workers and the
//! policy are in one order, and what the controller did because of a change always comes after it.

use std::collections::BTreeMap;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The store's revision.
    pub(crate) revision: u64,
    /// What happened.
    pub(crate) what: What,
}

/// What happened, and to which claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The policy allows so many at once from now on.
    Limit(usize),
    /// A sync joined the queue.
    Queued(String),
    /// A sync left the queue: it holds a permit.
    Admitted(String),
    /// A prime was created.
    Prime(String),
    /// A worker was created.
    Worker(String),
    /// A worker ended, or went before it ended.
    Ended(String),
    /// An attempt is over; its worker, if there is one, may still run.
    Over(String),
}

/// The outcome of the fold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// The claims in the order in which they were admitted; one that was admitted again is there again.
    pub(crate) admitted: Vec<String>,
    /// The claims in the order in which their workers were created.
    pub(crate) workers: Vec<String>,
    /// The claims in the order in which their primes were created.
    pub(crate) primes: Vec<String>,
    /// The most workers at once.
    pub(crate) most: usize,
    /// What broke a rule.
    pub(crate) faults: Vec<String>,
}

/// What is known of a claim at one moment.
#[derive(Default)]
struct Claim {
    queued_since: Option<u64>,
    admitted: bool,
    works: bool,
}

impl Claim {
    /// An attempt that is over keeps its permit until its worker has ended.
    const fn holds_permit(&self) -> bool {
        self.admitted || self.works
    }
}

/// Folds all changes. A limit that is lowered is not judged at that moment: it drains.
pub(crate) fn fold(mut entries: Vec<Entry>) -> Ledger {
    entries.sort_by_key(|entry| entry.revision);
    let mut ledger = Ledger::default();
    let mut claims = BTreeMap::<String, Claim>::new();
    let mut limit = 0;
    for Entry { revision, what } in entries {
        let fault = match what {
            What::Limit(now) => {
                limit = now;
                None
            }
            What::Queued(name) => {
                claims.entry(name).or_default().queued_since = Some(revision);
                None
            }
            What::Admitted(name) => {
                let fault = admit(&mut claims, &name, limit);
                ledger.admitted.push(name);
                fault
            }
            What::Prime(name) => {
                let early = !claims.entry(name.clone()).or_default().admitted;
                let fault = early.then(|| format!("{name} got its prime while it was not admitted"));
                ledger.primes.push(name);
                fault
            }
            What::Worker(name) => {
                let claim = claims.entry(name.clone()).or_default();
                let early = (!claim.admitted).then(|| format!("{name} got its worker while it was not admitted"));
                claim.works = true;
                ledger.workers.push(name.clone());
                let working = claims.values().filter(|claim| claim.works).count();
                ledger.most = ledger.most.max(working);
                let many = || (working > limit).then(|| format!("{name}'s worker is one of {working}, not {limit}"));
                early.or_else(many)
            }
            What::Ended(name) => {
                let claim = claims.entry(name).or_default();
                (claim.admitted, claim.works) = (false, false);
                None
            }
            What::Over(name) => {
                claims.entry(name).or_default().admitted = false;
                None
            }
        };
        ledger.faults.extend(fault.map(|fault| format!("revision {revision}: {fault}")));
    }
    ledger
}

/// Several permits that are free at once are taken in any order: who passes others leaves a permit for each of them.
fn admit(claims: &mut BTreeMap<String, Claim>, name: &str, limit: usize) -> Option<String> {
    let claim = claims.entry(name.to_owned()).or_default();
    let Some(since) = claim.queued_since.take() else {
        return Some(format!("{name} was admitted and was not in the queue"));
    };
    claim.admitted = true;
    let taken = claims.values().filter(|claim| claim.holds_permit()).count();
    if taken > limit {
        return Some(format!("{name} took permit {taken} of {limit}"));
    }
    let before: Vec<&String> = claims
        .iter()
        .filter(|(_, other)| other.queued_since.is_some_and(|other| other < since))
        .map(|(name, _)| name)
        .collect();
    (taken + before.len() > limit).then(|| format!("{name} was admitted before {before:?}, who came earlier"))
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
