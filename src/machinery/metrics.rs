//! The figures that users of volume populators know, under the names by which they know them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// From a tenth of a second to half a day: a large image over a slow link takes hours.
const BUCKETS: [f64; 19] = [
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0,
    28_800.0, 43_200.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// How a claim's filling ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    Cancelled,
    BoundElsewhere,
}

/// The machinery's metrics; clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    seconds: Family<ResultLabel, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    errors: Family<ReasonLabel, Counter>,
    /// Since when each claim is being filled.
    flights: Arc<Mutex<HashMap<String, Timestamp>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            in_flight: Gauge::default(),
            errors: Family::default(),
            flights: Arc::default(),
        }
    }
}

impl Metrics {
    /// Makes them part of a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "volume_populator_operation_seconds",
            "Time from the first look at a claim that may be filled to its end, by result",
            self.seconds.clone(),
        );
        registry.register(
            "volume_populator_operations_in_flight",
            "Claims that are being filled or wait for their turn",
            self.in_flight.clone(),
        );
        registry.register(
            "volume_populator_pass_errors",
            "Passes over a claim that failed and were repeated, by reason",
            self.errors.clone(),
        );
    }

    /// A claim is being filled; since when is told the first time.
    pub(crate) fn started(&self, claim_uid: &str, since: Timestamp) {
        let mut flights = self.flights();
        flights.entry(claim_uid.into()).or_insert(since);
        self.in_flight.set(i64::try_from(flights.len()).unwrap_or(i64::MAX));
    }

    pub(crate) fn is_in_flight(&self, claim_uid: &str) -> bool {
        self.flights().contains_key(claim_uid)
    }

    /// A claim's filling is over. Counted once, and only if it had started.
    pub(crate) fn ended(&self, claim_uid: &str, outcome: Outcome, now: Timestamp) {
        let mut flights = self.flights();
        if let Some(since) = flights.remove(claim_uid) {
            let result = match outcome {
                Outcome::Success => "success",
                Outcome::Cancelled => "cancelled",
                Outcome::BoundElsewhere => "bound_elsewhere",
            };
            let took = now.duration_since(since).as_secs_f64().max(0.0);
            self.seconds.get_or_create(&ResultLabel { result }).observe(took);
        }
        self.in_flight.set(i64::try_from(flights.len()).unwrap_or(i64::MAX));
    }

    pub(crate) fn failed(&self, reason: &'static str) {
        self.errors.get_or_create(&ReasonLabel { reason }).inc();
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<String, Timestamp>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
