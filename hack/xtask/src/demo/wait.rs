//! Waiting for the cluster to be as the story tells it: by watch, with a deadline.

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::Event;
use kube::runtime::wait::await_condition;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

/// Waits until the object is there and gives what `find` finds in it.
pub(super) async fn found<K, T>(
    api: &Api<K>,
    name: &str,
    what: &str,
    deadline: Duration,
    find: impl Fn(&K) -> Option<T> + Send,
) -> Result<T>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let kind = K::kind(&());
    let condition = |object: Option<&K>| object.is_some_and(|object| find(object).is_some());
    let object = tokio::time::timeout(deadline, await_condition(api.clone(), name, condition))
        .await
        .map_err(|_| anyhow!("{kind} {name}: {what}: not so within {} s", deadline.as_secs()))?
        .with_context(|| format!("cannot watch {kind} {name}"))?;
    object.as_ref().and_then(find).with_context(|| format!("{kind} {name} has gone"))
}

/// Waits for an event with this reason about this claim, and gives its message.
pub(super) async fn told(events: &Api<Event>, claim: &str, reason: &str, deadline: Duration) -> Result<String> {
    let told = observed(events, |event| {
        let fits = event.involved_object.name.as_deref() == Some(claim) && event.reason.as_deref() == Some(reason);
        Ok(fits.then(|| event.message.clone().unwrap_or_default()))
    });
    tokio::time::timeout(deadline, told)
        .await
        .map_err(|_| anyhow!("the claim {claim} got no event {reason} within {} s", deadline.as_secs()))?
}

/// Goes through every object, and every change of one, until `judge` has an answer.
pub(super) async fn observed<K, T>(api: &Api<K>, mut judge: impl FnMut(&K) -> Result<Option<T>>) -> Result<T>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut objects = pin!(watcher(api.clone(), watcher::Config::default()).default_backoff().applied_objects());
    while let Some(object) = objects.try_next().await.context("the watch broke off")? {
        if let Some(answer) = judge(&object)? {
            return Ok(answer);
        }
    }
    bail!("the watch ended")
}
