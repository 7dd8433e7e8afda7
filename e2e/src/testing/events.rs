//! What a claim was told.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim};
use kube::ResourceExt as _;
use kube::api::ListParams;

use super::{Scene, until};

/// The events of this reason on a claim, in its own namespace.
///
/// # Errors
/// When the API server cannot be read.
pub async fn of(scene: &Scene, claim: &PersistentVolumeClaim, reason: &str) -> Result<Vec<Event>> {
    let uid = claim.uid().context("a stored claim has a UID")?;
    let namespace = claim.namespace().context("a stored claim has a namespace")?;
    let which = ListParams::default().fields(&format!("involvedObject.uid={uid},reason={reason}"));
    Ok(scene.api_in::<Event>(&namespace).list(&which).await?.items)
}

/// Waits until a claim is warned for this reason, in a message that holds all of these words, and gives the message.
///
/// # Errors
/// When it is not within the deadline, or in other words; the error shows them.
pub async fn warned(
    scene: &Scene,
    claim: &PersistentVolumeClaim,
    reason: &str,
    words: &[&str],
    deadline: Duration,
) -> Result<String> {
    let what = format!("claim {} is warned of {reason}", claim.name_any());
    let event = until::probed(&what, deadline, async || Ok(of(scene, claim, reason).await?.pop())).await?;
    let message = event.message.unwrap_or_default();
    ensure!(event.type_.as_deref() == Some("Warning"), "{reason} is {:?}: {message}", event.type_);
    for word in words {
        ensure!(message.contains(word), "{what}, but the message lacks {word:?}: {message}");
    }
    Ok(message)
}

/// Waits until a claim was told something for this reason that holds all of these words, whatever else it is told.
///
/// # Errors
/// When it is not within the deadline; the error shows what it was told instead.
pub async fn told(
    scene: &Scene,
    claim: &PersistentVolumeClaim,
    reason: &str,
    words: &[&str],
    deadline: Duration,
) -> Result<String> {
    until::probed(&format!("claim {} is told of {reason} with {words:?}", claim.name_any()), deadline, async || {
        let events = of(scene, claim, reason).await?;
        let messages: Vec<String> = events.into_iter().filter_map(|event| event.message).collect();
        let found = messages.iter().find(|message| words.iter().all(|word| message.contains(word)));
        Ok(Some(found.with_context(|| format!("it was told {messages:?}"))?.clone()))
    })
    .await
}
