//! What the tap makes of one request, without I/O: is it a write that counts, and what happens to it.

use std::fmt;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

/// Which side of a write something happens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Before the API server hears of it.
    Before,
    /// After the API server has answered, before the controller hears of that.
    After,
}

/// What happens at one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// The controller is killed.
    Kill(Side),
    /// It is answered with a conflict, and has no effect.
    Conflict,
    /// It is answered with 429, and has no effect.
    TooMany,
    /// It is answered with 500, and has no effect.
    Broken,
    /// The connection breaks after it took effect.
    Lost,
    /// It is on its way for as long as somebody likes ([`super::Tap::let_go`]): the write of a leader that was stopped and
    /// still believes.
    Parked,
}

impl Strike {
    /// Those that crash the controller.
    pub const KILLS: [Self; 2] = [Self::Kill(Side::Before), Self::Kill(Side::After)];
    /// Those of an API server that has a bad moment.
    pub const FAULTS: [Self; 4] = [Self::Conflict, Self::TooMany, Self::Broken, Self::Lost];

    /// The answer that is given in the API server's place.
    pub(super) fn answer(self) -> Option<(StatusCode, Value)> {
        let status = |code: StatusCode, reason: &str, message: &str| {
            let body = json!({
                "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
                "reason": reason, "message": message, "code": code.as_u16(),
            });
            Some((code, body))
        };
        match self {
            Self::Conflict => status(StatusCode::CONFLICT, "Conflict", "the object has been modified (played)"),
            Self::TooMany => status(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", "slow down (played)"),
            Self::Broken => status(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "a bad moment (played)"),
            Self::Kill(_) | Self::Lost | Self::Parked => None,
        }
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kill(Side::Before) => "killed before",
            Self::Kill(Side::After) => "killed after",
            Self::Conflict => "409 at",
            Self::TooMany => "429 at",
            Self::Broken => "500 at",
            Self::Lost => "answer lost of",
            Self::Parked => "parked at",
        })
    }
}

/// One thing that happens, at the write of this number (from 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The number of the write.
    pub at: usize,
    /// What happens there.
    pub strike: Strike,
}

/// How the watches of one resource are disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// Every event comes this much later than it happened.
    Lag(Duration),
    /// The watch ends with 410 at each event, which is lost: only a new list tells of it.
    Expires,
}

/// A request as the tap sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// The resource, with its subresource: `vmdisksyncs/status`.
    pub resource: String,
    /// `NAMESPACE/NAME` as far as the path tells.
    pub object: String,
    /// Whether it stays open and tells what changes.
    pub watch: bool,
}

impl Seen {
    /// Reads method, path and query.
    #[must_use]
    pub fn read(method: &Method, path: &str, query: &str) -> Self {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        match parts.next() {
            Some("api") => drop(parts.next()),
            Some("apis") => drop((parts.next(), parts.next())),
            _ => {}
        }
        let mut rest: Vec<&str> = parts.collect();
        let mut namespace = "";
        // A namespace itself is an object like any other.
        if rest.first() == Some(&"namespaces") && rest.len() > 2 {
            namespace = rest[1];
            rest.drain(..2);
        }
        let name = rest.get(1).copied().unwrap_or_default();
        let resource = match (rest.first(), rest.get(2)) {
            (Some(resource), Some(subresource)) => format!("{resource}/{subresource}"),
            (Some(resource), None) => (*resource).to_owned(),
            (None, _) => String::new(),
        };
        let object = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") };
        let watch = query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1");
        Self { method: method.clone(), resource, object, watch }
    }

    /// Whether it changes something that is about claims: a leader's heartbeat is not.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.method != Method::GET && self.resource != "leases"
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} {}", self.method, self.resource, self.object)
    }
}

/// The event that ends a watch whose place in history the API server does not have any more.
pub(super) fn gone() -> String {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "reason": "Expired",
        "message": "too old resource version (played)", "code": 410,
    });
    format!("{}\n", json!({"type": "ERROR", "object": status}))
}

/// Whether a line of a watch tells of a change; bookmarks do not.
pub(super) fn is_change(line: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Event<'a> {
        #[serde(rename = "type", borrow)]
        kind: &'a str,
    }
    serde_json::from_slice::<Event<'_>>(line).is_ok_and(|event| event.kind != "BOOKMARK")
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
