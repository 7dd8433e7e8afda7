//! The grants as the watch tells them: good enough for a claim that waits. Before anything is made or handed over, they
//! are read live.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

use kube::runtime::watcher::Event;

use crate::{
    grant::{self, GrantSpec, Reference, ReferenceGrant},
    observed::{name, namespace},
};

/// The specs of all grants, by namespace and name.
#[derive(Default)]
pub(crate) struct Grants(RwLock<State>);

#[derive(Default)]
struct State {
    specs: BTreeMap<(String, String), GrantSpec>,
    /// What a list that is under way has told so far.
    listed: BTreeMap<(String, String), GrantSpec>,
    ready: bool,
}

impl Grants {
    pub(crate) fn apply(&self, event: Event<ReferenceGrant>) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let key = |grant: &ReferenceGrant| (namespace(&grant.metadata).to_owned(), name(&grant.metadata).to_owned());
        match event {
            Event::Init => state.listed.clear(),
            Event::InitApply(grant) => {
                state.listed.insert(key(&grant), grant.spec);
            }
            Event::InitDone => {
                state.specs = std::mem::take(&mut state.listed);
                state.ready = true;
            }
            Event::Apply(grant) => {
                state.specs.insert(key(&grant), grant.spec);
            }
            Event::Delete(grant) => {
                state.specs.remove(&key(&grant));
            }
        }
    }

    /// Whether a grant of this namespace allows the reference; `None` as long as no list was complete, as where the CRD is
    /// not installed.
    pub(crate) fn allow(&self, granting: &str, reference: Reference<'_>) -> Option<bool> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let first = (granting.to_owned(), String::new());
        let there = state.specs.range(first..).take_while(|((namespace, _), _)| namespace == granting);
        state.ready.then(|| grant::allows(there.map(|(_, spec)| spec), reference))
    }
}

#[cfg(test)]
#[path = "grants_tests.rs"]
mod tests;
