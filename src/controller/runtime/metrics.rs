//! Our metrics, `vmdisk_*`. Labels come from closed sets alone.

use std::time::Duration;

use populator_crd::v1alpha1::FailureClass;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::policy::Policy;

/// From at once to half a day: a queue before a slow link is long.
const WAIT_BUCKETS: [f64; 14] =
    [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0, 43_200.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyLabel {
    key: &'static str,
}

/// The metrics; clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    queue_length: Gauge,
    queue_wait: Histogram,
    permits_in_use: Gauge,
    permits_limit: Gauge,
    attempts: Family<ResultLabel, Counter>,
    bytes_fetched: Counter,
    bytes_written: Counter,
    policy: Family<KeyLabel, Gauge>,
    policy_problems: Gauge,
    policy_closed: Gauge,
    leader: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            queue_length: Gauge::default(),
            queue_wait: Histogram::new(WAIT_BUCKETS),
            permits_in_use: Gauge::default(),
            permits_limit: Gauge::default(),
            attempts: Family::default(),
            bytes_fetched: Counter::default(),
            bytes_written: Counter::default(),
            policy: Family::default(),
            policy_problems: Gauge::default(),
            policy_closed: Gauge::default(),
            leader: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Makes them part of a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("vmdisk_queue_length", "Syncs that wait for their turn", self.queue_length.clone());
        registry.register(
            "vmdisk_queue_wait_seconds",
            "Time from joining the queue to the turn",
            self.queue_wait.clone(),
        );
        registry.register("vmdisk_permits_in_use", "Syncs that may run now", self.permits_in_use.clone());
        registry.register("vmdisk_permits_limit", "Syncs that may run at once", self.permits_limit.clone());
        registry.register(
            "vmdisk_attempts",
            "Attempts that ended, by result: Succeeded or the class of failure",
            self.attempts.clone(),
        );
        registry.register(
            "vmdisk_fetched_bytes",
            "Bytes that workers received from sources, repeated ones included",
            self.bytes_fetched.clone(),
        );
        registry.register("vmdisk_written_bytes", "Bytes that workers wrote to volumes", self.bytes_written.clone());
        registry.register("vmdisk_policy", "Numbers of the policy in force; durations in seconds", self.policy.clone());
        registry.register(
            "vmdisk_policy_problems",
            "Keys of the policy ConfigMap that could not be taken over",
            self.policy_problems.clone(),
        );
        registry.register(
            "vmdisk_policy_closed",
            "Whether nothing new is admitted, because the policy cannot be read and no last good value is known",
            self.policy_closed.clone(),
        );
        registry.register("vmdisk_leader", "Whether this replica leads", self.leader.clone());
    }

    /// Queue and permits as they are now.
    pub fn gate(&self, waiting: usize, in_use: usize, limit: usize) {
        self.queue_length.set(signed(waiting));
        self.permits_in_use.set(signed(in_use));
        self.permits_limit.set(signed(limit));
    }

    /// A sync's turn came after this wait.
    pub fn queue_wait(&self, waited: Duration) {
        self.queue_wait.observe(waited.as_secs_f64());
    }

    /// An attempt ended; `None`: it succeeded.
    pub fn attempt(&self, class: Option<FailureClass>) {
        let result = class.map_or("Succeeded", FailureClass::as_str);
        self.attempts.get_or_create(&ResultLabel { result }).inc();
    }

    /// What a worker moved in its attempt.
    pub fn moved(&self, fetched: u64, written: u64) {
        self.bytes_fetched.inc_by(fetched);
        self.bytes_written.inc_by(written);
    }

    /// The policy in force, and how much of the `ConfigMap` could not be read.
    pub fn policy(&self, policy: &Policy, problems: usize) {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        for (key, value) in [
            ("concurrency", signed(policy.concurrency)),
            ("retryLimit", i64::from(policy.retry_limit)),
            ("disruptionLimit", i64::from(policy.disruption_limit)),
            ("retryBackoffDuration", seconds(policy.retry_backoff)),
            ("retryBackoffMax", seconds(policy.retry_backoff_max)),
            ("attemptTimeout", seconds(policy.attempt_timeout)),
            ("missingRetryInterval", seconds(policy.missing_retry_interval)),
            ("deniedRetryInterval", seconds(policy.denied_retry_interval)),
            ("startTimeout", seconds(policy.start_timeout)),
            ("nodeLostTimeout", seconds(policy.node_lost_timeout)),
            ("bandwidthPerWorker", i64::try_from(policy.bandwidth_per_worker.unwrap_or(0)).unwrap_or(i64::MAX)),
            ("syncHistory", seconds(policy.sync_history)),
        ] {
            self.policy.get_or_create(&KeyLabel { key }).set(value);
        }
        self.policy_problems.set(signed(problems));
        self.policy_closed.set(i64::from(policy.closed().is_some()));
    }

    /// Whether this replica leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }
}

fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
