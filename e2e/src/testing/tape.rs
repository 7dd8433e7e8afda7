//! A record of every change of some objects: what was there for a moment only is in it too.

use std::fmt::Debug;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The objects of one kind as they were when the watch began, and each change since; `true`: it is gone.
pub struct Tape<K> {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Vec<(K, bool)>>>,
}

impl<K> Tape<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    /// Begins to watch; nothing that happens from now on is missed.
    ///
    /// # Errors
    /// When the objects cannot be listed.
    pub async fn start(api: Api<K>, which: ListParams) -> Result<Self> {
        let listed = api.list(&which).await?;
        let version = listed.metadata.resource_version.clone().context("a list has a version")?;
        let (stop, stopped) = oneshot::channel();
        // Longer than any test; a watch that ends earlier is an error, because it would miss something.
        let params = WatchParams {
            label_selector: which.label_selector,
            field_selector: which.field_selector,
            ..WatchParams::default().timeout(290)
        };
        let task = tokio::spawn(async move {
            let mut changes: Vec<(K, bool)> = listed.items.into_iter().map(|object| (object, false)).collect();
            let mut events = api.watch(&params, &version).await?.take_until(stopped).boxed();
            while let Some(event) = events.try_next().await? {
                match event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => changes.push((object, false)),
                    WatchEvent::Deleted(object) => changes.push((object, true)),
                    WatchEvent::Bookmark(_) => {}
                    WatchEvent::Error(status) => anyhow::bail!("the watch of {} broke: {status:?}", K::plural(&())),
                }
            }
            Ok(changes)
        });
        Ok(Self { stop, task })
    }

    /// Ends the watch and tells what it saw, in the order in which it happened.
    ///
    /// # Errors
    /// When the watch broke or ended before.
    pub async fn stop(self) -> Result<Vec<(K, bool)>> {
        let ended = || format!("the watch of {} ended before the test", K::plural(&()));
        self.stop.send(()).ok().with_context(ended)?;
        self.task.await.with_context(|| format!("the watch of {} panicked", K::plural(&())))?
    }
}
