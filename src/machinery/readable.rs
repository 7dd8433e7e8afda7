//! One object that cannot be read must not hide the others.

use std::fmt::Debug;

use futures::{Stream, StreamExt};
use kube::{
    Api, Client, Resource,
    core::{DeserializeGuard, ObjectMeta},
    runtime::watcher::{self, Error, Event, watcher},
};
use serde::de::DeserializeOwned;
use serde_json::json;

/// A watch of a kind in all namespaces, without the objects that are not as their type says: those are named in the log,
/// and what was known of one before stays known.
///
/// Without this a watch fails as a whole, again and again, when one object of a list cannot be decoded: one that a later
/// version of the API wrote, say.
///
/// The deletion of such an object is told all the same, with its metadata and nothing else in it, if a `K` can be made
/// of that; of a kind whose `spec` has required fields none can, and its last copy that could be read stays known until
/// the next list.
///
/// # Errors
///
/// Those of [`watcher()`], as they are: the stream goes on after each, and is to be polled with back-off.
pub fn watch_readable<K>(client: Client, config: watcher::Config) -> impl Stream<Item = Result<Event<K>, Error>> + Send
where
    K: Resource<DynamicType: Default> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    watcher(Api::<DeserializeGuard<K>>::all(client), config).filter_map(|event| std::future::ready(readable(event)))
}

/// The event without the guard; `None` when it tells nothing that can be read.
fn readable<K>(event: Result<Event<DeserializeGuard<K>>, Error>) -> Option<Result<Event<K>, Error>>
where
    K: Resource<DynamicType: Default> + DeserializeOwned,
{
    Some(Ok(match event {
        Err(error) => return Some(Err(error)),
        Ok(Event::Init) => Event::Init,
        Ok(Event::InitDone) => Event::InitDone,
        Ok(Event::InitApply(object)) => Event::InitApply(read(object).ok()?),
        Ok(Event::Apply(object)) => Event::Apply(read(object).ok()?),
        Ok(Event::Delete(object)) => Event::Delete(read(object).or_else(|metadata| bare(&metadata)).ok()?),
    }))
}

/// The object, or what is known of one that cannot be read.
fn read<K: Resource<DynamicType: Default>>(guarded: DeserializeGuard<K>) -> Result<K, Box<ObjectMeta>> {
    guarded.0.map_err(|invalid| {
        tracing::warn!(
            kind = %K::kind(&K::DynamicType::default()),
            namespace = invalid.metadata.namespace,
            name = invalid.metadata.name,
            error = %invalid.error,
            "an object cannot be read and is left out; was it written by another version of the API?"
        );
        Box::new(invalid.metadata)
    })
}

/// An object of which nothing is known but its metadata.
fn bare<K>(metadata: &ObjectMeta) -> Result<K, serde_json::Error>
where
    K: Resource<DynamicType: Default> + DeserializeOwned,
{
    let kind = K::DynamicType::default();
    let (api_version, kind) = (K::api_version(&kind), K::kind(&kind));
    serde_json::from_value(json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": {}}))
}

#[cfg(test)]
#[path = "readable_tests.rs"]
mod tests;
