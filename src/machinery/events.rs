//! Tells the user, on the claim, and once per change of reason.

use std::{borrow::Cow, collections::HashMap, sync::Mutex};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::{Event as CoreEvent, PersistentVolumeClaim},
        events::v1::Event,
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client, Resource,
    api::{ListParams, PostParams},
    core::Status,
};

use crate::{
    config::Config,
    observed::{name, namespace, uid},
    populator::Notice,
};

/// The longest note that the API server accepts.
const NOTE_LIMIT: usize = 1024;
/// What of a claim's name goes into the event's: both may be 253 characters long, and a suffix follows.
const NAME_LIMIT: usize = 200;

/// How many events are read at once.
const EVENTS_A_PAGE: u32 = 500;

/// Remembers what each claim was told last.
pub(crate) struct Announcer {
    client: Client,
    controller: String,
    instance: String,
    last: Mutex<HashMap<String, Cow<'static, str>>>,
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

    /// Reads what an earlier process told the claims that still wait, so that they are not all told again. One list for
    /// all of them; that it fails costs no more than a repetition.
    pub(crate) async fn remember(&self, waits: impl Fn(&str) -> bool) {
        let api: Api<CoreEvent> = Api::all(self.client.clone());
        let ours = format!("reportingComponent={},involvedObject.kind=PersistentVolumeClaim", self.controller);
        let mut page = ListParams::default().fields(&ours).limit(EVENTS_A_PAGE);
        let mut newest = HashMap::<String, (Option<Timestamp>, String)>::new();
        loop {
            let events = match api.list(&page).await {
                Ok(events) => events,
                Err(error) => {
                    tracing::warn!(%error, "failed to read what claims were told before; they are told again");
                    return;
                }
            };
            for event in events.items {
                let (Some(claim), Some(reason)) = (event.involved_object.uid, event.reason) else { continue };
                let when = event.event_time.map(|time| time.0);
                if waits(&claim) && newest.get(&claim).is_none_or(|(known, _)| *known <= when) {
                    newest.insert(claim, (when, reason));
                }
            }
            match events.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => break,
            }
        }
        self.last().extend(newest.into_iter().map(|(claim, (_, reason))| (claim, Cow::Owned(reason))));
    }

    /// Says how it ended to a claim that had been told of its way. One that went straight through has been told by being
    /// Bound, and an event would be one write more of each claim.
    pub(crate) async fn conclude(&self, claim: &PersistentVolumeClaim, notice: &Notice) {
        if self.last().contains_key(uid(&claim.metadata)) {
            self.tell(claim, notice).await;
        }
    }

    /// Says it, unless it was the last thing said. A claim is filled whether or not its user hears of it, so a failure
    /// is only logged; the next pass says it again.
    pub(crate) async fn tell(&self, claim: &PersistentVolumeClaim, notice: &Notice) {
        let claim_uid = uid(&claim.metadata);
        if self.last().get(claim_uid).map(AsRef::as_ref) == Some(notice.reason) {
            return;
        }
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace(&claim.metadata));
        let event = event(claim, notice, &self.controller, &self.instance, Timestamp::now());
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => {
                self.last().insert(claim_uid.into(), Cow::Borrowed(notice.reason));
            }
            Err(kube::Error::Api(status)) if is_terminating(&status) => {
                // Nobody is left to read it.
                self.last().insert(claim_uid.into(), Cow::Borrowed(notice.reason));
            }
            Err(error) => tracing::warn!(%error, reason = notice.reason, "failed to create an event"),
        }
    }

    /// Makes whatever was said last worth saying again, and remembers that something was.
    pub(crate) fn recovered(&self, claim_uid: &str) {
        if let Some(last) = self.last().get_mut(claim_uid) {
            *last = Cow::Borrowed("");
        }
    }

    /// Forgets the claim.
    pub(crate) fn forget(&self, claim_uid: &str) {
        self.last().remove(claim_uid);
    }

    fn last(&self) -> std::sync::MutexGuard<'_, HashMap<String, Cow<'static, str>>> {
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
