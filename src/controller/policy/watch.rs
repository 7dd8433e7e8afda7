//! The policy in force, kept up with the `ConfigMap`.

use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Resource,
    runtime::{WatchStreamExt, watcher},
};
use tokio::{sync::watch, time::sleep};

use super::{
    CONFIG_MAP, Parsed, Policy, Problem, Raw,
    in_force::{InForce, RETRY},
    notice, parse,
};
use crate::runtime::{events::Events, metrics::Metrics};

/// Reads the policy in force.
pub type PolicyReceiver = watch::Receiver<Arc<Policy>>;

type Objects = futures::stream::BoxStream<'static, Result<Option<ConfigMap>, watcher::Error>>;

/// A watch is taken up again for ever; one that ends has a bug.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the watch of the policy ended")]
pub struct WatchEnded;

/// Keeps the policy up with its `ConfigMap`.
pub struct Follower {
    objects: Objects,
    sender: watch::Sender<Arc<Policy>>,
    events: Events,
    metrics: Metrics,
    record: InForce,
    /// The last good values.
    good: Raw,
    /// What was last complained about.
    problems: Vec<Problem>,
}

/// Reads the policy, or sees that there is none. From then on the follower has to run.
///
/// # Errors
///
/// [`WatchEnded`]; what the API server has to say against it is logged, and tried again.
pub async fn follow(
    client: Client,
    namespace: &str,
    events: Events,
    metrics: Metrics,
) -> Result<(PolicyReceiver, Follower), WatchEnded> {
    metrics.policy(&Policy::default(), 0);
    let record = InForce::read(client.clone(), namespace).await;
    let api: Api<ConfigMap> = Api::namespaced(client, namespace);
    let objects = watcher::watch_object(api, CONFIG_MAP).default_backoff().boxed();
    // Nobody has the receiver before the policy is in it.
    let (sender, receiver) = watch::channel(Arc::new(Policy::default()));
    let good = record.stored().clone();
    let mut follower = Follower { objects, sender, events, metrics, record, good, problems: Vec::new() };
    let first = follower.next().await?;
    follower.take(first).await;
    Ok((receiver, follower))
}

impl Follower {
    /// Follows the `ConfigMap` for as long as the process lives.
    ///
    /// # Errors
    ///
    /// [`WatchEnded`], and no other end.
    pub async fn run(mut self) -> Result<(), WatchEnded> {
        loop {
            let unsaved = *self.record.stored() != self.good;
            tokio::select! {
                object = self.next() => self.take(object?).await,
                () = sleep(RETRY), if unsaved => self.save().await,
            }
        }
    }

    /// The next version of the object; `None`: it is gone.
    async fn next(&mut self) -> Result<Option<ConfigMap>, WatchEnded> {
        loop {
            match self.objects.next().await {
                Some(Ok(object)) => return Ok(object),
                Some(Err(error)) => tracing::warn!(%error, "failed to watch the policy; the last one stays in force"),
                None => return Err(WatchEnded),
            }
        }
    }

    async fn take(&mut self, object: Option<ConfigMap>) {
        // What is gone is no policy that cannot be read, and nothing is remembered of it.
        let Parsed { policy, good, problems } = match &object {
            Some(object) => parse(object, &self.good),
            None => parse(&ConfigMap::default(), &Raw::new()),
        };
        self.good = good;
        self.metrics.policy(&policy, problems.len());
        if **self.sender.borrow() != policy {
            tracing::info!(?policy, "the policy in force has changed");
            self.sender.send_replace(Arc::new(policy));
        }
        // After it is in force: a policy that forbids something must not wait for a write.
        self.save().await;
        if problems != self.problems {
            if let (Some(object), Some((reason, note))) = (&object, notice(&problems)) {
                tracing::warn!(reason, problems = note, "the policy has values that cannot be used");
                self.events.warn(&object.object_ref(&()), reason, note).await;
            }
            self.problems = problems;
        }
    }

    async fn save(&mut self) {
        if let Err(error) = self.record.keep(&self.good).await {
            tracing::warn!(%error, "failed to store the last good policy; a restart would not know it; trying again");
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
