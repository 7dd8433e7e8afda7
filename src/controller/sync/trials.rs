//! Which sync tries an image that no claim was ever filled from. One at a time: passes run beside each other, and a record
//! that says Syncing is written a moment after the turn was given.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use kube::ResourceExt;
use populator_crd::v1alpha1::{SyncPhase, VMDiskSync};

use crate::world::phase;

/// How long a turn holds that nobody is seen to take; as long as the gate's offer.
const HOLDS: Duration = Duration::from_secs(10);

/// By the image's UID: the sync whose turn it is, and since when.
#[derive(Default)]
pub struct Trials(Mutex<HashMap<String, (String, Instant)>>);

impl Trials {
    /// Gives the turn to this sync, unless another of the same image has it: then that one's name.
    ///
    /// Who was admitted is the verdict's to judge ([`super::verdict`]); this is about those who are about to be.
    pub fn enter(&self, image_uid: &str, sync_uid: &str, syncs: &[Arc<VMDiskSync>]) -> Option<String> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((holder, since)) = turns.get(image_uid)
            && holder != sync_uid
            && let Some(other) = syncs.iter().find(|sync| sync.metadata.uid.as_deref() == Some(holder))
        {
            let waits = matches!(phase(other), None | Some(SyncPhase::Queued | SyncPhase::BackingOff));
            if waits && since.elapsed() < HOLDS {
                return Some(other.name_any());
            }
        }
        turns.retain(|image, (_, since)| image == image_uid || since.elapsed() < Duration::from_hours(1));
        let turn = turns.entry(image_uid.to_owned()).or_insert_with(|| (sync_uid.to_owned(), Instant::now()));
        if turn.0 != sync_uid {
            *turn = (sync_uid.to_owned(), Instant::now());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sync(uid: &str, phase: &str) -> Arc<VMDiskSync> {
        Arc::new(
            serde_json::from_value(json!({
                "apiVersion": "pelotech.ot/v1alpha1", "kind": "VMDiskSync",
                "metadata": {"name": format!("sync-{uid}"), "uid": uid},
                "spec": {
                    "claim": {"namespace": "labs", "name": uid, "uid": uid},
                    "image": {"name": "image", "uid": "image", "generation": 7},
                },
                "status": {"phase": phase},
            }))
            .unwrap(),
        )
    }

    #[test]
    fn one_at_a_time_until_it_is_over() {
        let trials = Trials::default();
        let queued = [sync("a", "Queued"), sync("b", "Queued")];
        assert_eq!(trials.enter("image", "a", &queued), None);
        assert_eq!(trials.enter("image", "b", &queued), Some("sync-a".into()), "a's admission is about to be written");
        assert_eq!(trials.enter("image", "a", &queued), None, "asked again");
        assert_eq!(trials.enter("other", "b", &queued), None);
        for over in ["Syncing", "Failed", "Cancelled", "Succeeded"] {
            let trials = Trials::default();
            trials.enter("image", "a", &queued);
            assert_eq!(trials.enter("image", "b", &[sync("a", over), sync("b", "Queued")]), None, "{over}");
        }
        assert_eq!(trials.enter("image", "b", &[sync("b", "Queued")]), None, "a is gone");
        assert_eq!(trials.enter("image", "c", &[sync("b", "Queued"), sync("c", "Queued")]), Some("sync-b".into()));
    }
}
