//! Conditions: written once, and carried over as long as they say the same.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The new conditions, each with its old time of transition where its status is still the same (API conventions,
/// "Typical status properties").
#[must_use]
pub fn carried_over(old: &[Condition], mut new: Vec<Condition>) -> Vec<Condition> {
    for condition in &mut new {
        let before = old.iter().find(|old| old.type_ == condition.type_ && old.status == condition.status);
        if let Some(before) = before {
            condition.last_transition_time = before.last_transition_time.clone();
        }
    }
    new
}

/// The condition of this type.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}
