//! Tells the user, on the claim, and once per change of reason.

use std::{collections::HashMap, sync::Mutex};

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::PersistentVolumeClaim, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, Resource, api::PostParams, core::Status};

use crate::{
    config::Config,
    observed::{name, namespace, uid},
    populator::Notice,
};

/// The longest note that the API server accepts.
const NOTE_LIMIT: usize = 1024;
/// What of a claim's name goes into the event's: both may be 253 characters long, and a suffix follows.
const NAME_LIMIT: usize = 200;

/// Remembers what each claim was told last.
pub(crate) struct Announcer {
    client: Client,
    controller: String,
    instance: String,
    last: Mutex<HashMap<String, &'static str>>,
}

impl Announcer {
    pub(crate) fn new(client: Client, config: &Config) -> Self {
        Self {
            client,
            controller: config.field_manager.clone(),
            instance: config.instance.clone(),
            last: Mutex::default(),
        }
    }

    /// Says it, unless it was the last thing said. A claim is filled whether or not its user hears of it, so a failure
    /// is only logged; the next pass says it again.
    pub(crate) async fn tell(&self, claim: &PersistentVolumeClaim, notice: &Notice) {
        let claim_uid = uid(&claim.metadata);
        if self.last().get(claim_uid) == Some(&notice.reason) {
            return;
        }
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace(&claim.metadata));
        let event = event(claim, notice, &self.controller, &self.instance, Timestamp::now());
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => {
                self.last().insert(claim_uid.into(), notice.reason);
            }
            Err(kube::Error::Api(status)) if is_terminating(&status) => {
                // Nobody is left to read it.
                self.last().insert(claim_uid.into(), notice.reason);
            }
            Err(error) => tracing::warn!(%error, reason = notice.reason, "failed to create an event"),
        }
    }

    /// Makes whatever was said last worth saying again.
    pub(crate) fn forget(&self, claim_uid: &str) {
        self.last().remove(claim_uid);
    }

    fn last(&self) -> std::sync::MutexGuard<'_, HashMap<String, &'static str>> {
        self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Whether a refusal is one of a namespace that goes.
fn is_terminating(status: &Status) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    causes.any(|cause| cause.reason == "NamespaceTerminating")
}

fn event(claim: &PersistentVolumeClaim, notice: &Notice, controller: &str, instance: &str, now: Timestamp) -> Event {
    let stem = truncated(name(&claim.metadata), NAME_LIMIT).trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    Event {
        metadata: ObjectMeta {
            namespace: claim.metadata.namespace.clone(),
            name: Some(format!("{stem}.{:x}", now.as_nanosecond())),
            ..ObjectMeta::default()
        },
        action: Some("Populate".into()),
        event_time: Some(MicroTime(now)),
        note: Some(truncated(&notice.message, NOTE_LIMIT).into()),
        reason: Some(notice.reason.into()),
        regarding: Some(claim.object_ref(&())),
        reporting_controller: Some(controller.into()),
        reporting_instance: Some(truncated(instance, 128).into()),
        type_: Some(if notice.warning { "Warning" } else { "Normal" }.into()),
        ..Event::default()
    }
}

fn truncated(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
