//! The API server's audit log as a witness: who wrote what, and who was refused.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::bed;

/// One request that was answered.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// `ResponseComplete` for those that count here.
    pub stage: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// The path and query.
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    /// Who asked.
    pub user: User,
    /// What was asked for.
    #[serde(default)]
    pub object_ref: ObjectRef,
    /// How it was answered.
    #[serde(default)]
    pub response_status: ResponseStatus,
    /// What the API server noted, `authorization.k8s.io/decision` among it.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// When it arrived, RFC 3339 with microseconds: sorts as text.
    pub request_received_timestamp: String,
    /// When this stage was reached.
    pub stage_timestamp: String,
}

/// Who asked.
#[derive(Clone, Debug, Deserialize)]
pub struct User {
    /// `system:serviceaccount:NAMESPACE:NAME` for pods.
    pub username: String,
}

/// What was asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRef {
    /// Plural, lower case.
    pub resource: String,
    /// `status`, `log`, …
    pub subresource: String,
    /// Empty for cluster-scoped ones.
    pub namespace: String,
    /// Empty for lists.
    pub name: String,
    /// Empty for the core group.
    pub api_group: String,
}

/// How it was answered.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ResponseStatus {
    /// The HTTP status.
    pub code: u16,
}

impl Event {
    /// Whether the request changed something, or tried to.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }

    /// Whether no rule allowed the request. A quota, or a namespace that is going, answers 403 too.
    #[must_use]
    pub fn is_unauthorized(&self) -> bool {
        self.annotations.get("authorization.k8s.io/decision").is_some_and(|decision| decision == "forbid")
    }
}

/// The account that the controller runs under.
pub const CONTROLLER: &str = "system:serviceaccount:sync-operator:vmdisk-controller";

/// Every answered request of an account so far, in the order of the log.
///
/// # Errors
/// When the log cannot be read.
pub fn of(username: &str) -> Result<Vec<Event>> {
    let path = bed::path("AUDIT_LOG")?;
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    // Most lines are others', and are not worth being parsed; the last one may be in the middle of being written.
    let lines = text.lines().filter(|line| line.contains(username));
    let events = lines.filter_map(|line| serde_json::from_str::<Event>(line).ok());
    Ok(events.filter(|event| event.stage == "ResponseComplete" && event.user.username == username).collect())
}

/// Puts the log aside and lets it begin anew: an API server that has just started has not read the roles yet and refuses
/// what it allows a moment later, so that a log with such starts in it is no witness of what is refused.
///
/// # Errors
/// When it cannot be copied.
pub fn set_aside() -> Result<()> {
    let path = bed::path("AUDIT_LOG")?;
    let aside = path.with_extension("before.jsonl");
    std::fs::copy(&path, &aside).with_context(|| format!("cannot copy {}", path.display()))?;
    // The API server appends, and goes on at the new end.
    let log = std::fs::File::options().write(true).open(&path)?;
    log.set_len(0).with_context(|| format!("cannot empty {}", path.display()))
}
