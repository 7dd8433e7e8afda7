//! From the `ConfigMap`'s data to a [`Policy`], key by key, without I/O.

use std::{collections::BTreeMap, time::Duration};

use super::{AllowedSource, Policy, ValueError, values};

/// A key that could not be taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct Problem {
    /// The key in the `ConfigMap`.
    pub key: String,
    /// What was found and what is expected.
    pub message: String,
}

/// One key of the policy.
pub struct Key {
    /// Its name in the `ConfigMap`.
    pub name: &'static str,
    /// Its default, as it would be written; empty: none.
    pub default: &'static str,
    /// What it means, in one line.
    pub help: &'static str,
    read: fn(&mut Policy, &str) -> Result<(), ValueError>,
    copy: fn(&mut Policy, &Policy),
}

/// A key whose value is one field: how to read it, and how to take it over from another policy.
macro_rules! key {
    ($name:literal, $default:literal, $help:literal, $($field:ident).+, $read:expr) => {
        Key {
            name: $name,
            default: $default,
            help: $help,
            read: |policy, text| {
                policy.$($field).+ = $read(text)?;
                Ok(())
            },
            copy: |to, from| to.$($field).+ = from.$($field).+.clone(),
        }
    };
}

/// Every key, in the order of the documentation.
pub const KEYS: &[Key] = &[
    key!("concurrency", "4", "syncs that may run at once; 0 lets nothing new start", concurrency, |text| {
        values::number(text, 10_000).map(|number| number as usize)
    }),
    key!("retryLimit", "2", "retries after the first attempt", retry_limit, |text| values::number(text, 1000)),
    key!(
        "disruptionLimit",
        "10",
        "how often eviction, drain, a lost node or a lost volume may cut a sync short before it is given up",
        disruption_limit,
        |text| values::number(text, 1000)
    ),
    key!(
        "retryBackoffDuration",
        "5m",
        "wait after the first failure; it doubles with each further one",
        retry_backoff,
        values::duration
    ),
    key!("retryBackoffMax", "1h", "longest wait between two attempts", retry_backoff_max, values::duration),
    key!("attemptTimeout", "12h", "longest that one worker may run", attempt_timeout, whole_seconds),
    key!(
        "missingRetryInterval",
        "5m",
        "how often a missing source is asked again",
        missing_retry_interval,
        values::duration
    ),
    key!(
        "deniedRetryInterval",
        "1h",
        "how often a refusing source is asked again",
        denied_retry_interval,
        values::duration
    ),
    key!(
        "startTimeout",
        "5m",
        "how long a worker may take to run, provisioning of its volume included",
        start_timeout,
        values::duration
    ),
    key!(
        "nodeLostTimeout",
        "5m",
        "how long a node may be out of sight before its worker is given up",
        node_lost_timeout,
        whole_seconds
    ),
    key!(
        "bandwidthPerWorker",
        "",
        "bytes per second that one worker may fetch, for example 10Mi; without it, as fast as it goes",
        bandwidth_per_worker,
        |text| { values::size(text).map(Some) }
    ),
    key!(
        "allowedSources",
        "",
        "the only sources that may be fetched from, each SCHEME://HOST[:PORT][/PATH]; without it, every public one",
        allowed_sources,
        |text| {
            values::list(text)
                .map(|entry| AllowedSource::parse(entry).map_err(ValueError))
                .collect::<Result<Vec<_>, _>>()
        }
    ),
    key!(
        "refusedNetworks",
        "",
        "networks that no source may lead to, in CIDR form, for example the cluster's own",
        refused_networks,
        |text| { values::list(text).map(values::network).collect::<Result<Vec<_>, _>>() }
    ),
    key!(
        "filesystemOverhead",
        "0.06",
        "share of a disk that its file system keeps for itself",
        overhead_per_mille,
        values::per_mille
    ),
    key!("scratchSize", "64Gi", "most that is staged for formats that cannot be streamed", scratch_size, values::size),
    key!("syncHistory", "7d", "how long a finished sync outlives its claim", sync_history, values::duration),
    key!(
        "keepFailedWorkers",
        "false",
        "leave the worker of a failed attempt to be looked at",
        keep_failed_workers,
        values::boolean
    ),
    key!(
        "workerResources",
        "",
        "requests and limits of workers (YAML); without it, requests of 50m and 64Mi, and a limit of 512Mi",
        worker.resources,
        |text| { values::yaml(text, "ResourceRequirements, for example {requests: {cpu: 100m}}").map(Some) }
    ),
    key!("workerNodeSelector", "", "labels of the nodes that workers run on (YAML)", worker.node_selector, |text| {
        values::yaml(text, "a map of labels, for example {disktype: ssd}")
    }),
    key!("workerTolerations", "", "taints that workers tolerate (YAML)", worker.tolerations, |text| {
        values::yaml(text, "a list of tolerations, for example [{key: dedicated, operator: Exists}]")
    }),
    key!("workerPriorityClass", "", "PriorityClass of workers", worker.priority_class, values::optional),
    key!(
        "workerImagePullSecrets",
        "",
        "Secrets that the worker's own image is pulled with",
        worker.image_pull_secrets,
        |text| { Ok::<_, ValueError>(values::list(text).map(str::to_owned).collect::<Vec<_>>()) }
    ),
    key!("httpProxy", "", "HTTP_PROXY of workers", worker.http_proxy, values::optional),
    key!("httpsProxy", "", "HTTPS_PROXY of workers", worker.https_proxy, values::optional),
    key!("noProxy", "", "NO_PROXY of workers", worker.no_proxy, values::optional),
];

/// The pod's API counts these in whole seconds.
fn whole_seconds(text: &str) -> Result<Duration, ValueError> {
    let duration = values::duration(text)?;
    if duration < Duration::from_secs(1) {
        return Err(ValueError(format!("{text:?}: expected at least 1s")));
    }
    Ok(Duration::from_secs(duration.as_secs()))
}

/// The table of all keys, for the README.
#[must_use]
pub fn reference() -> String {
    let head = "| key | default | meaning |\n|---|---|---|\n".to_owned();
    let rows = KEYS.iter().map(|Key { name, default, help, .. }| {
        let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
        format!("| `{name}` | {default} | {help} |\n")
    });
    std::iter::once(head).chain(rows).collect()
}

/// Reads the policy. Keys that are absent get their default; keys that cannot be read keep what they are in `last`, and
/// each is one problem, as is each key that nobody knows.
#[must_use]
pub fn parse(data: &BTreeMap<String, String>, last: &Policy) -> (Policy, Vec<Problem>) {
    let mut policy = Policy::default();
    let mut problems = Vec::new();
    for key in KEYS {
        let Some(text) = data.get(key.name) else {
            continue;
        };
        if let Err(error) = (key.read)(&mut policy, text) {
            (key.copy)(&mut policy, last);
            problems.push(Problem { key: key.name.to_owned(), message: error.to_string() });
        }
    }
    for name in data.keys() {
        if !KEYS.iter().any(|key| key.name == name) {
            problems.push(Problem {
                key: name.clone(),
                message: match KEYS.iter().find(|key| key.name.eq_ignore_ascii_case(name)) {
                    Some(key) => format!("no such key; did you mean {}?", key.name),
                    None => "no such key; it has no effect".to_owned(),
                },
            });
        }
    }
    (policy, problems)
}
