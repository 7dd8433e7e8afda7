//! One object that cannot be read must not hide the others.

use kube::{
    Resource,
    core::DeserializeGuard,
    runtime::watcher::{Error, Event},
};

/// The event without the guard; `None` for an object that is not as its type says, which is named in the log. What was
/// known of it before stays known.
///
/// Without a guard a watch fails as a whole, again and again, when one object of a list cannot be decoded: one that a
/// later version of the API wrote, say.
///
/// # Errors
///
/// Those of the watch, as they are.
pub fn readable<K: Resource<DynamicType: Default>>(
    event: Result<Event<DeserializeGuard<K>>, Error>,
) -> Option<Result<Event<K>, Error>> {
    Some(Ok(match event {
        Err(error) => return Some(Err(error)),
        Ok(Event::Init) => Event::Init,
        Ok(Event::InitDone) => Event::InitDone,
        Ok(Event::InitApply(object)) => Event::InitApply(read(object)?),
        Ok(Event::Apply(object)) => Event::Apply(read(object)?),
        Ok(Event::Delete(object)) => Event::Delete(read(object)?),
    }))
}

fn read<K: Resource<DynamicType: Default>>(guarded: DeserializeGuard<K>) -> Option<K> {
    let invalid = match guarded.0 {
        Ok(object) => return Some(object),
        Err(invalid) => invalid,
    };
    tracing::warn!(
        kind = %K::kind(&K::DynamicType::default()),
        namespace = invalid.metadata.namespace,
        name = invalid.metadata.name,
        error = %invalid.error,
        "an object cannot be read and is left out; was it written by another version of the API?"
    );
    None
}

#[cfg(test)]
#[path = "readable_tests.rs"]
mod tests;
