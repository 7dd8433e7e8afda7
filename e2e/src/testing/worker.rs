//! The worker of a claim while it runs.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use kube::api::EvictParams;
use populator_crd::names;
use serde::Deserialize;

use super::{Scene, until};
use crate::instance::Instance;
use crate::machine::{kill_container, termination_message};

/// What a worker has said so far: the part of its report that a killed one leaves behind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Word {
    /// Bytes that it received.
    pub bytes_fetched: u64,
    /// Whether another can go on where it is.
    pub resumable: bool,
}

/// A worker that runs.
pub struct Worker {
    pod: Pod,
}

impl Worker {
    /// The worker of the claim of this name, as soon as it runs.
    ///
    /// # Errors
    /// When it does not within the deadline.
    pub async fn of(scene: &Scene, claim: &str, deadline: Duration) -> Result<Self> {
        let uid = scene.api::<PersistentVolumeClaim>().get(claim).await?.uid().context("a stored claim has a UID")?;
        let pods = scene.api::<Pod>();
        let pod = until::holds(&pods, &names::worker(&uid), "runs", deadline, |pod| container(pod).is_some()).await?;
        Ok(Self { pod })
    }

    /// Waits until it has said what satisfies `condition`.
    ///
    /// # Errors
    /// When it has not within the deadline.
    pub async fn says(&self, deadline: Duration, condition: impl Fn(&Word) -> bool) -> Result<Word> {
        let instance = Instance::current()?;
        let uid = self.pod.uid().unwrap_or_default();
        let node = self.pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        let mut last = None;
        let said = until::probed(&format!("{} has said enough", self.pod.name_any()), deadline, async || {
            let text = termination_message(&instance, node, &uid, "worker")?;
            let word: Word = serde_json::from_str(&text).with_context(|| format!("{text:?} is no report"))?;
            last = Some(word.clone());
            Ok(Some(word).filter(|word| condition(word)))
        })
        .await;
        said.with_context(|| format!("its last word was {last:?}"))
    }

    /// Kills it as the kernel would.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self) -> Result<()> {
        kill_container(&Instance::current()?, &container(&self.pod).context("the worker's container runs")?)
    }

    /// Evicts it, as a drain does.
    ///
    /// # Errors
    /// When the API server refuses that.
    pub async fn evict(&self, scene: &Scene) -> Result<()> {
        scene.api::<Pod>().evict(&self.pod.name_any(), &EvictParams::default()).await?;
        Ok(())
    }
}

/// The ID of the one container, if it runs.
fn container(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    status.state.as_ref()?.running.as_ref()?;
    status.container_id.clone()
}
