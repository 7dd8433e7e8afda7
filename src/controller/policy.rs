//! The policy: what the operator of the cluster lets syncs do.
//!
//! ```text
//! ConfigMap sync-operator-policy ──watch──▶ parse (pure, key by key) ──▶ Policy in force ──▶ gate, syncs, pods
//!                          last good values ──▲  └─ problems ──▶ one event, one metric
//!                                             └──▶ ConfigMap sync-operator-policy-in-force
//! ```
//!
//! Hot-reloaded: who needs a value reads it from the [`tokio::sync::watch`] channel at that moment. A value that cannot
//! be read keeps the last good one of its key, also across a restart; where none is known the policy is closed and admits
//! nobody. A key that is absent means its default; no `ConfigMap` means all defaults.

mod allowed;
mod in_force;
mod parse;
mod problem;
mod values;
mod watch;

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::{ResourceRequirements, Toleration};

pub use allowed::AllowedSource;
pub use in_force::CONFIG_MAP as IN_FORCE_CONFIG_MAP;
pub use parse::{KEYS, Key, Parsed, Raw, parse, reference};
pub use problem::{Effect, Problem, notice};
pub use values::ValueError;
pub use watch::{Follower, PolicyReceiver, WatchEnded, follow};

/// The name of the policy's `ConfigMap`, in the operator's namespace.
pub const CONFIG_MAP: &str = "sync-operator-policy";

/// The policy in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The keys that cannot be read and have no last good value. Not empty: the policy is closed. Who admits asks
    /// [`Policy::permits`].
    pub unread: Vec<&'static str>,
    /// How many syncs may run at once; 0 lets nothing new start.
    pub concurrency: usize,
    /// How many claims may be cut from golden data at once.
    pub restore_concurrency: usize,
    /// Retries after the first attempt.
    pub retry_limit: u32,
    /// Attempts that the cluster's own life cut short, after which a sync is given up.
    pub disruption_limit: u32,
    /// The wait after the first failure; it doubles with each further one.
    pub retry_backoff: Duration,
    /// The longest wait between two attempts.
    pub retry_backoff_max: Duration,
    /// The longest that one worker may run.
    pub attempt_timeout: Duration,
    /// How often a source that does not exist is asked again.
    pub missing_retry_interval: Duration,
    /// How often a source that refuses us is asked again.
    pub denied_retry_interval: Duration,
    /// How long a worker may take to run, provisioning of its prime included.
    pub start_timeout: Duration,
    /// How long a node may be out of sight before its worker is given up.
    pub node_lost_timeout: Duration,
    /// How fast one worker may fetch, in bytes per second.
    pub bandwidth_per_worker: Option<u64>,
    /// The sources that may be fetched from; empty: every public one.
    pub allowed_sources: Vec<AllowedSource>,
    /// Address ranges that no source may lead to, in CIDR form.
    pub refused_networks: Vec<String>,
    /// What a file system keeps of a volume for itself, in parts per thousand of the disk.
    pub overhead_per_mille: u32,
    /// The most that a worker may stage for a format that cannot be streamed, in bytes.
    pub scratch_size: u64,
    /// How long a finished sync is kept after its claim is gone.
    pub sync_history: Duration,
    /// Whether the worker of a failed attempt stays until the next one, to be looked at.
    pub keep_failed_workers: bool,
    /// What worker pods get beside their job.
    pub worker: WorkerPolicy,
}

/// Where and how workers run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkerPolicy {
    /// Requests and limits of the worker's container.
    pub resources: Option<ResourceRequirements>,
    /// Labels that the worker's node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that workers tolerate.
    pub tolerations: Vec<Toleration>,
    /// The `PriorityClass` of workers.
    pub priority_class: Option<String>,
    /// Names of the Secrets, in the image's namespace, that the worker's own image is pulled with.
    pub image_pull_secrets: Vec<String>,
    /// `HTTP_PROXY` of workers.
    pub http_proxy: Option<String>,
    /// `HTTPS_PROXY` of workers.
    pub https_proxy: Option<String>,
    /// `NO_PROXY` of workers.
    pub no_proxy: Option<String>,
}

impl Default for Policy {
    fn default() -> Self {
        const GIB: u64 = 1 << 30;
        Self {
            unread: Vec::new(),
            concurrency: 4,
            restore_concurrency: 10,
            retry_limit: 2,
            disruption_limit: 10,
            retry_backoff: Duration::from_mins(5),
            retry_backoff_max: Duration::from_hours(1),
            attempt_timeout: Duration::from_hours(12),
            missing_retry_interval: Duration::from_mins(5),
            denied_retry_interval: Duration::from_hours(1),
            start_timeout: Duration::from_mins(5),
            node_lost_timeout: Duration::from_mins(5),
            bandwidth_per_worker: None,
            allowed_sources: Vec::new(),
            refused_networks: Vec::new(),
            overhead_per_mille: vmdisk_wire::Target::DEFAULT_OVERHEAD_PER_MILLE,
            scratch_size: 64 * GIB,
            sync_history: Duration::from_hours(7 * 24),
            keep_failed_workers: false,
            worker: WorkerPolicy::default(),
        }
    }
}

impl Policy {
    /// How many syncs may hold a permit now: none while the policy is closed.
    #[must_use]
    pub fn permits(&self) -> usize {
        if self.unread.is_empty() { self.concurrency } else { 0 }
    }

    /// How many claims may be cut from golden data now: as [`Policy::permits`].
    #[must_use]
    pub fn restore_permits(&self) -> usize {
        if self.unread.is_empty() { self.restore_concurrency } else { 0 }
    }

    /// Why nothing new may start, as a sentence for who waits; `None`: the policy is open.
    #[must_use]
    pub fn closed(&self) -> Option<String> {
        (!self.unread.is_empty()).then(|| {
            format!(
                "nothing new is admitted, because {} in {CONFIG_MAP} cannot be read and no last good value is known; \
                 correct it",
                self.unread.join(", ")
            )
        })
    }

    /// Whether the policy lets an image be fetched from this URL. The worker asks the same of every connection; this
    /// answer only comes earlier, before anything is created.
    #[must_use]
    pub fn allows(&self, url: &url::Url) -> bool {
        self.allowed_sources.is_empty() || self.allowed_sources.iter().any(|entry| entry.covers(url))
    }
}

#[cfg(test)]
mod sample_tests;
#[cfg(test)]
mod tests;
