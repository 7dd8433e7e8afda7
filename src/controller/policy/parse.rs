//! From the `ConfigMap` to a [`Policy`], key by key, without I/O.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;

use super::{
    AllowedSource, Policy,
    problem::{Effect, Problem},
    values::{self, ValueError},
};

/// The longest value, in bytes. It keeps the record of the last good ones, which may hold each key once, well below the
/// mebibyte that a `ConfigMap` may have; the rule that a worker is told stays small with it.
const LONGEST: usize = 16 << 10;

/// Values as they are written, by key.
pub type Raw = BTreeMap<String, String>;

/// What a `ConfigMap` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The policy.
    pub policy: Policy,
    /// The values that it is made of: the good ones, and the last good ones of keys that cannot be read.
    pub good: Raw,
    /// What could not be taken over.
    pub problems: Vec<Problem>,
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
}

/// A key whose value is one field.
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
        }
    };
}

/// Every key, in the order of the documentation.
pub const KEYS: &[Key] = &[
    key!("concurrency", "4", "syncs that may run at once; 0 lets nothing new start", concurrency, |text| {
        values::number(text, 10_000).map(|number| number as usize)
    }),
    key!(
        "restoreConcurrency",
        "10",
        "claims that may be cut from golden data at once; they use no network and no place among concurrency",
        restore_concurrency,
        |text| values::number(text, 10_000).map(|number| number as usize)
    ),
    key!("retryLimit", "2", "retries after the first attempt", retry_limit, |text| values::number(text, 1000)),
    key!(
        "disruptionLimit",
        "10",
        "attempts that the cluster cut short (eviction, drain, lost node or volume) before a sync is given up",
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
        return Err(ValueError(format!("{}: expected at least 1s", values::shown(text))));
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

/// Reads the policy. A key that is absent has its default. One that cannot be read keeps its last good value, which is
/// in `last`; where none is known, nobody knows what the policy's author wants, and the policy is closed. Each is one
/// problem, as is each key that nobody knows.
#[must_use]
pub fn parse(found: &ConfigMap, last: &Raw) -> Parsed {
    let mut parsed = Parsed { policy: Policy::default(), good: Raw::new(), problems: Vec::new() };
    for key in KEYS {
        let Some(value) = value(found, key.name) else { continue };
        let read = value.and_then(|text| (key.read)(&mut parsed.policy, text).map(|()| text));
        let (text, problem) = match read {
            Ok(text) => (Some(text), None),
            Err(error) => {
                let last = last.get(key.name).filter(|last| (key.read)(&mut parsed.policy, last).is_ok());
                if last.is_none() {
                    close(&mut parsed.policy, key.name);
                }
                let effect = if last.is_some() { Effect::KeepsLast } else { Effect::Closes };
                (last.map(String::as_str), Some(Problem::new(key.name, error.to_string(), effect)))
            }
        };
        parsed.good.extend(text.map(|text| (key.name.to_owned(), text.to_owned())));
        parsed.problems.extend(problem);
    }
    for name in names(found).filter(|name| !KEYS.iter().any(|key| key.name == *name)) {
        let message = match KEYS.iter().find(|key| key.name.eq_ignore_ascii_case(name)) {
            Some(key) => format!("no such key; did you mean {}?", key.name),
            None => "no such key; it has no effect".to_owned(),
        };
        parsed.problems.push(Problem::new(name, message, Effect::None));
        // A later release may know the key, and what was good for it then.
        parsed.good.extend(last.get_key_value(name).map(|(name, text)| (name.clone(), text.clone())));
    }
    parsed
}

/// The value of a key; an error where there is something that is no text, or too much of it.
fn value<'a>(found: &'a ConfigMap, key: &str) -> Option<Result<&'a str, ValueError>> {
    // Where a file that a ConfigMap is made from has one byte that is no UTF-8, clients put all of it here.
    if found.binary_data.as_ref().is_some_and(|data| data.contains_key(key)) {
        return Some(Err(ValueError("found bytes that are no text (in binaryData); expected UTF-8".to_owned())));
    }
    let text = found.data.as_ref()?.get(key)?;
    Some(if text.len() > LONGEST {
        Err(ValueError(format!("found a value of {} bytes; expected at most {LONGEST}", text.len())))
    } else {
        Ok(text)
    })
}

fn names(found: &ConfigMap) -> impl Iterator<Item = &str> {
    let texts = found.data.iter().flat_map(BTreeMap::keys);
    texts.chain(found.binary_data.iter().flat_map(BTreeMap::keys)).map(String::as_str)
}

/// Notes that nothing is known of a key. What restricts sources refuses all of them: whatever is still started under
/// such a policy must not fetch what the unread value may forbid.
fn close(policy: &mut Policy, key: &'static str) {
    match key {
        "allowedSources" => policy.allowed_sources = vec![AllowedSource::nothing()],
        "refusedNetworks" => policy.refused_networks = vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()],
        _ => {}
    }
    policy.unread.push(key);
}
