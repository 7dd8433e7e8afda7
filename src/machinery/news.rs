//! What an event of a watch means for the claims that wait, and when. Pure.
//!
//! A list counts when it is complete: until then the store has what was before, and who is woken earlier finds that.

use std::collections::{HashMap, HashSet};

use kube::{Resource, ResourceExt, runtime::watcher::Event};

/// Whom an event concerns.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News<'a, K> {
    Nobody,
    /// Those who wait for this object.
    Of(&'a K),
    /// All who wait: a list differs from what was known, and nothing tells any more whom that concerns.
    ForAll,
}

/// An object's UID and generation. Status changes tell a populator nothing that it did not write itself; what has no
/// generation may have changed at any time.
type Version = (Option<String>, Option<i64>);
type Key = (Option<String>, String);

/// What was known so far.
#[derive(Debug, Default)]
pub(crate) struct Known {
    versions: HashMap<Key, Version>,
    listed: HashSet<Key>,
    /// Whether lists have told anything new since the last that was complete.
    news: bool,
}

impl Known {
    /// Takes an event in that the store has had already.
    pub(crate) fn learn<'a, K: Resource>(&mut self, event: &'a Event<K>) -> News<'a, K> {
        match event {
            Event::Apply(object) if self.is_new(object) => News::Of(object),
            Event::Apply(_) => News::Nobody,
            Event::Delete(object) => {
                self.versions.remove(&key(object));
                News::Of(object)
            }
            Event::Init => {
                self.listed.clear();
                News::Nobody
            }
            Event::InitApply(object) => {
                self.listed.insert(key(object));
                self.news |= self.is_new(object);
                News::Nobody
            }
            Event::InitDone => {
                let before = self.versions.len();
                self.versions.retain(|key, _| self.listed.contains(key));
                self.listed.clear();
                let gone = self.versions.len() < before;
                if std::mem::take(&mut self.news) || gone { News::ForAll } else { News::Nobody }
            }
        }
    }

    fn is_new(&mut self, object: &impl Resource) -> bool {
        let version = (object.uid(), object.meta().generation);
        let known = self.versions.insert(key(object), version.clone());
        version.1.is_none() || known != Some(version)
    }
}

fn key(object: &impl Resource) -> Key {
    (object.namespace(), object.name_any())
}

#[cfg(test)]
#[path = "news_tests.rs"]
mod tests;
