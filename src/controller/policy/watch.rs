//! The policy in force, kept up with the `ConfigMap`.

use std::{collections::BTreeMap, sync::Arc};

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Resource,
    runtime::{WatchStreamExt, watcher},
};
use tokio::sync::watch;

use super::{CONFIG_MAP, Policy, Problem, parse};
use crate::runtime::{events::Events, metrics::Metrics};

/// Reads the policy in force.
pub type PolicyReceiver = watch::Receiver<Arc<Policy>>;

/// Follows the policy's `ConfigMap` as long as anybody reads the policy. Returns once the policy has been read, or its
/// absence seen, for the first time; what follows happens in a task.
pub async fn run(client: Client, namespace: &str, events: Events, metrics: Metrics) -> PolicyReceiver {
    let (sender, receiver) = watch::channel(Arc::new(Policy::default()));
    let mut follower = Follower { sender, events, metrics, problems: Vec::new() };
    follower.metrics.policy(&Policy::default(), 0);
    let api: Api<ConfigMap> = Api::namespaced(client, namespace);
    let mut objects = watcher::watch_object(api, CONFIG_MAP).default_backoff().boxed();
    if let Some(first) = first(&mut objects).await {
        follower.take(first).await;
    }
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = follower.sender.closed() => return,
                object = objects.next() => match object {
                    Some(Ok(object)) => follower.take(object).await,
                    Some(Err(error)) => tracing::warn!(%error, "failed to watch the policy; the last one stays in force"),
                    None => return,
                },
            }
        }
    });
    receiver
}

type Objects = futures::stream::BoxStream<'static, Result<Option<ConfigMap>, watcher::Error>>;

async fn first(objects: &mut Objects) -> Option<Option<ConfigMap>> {
    loop {
        match objects.next().await? {
            Ok(object) => return Some(object),
            Err(error) => tracing::warn!(%error, "failed to read the policy; trying again"),
        }
    }
}

struct Follower {
    sender: watch::Sender<Arc<Policy>>,
    events: Events,
    metrics: Metrics,
    /// What was last complained about.
    problems: Vec<Problem>,
}

impl Follower {
    async fn take(&mut self, object: Option<ConfigMap>) {
        let empty = BTreeMap::new();
        let data = object.as_ref().and_then(|object| object.data.as_ref()).unwrap_or(&empty);
        let last = Arc::clone(&self.sender.borrow());
        let (policy, problems) = parse(data, &last);
        self.metrics.policy(&policy, problems.len());
        if *last != policy {
            tracing::info!(?policy, "the policy in force has changed");
            self.sender.send_replace(Arc::new(policy));
        }
        if problems != self.problems {
            if let (Some(object), false) = (&object, problems.is_empty()) {
                let note = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
                tracing::warn!(problems = note, "the policy has values that cannot be used; their last good ones stay");
                let note = format!("The last good value stays in force. {}", cut(&note));
                self.events.warn(&object.object_ref(&()), "InvalidPolicy", note).await;
            }
            self.problems = problems;
        }
    }
}

/// An event's note has 1024 bytes.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(960)]
}
