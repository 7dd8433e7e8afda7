//! Waiting for one object to be as expected: by watch, with a deadline, and an error that shows what it was instead.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use futures::TryStreamExt as _;
use kube::runtime::wait::await_condition;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Waits until the object satisfies `condition`, and gives it as it was then.
///
/// # Errors
/// When the deadline passes; the error names `what` was awaited and shows the object as it is.
pub async fn holds<K>(
    api: &Api<K>,
    name: &str,
    what: &str,
    deadline: Duration,
    condition: impl Fn(&K) -> bool + Send,
) -> Result<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize + Send + Sync + 'static,
{
    let wait = await_condition(api.clone(), name, |object: Option<&K>| object.is_some_and(&condition));
    if let Ok(found) = tokio::time::timeout(deadline, wait).await {
        return found
            .with_context(|| format!("watching {} {name}", K::kind(&())))?
            .with_context(|| format!("{} {name} went while it was awaited: {what}", K::kind(&())));
    }
    let now = match api.get_opt(name).await? {
        Some(object) => serde_json::to_string(&object)?,
        None => "it does not exist".to_owned(),
    };
    Err(anyhow!("{} {name}: {what}: not so within {deadline:?}; it is {now}", K::kind(&())))
}

/// Waits until each of these objects has satisfied `condition`, by one watch for all of them.
///
/// # Errors
/// When the deadline passes; the error names some of those that have not.
pub async fn all_hold<K>(
    api: &Api<K>,
    names: impl IntoIterator<Item = String>,
    what: &str,
    deadline: Duration,
    condition: impl Fn(&K) -> bool,
) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut missing: BTreeSet<String> = names.into_iter().collect();
    let watch = async {
        let mut seen = pin!(watcher(api.clone(), watcher::Config::default()).default_backoff().applied_objects());
        while !missing.is_empty() {
            let object = seen.try_next().await.with_context(|| format!("watching {}", K::plural(&())))?;
            let Some(object) = object else { bail!("the watch of {} ended", K::plural(&())) };
            if condition(&object) {
                missing.remove(&object.name_any());
            }
        }
        Ok(())
    };
    if let Ok(outcome) = tokio::time::timeout(deadline, watch).await {
        return outcome;
    }
    let some: Vec<_> = missing.iter().take(5).collect();
    bail!("{}: {what}: not so within {deadline:?} for {}, {some:?} among them", K::plural(&()), missing.len())
}

/// Waits until the object exists.
///
/// # Errors
/// When the deadline passes.
pub async fn exists<K>(api: &Api<K>, name: &str, deadline: Duration) -> Result<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize + Send + Sync + 'static,
{
    holds(api, name, "exists", deadline, |_| true).await
}

/// Waits until the object does not exist, whatever its name is used for later.
///
/// # Errors
/// When the deadline passes; the error shows the object, so that a finalizer that holds it is seen.
pub async fn gone<K>(api: &Api<K>, name: &str, deadline: Duration) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let wait = await_condition(api.clone(), name, |object: Option<&K>| object.is_none());
    if let Ok(result) = tokio::time::timeout(deadline, wait).await {
        return result.map(drop).with_context(|| format!("watching {} {name}", K::kind(&())));
    }
    let left = api.get_opt(name).await?;
    Err(anyhow!("{} {name} is still there after {deadline:?}: {left:?}", K::kind(&())))
}

/// Asks again until `probe` gives a value: for what cannot be watched (a server's account, a file, a list).
///
/// # Errors
/// When the deadline passes; the error names `what` and the last failure.
pub async fn probed<T>(what: &str, deadline: Duration, mut probe: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    /// Short against every deadline in use, long against the cost of a probe.
    const INTERVAL: Duration = Duration::from_millis(100);
    let end = tokio::time::Instant::now() + deadline;
    loop {
        let last = match probe().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => anyhow!("{what}: not so within {deadline:?}"),
            Err(error) => error.context(format!("{what}: not so within {deadline:?}")),
        };
        if tokio::time::Instant::now() >= end {
            return Err(last);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
