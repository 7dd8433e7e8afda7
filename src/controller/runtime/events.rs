//! Events on objects of ours, where nobody else tells: the claim's own are the machinery's.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use populator_crd::names;

use super::deadline::within;

/// Writes events.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl Events {
    /// Events reported by this replica.
    #[must_use]
    pub fn new(client: Client, instance: &str) -> Self {
        let reporter = Reporter { controller: names::MANAGER.into(), instance: Some(instance.to_owned()) };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Says that something is wrong with an object. Nothing depends on it being heard: a failure is only logged.
    pub async fn warn(&self, regarding: &ObjectReference, reason: &str, note: String) {
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(note),
            action: "Read".into(),
            secondary: None,
        };
        if let Err(error) = within(self.recorder.publish(&event, regarding)).await {
            tracing::warn!(%error, reason, "failed to write an event");
        }
    }
}
