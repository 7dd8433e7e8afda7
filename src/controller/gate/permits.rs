//! Who holds a permit and who waits for one: a state machine without I/O and without a clock of its own.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use volume_populator::ClaimRef;

use super::schedule::{Place, admissible};
use crate::sync::decide::Permit;

/// How long an offered permit waits to be taken. The claim whose turn it is is woken at once; it is not heard of again
/// only if something keeps it from being filled, and then the next in the queue must not wait with it.
const OFFER_LASTS: Duration = Duration::from_secs(10);

/// The permits and the queue.
#[derive(Clone, Debug, Default)]
pub struct Permits {
    limit: usize,
    given: BTreeMap<String, Held>,
    queue: BTreeMap<Place, ClaimRef>,
    /// The place of each UID in the queue.
    places: BTreeMap<String, Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    /// The sync's turn has come; its record does not say so yet.
    Offered { until: Timestamp },
    /// The sync's record says so.
    Admitted { fresh: bool },
}

/// A permit that was offered to a sync from the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The claim to wake.
    pub claim: ClaimRef,
    /// How long it stood in the queue.
    pub waited: Duration,
}

impl Permits {
    /// No permits, nobody waiting.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// The state that the objects alone tell: who holds a permit, and who waits since when.
    #[must_use]
    pub fn restore(
        limit: usize,
        holders: impl IntoIterator<Item = String>,
        waiting: impl IntoIterator<Item = (Place, ClaimRef)>,
    ) -> Self {
        let mut permits = Self::new(limit);
        for uid in holders {
            permits.given.insert(uid, Held::Admitted { fresh: false });
        }
        for (place, claim) in waiting {
            if !permits.given.contains_key(&place.uid) {
                permits.enqueue(place, claim);
            }
        }
        permits
    }

    /// A sync wants a permit. It keeps the place that it has in the queue, then the one that its record says, and else
    /// gets one at the tail. [`Permits::permit`] tells what it has.
    pub fn request(&mut self, uid: &str, recorded: Option<Timestamp>, claim: ClaimRef, now: Timestamp) {
        if self.given.contains_key(uid) || self.places.contains_key(uid) {
            return;
        }
        let place = Place { enqueued_at: micros(recorded.unwrap_or(now)), uid: uid.to_owned() };
        self.enqueue(place, claim);
    }

    /// What a sync that asked has.
    #[must_use]
    pub fn permit(&self, uid: &str) -> Permit {
        match (self.given.get(uid), self.places.get(uid)) {
            (Some(Held::Offered { .. } | Held::Admitted { fresh: true }), _) => Permit::Fresh,
            (Some(Held::Admitted { fresh: false }), _) => Permit::Used,
            (None, Some(place)) => Permit::Waiting(*place),
            (None, None) => Permit::Unasked,
        }
    }

    /// A sync whose record says Syncing holds a permit whatever the limit is. One that was offered counts as fresh: its
    /// admission was written, though nobody heard of it.
    pub fn adopt(&mut self, uid: &str) {
        self.dequeue(uid);
        let held = self.given.entry(uid.to_owned()).or_insert(Held::Admitted { fresh: false });
        if matches!(held, Held::Offered { .. }) {
            *held = Held::Admitted { fresh: true };
        }
    }

    /// The admission was written: no worker exists under this permit yet.
    pub fn admitted(&mut self, uid: &str) {
        self.dequeue(uid);
        self.given.insert(uid.to_owned(), Held::Admitted { fresh: true });
    }

    /// The worker was created.
    pub fn started(&mut self, uid: &str) {
        if let Some(held @ Held::Admitted { .. }) = self.given.get_mut(uid) {
            *held = Held::Admitted { fresh: false };
        }
    }

    /// The sync wants no permit any more. One that was admitted stays until its worker is seen to be gone.
    pub fn withdraw(&mut self, uid: &str) {
        self.dequeue(uid);
        if matches!(self.given.get(uid), Some(Held::Offered { .. })) {
            self.given.remove(uid);
        }
    }

    /// What the objects say of a sync that holds a permit. An offer is not theirs to judge: its record still says
    /// Queued.
    pub fn settle(&mut self, uid: &str, still_held: bool) {
        match self.given.get(uid) {
            Some(Held::Admitted { .. }) if !still_held => {
                self.given.remove(uid);
            }
            None if still_held => self.adopt(uid),
            _ => {}
        }
    }

    /// The policy's concurrency. A lower one drains: nobody loses a permit.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes back the offers that nobody took in time. Who comes later has its old place by its record.
    pub fn lapse(&mut self, now: Timestamp) {
        self.given.retain(|_, held| !matches!(held, Held::Offered { until } if *until <= now));
    }

    /// The time of the next lapse.
    #[must_use]
    pub fn next_lapse(&self) -> Option<Timestamp> {
        self.given
            .values()
            .filter_map(|held| match held {
                Held::Offered { until } => Some(*until),
                Held::Admitted { .. } => None,
            })
            .min()
    }

    /// Offers every free permit to the head of the queue.
    pub fn offer(&mut self, now: Timestamp) -> Vec<Offer> {
        let places: Vec<Place> = admissible(self.limit, self.given.len(), &self.queue).cloned().collect();
        places.into_iter().filter_map(|place| self.grant(place, now)).collect()
    }

    /// Offers a permit to this sync if its turn has come; tells how long it waited.
    pub fn offer_to(&mut self, uid: &str, now: Timestamp) -> Option<Duration> {
        let place = admissible(self.limit, self.given.len(), &self.queue).find(|place| place.uid == uid).cloned()?;
        self.grant(place, now).map(|offer| offer.waited)
    }

    fn grant(&mut self, place: Place, now: Timestamp) -> Option<Offer> {
        let claim = self.queue.remove(&place)?;
        self.places.remove(&place.uid);
        let lasts = SignedDuration::try_from(OFFER_LASTS).unwrap_or_default();
        let until = now.checked_add(lasts).unwrap_or(now);
        self.given.insert(place.uid, Held::Offered { until });
        let waited = Duration::try_from(now.duration_since(place.enqueued_at)).unwrap_or_default();
        Some(Offer { claim, waited })
    }

    /// The permits that are given out.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.given.len()
    }

    /// The length of the queue.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// The permits that may be given out.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// The UIDs of the syncs that were admitted.
    pub fn holders(&self) -> impl Iterator<Item = &str> {
        self.given.iter().filter(|(_, held)| matches!(held, Held::Admitted { .. })).map(|(uid, _)| uid.as_str())
    }

    fn enqueue(&mut self, place: Place, claim: ClaimRef) {
        self.places.insert(place.uid.clone(), place.enqueued_at);
        self.queue.insert(place, claim);
    }

    fn dequeue(&mut self, uid: &str) {
        if let Some(enqueued_at) = self.places.remove(uid) {
            self.queue.remove(&Place { enqueued_at, uid: uid.to_owned() });
        }
    }
}

/// As precise as the record keeps it, so that a place is the same before and after a restart.
fn micros(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

#[cfg(test)]
#[path = "permits_tests.rs"]
mod tests;
