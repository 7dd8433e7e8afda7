//! The work queue: one claim is looked at by one pass at a time, and never forgotten.
//!
//! `kube::runtime::Controller` drops a key whose object is gone, and here those are the keys that matter most: a claim
//! that is gone is what has to be cleaned up. So this queue knows nothing but the keys.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use crate::populator::ClaimRef;

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_mins(1);

/// How a pass ended, as far as the queue is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finished {
    /// Well; the next pass comes no later than this.
    Well(Option<Duration>),
    /// With an error, and must be repeated.
    Badly,
}

/// Which claims are due, and when. Time is handed in, so that it can be tested.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// What is to be done, by the time at which and the order in which it was asked for.
    waiting: BTreeSet<(Instant, u64, ClaimRef)>,
    /// Where each UID stands in `waiting`.
    positions: HashMap<String, (Instant, u64, ClaimRef)>,
    running: HashSet<String>,
    /// Asked for again while it was running.
    again: HashMap<String, ClaimRef>,
    failures: HashMap<String, u32>,
    turn: u64,
}

impl Queue {
    /// Asks for a pass no later than `at`.
    pub(crate) fn request(&mut self, claim: ClaimRef, at: Instant) {
        if self.running.contains(&claim.uid) {
            self.again.insert(claim.uid.clone(), claim);
            return;
        }
        if let Some(position) = self.positions.get(&claim.uid) {
            if position.0 <= at {
                return;
            }
            self.waiting.remove(position);
        }
        self.turn += 1;
        let position = (at, self.turn, claim);
        self.positions.insert(position.2.uid.clone(), position.clone());
        self.waiting.insert(position);
    }

    /// Takes the claim that has been due longest.
    pub(crate) fn take(&mut self, now: Instant) -> Option<ClaimRef> {
        if self.waiting.first()?.0 > now {
            return None;
        }
        let (_, _, claim) = self.waiting.pop_first()?;
        self.positions.remove(&claim.uid);
        self.running.insert(claim.uid.clone());
        Some(claim)
    }

    /// Notes the end of a pass.
    pub(crate) fn finished(&mut self, claim: ClaimRef, how: Finished, now: Instant) {
        self.running.remove(&claim.uid);
        let again = self.again.remove(&claim.uid);
        let next = match how {
            Finished::Badly => {
                let failures = self.failures.entry(claim.uid.clone()).or_default();
                let backoff = FIRST_BACKOFF.saturating_mul(2u32.saturating_pow(*failures)).min(LONGEST_BACKOFF);
                *failures += 1;
                // Not sooner because something happened meanwhile: what fails on every event must not spin.
                Some(now + backoff)
            }
            Finished::Well(at_most) => {
                self.failures.remove(&claim.uid);
                if again.is_some() { Some(now) } else { at_most.map(|at_most| now + at_most) }
            }
        };
        if let Some(next) = next {
            self.request(again.unwrap_or(claim), next);
        }
    }

    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// When the next claim is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.waiting.first().map(|(at, ..)| *at)
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
