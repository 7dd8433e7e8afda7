//! The workers of one namespace, folded from a watch of its pods: every change counts, however short it was.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt as _};
use populator_crd::names::{CLAIM_NAME_ANNOTATION, COMPONENT_LABEL, WORKER_COMPONENT};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// What was seen of the workers.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The claims in the order in which their workers were created.
    pub(crate) claims: Vec<String>,
    /// The most workers that had not ended at the same time.
    pub(crate) most: usize,
    /// Every change, for a test that fails.
    changes: Vec<String>,
    live: BTreeSet<String>,
}

impl Seen {
    fn note(&mut self, pod: &Pod, gone: bool) {
        let name = pod.name_any();
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        // The kubelet calls the pod finished some time after its one container has ended.
        let ended = containers.into_iter().flatten().any(|c| c.state.as_ref().is_some_and(|s| s.terminated.is_some()));
        let claim = pod.annotations().get(CLAIM_NAME_ANNOTATION).cloned().unwrap_or_default();
        self.changes.push(format!("{claim}: {}, ended: {ended}, gone: {gone}", phase.unwrap_or("no phase")));
        if gone || ended || matches!(phase, Some("Succeeded" | "Failed")) {
            self.live.remove(&name);
        } else if self.live.insert(name) && !self.claims.contains(&claim) {
            self.claims.push(claim);
        }
        self.most = self.most.max(self.live.len());
    }
}

/// A watch that runs until it is asked what it saw.
pub(crate) struct Witness {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Seen>>,
}

impl Witness {
    /// Begins to watch; nothing that happens from now on is missed.
    pub(crate) async fn start(pods: Api<Pod>) -> Result<Self> {
        let selector = format!("{COMPONENT_LABEL}={WORKER_COMPONENT}");
        let listed = pods.list(&ListParams::default().labels(&selector)).await?;
        let version = listed.metadata.resource_version.context("a list has a version")?;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut seen = Seen::default();
            // Longer than any test; a watch that ends earlier is an error, because it would miss something.
            let params = WatchParams::default().labels(&selector).timeout(290);
            let mut events = pods.watch(&params, &version).await?.take_until(stopped).boxed();
            while let Some(event) = events.try_next().await? {
                match event {
                    WatchEvent::Added(pod) | WatchEvent::Modified(pod) => seen.note(&pod, false),
                    WatchEvent::Deleted(pod) => seen.note(&pod, true),
                    WatchEvent::Bookmark(_) => {}
                    WatchEvent::Error(status) => anyhow::bail!("the watch of pods broke: {status:?}"),
                }
            }
            Ok(seen)
        });
        Ok(Self { stop, task })
    }

    /// Ends the watch and tells what it saw.
    pub(crate) async fn finish(self) -> Result<Seen> {
        self.stop.send(()).map_err(|()| anyhow::anyhow!("the watch of pods ended before the test"))?;
        self.task.await.context("the watch of pods panicked")?
    }
}
