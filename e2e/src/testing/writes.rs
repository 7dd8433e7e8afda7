//! What an account wrote, by its requests in the audit log.

use super::audit::Event;

/// The writes of an account for some claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writes {
    /// All of them.
    pub all: usize,
    /// Those that made events.
    pub events: usize,
}

impl Writes {
    /// Counts what changed something or tried to; a leader's heartbeat is not about claims.
    #[must_use]
    pub fn of(requests: &[Event]) -> Self {
        let writes = || requests.iter().filter(|event| event.is_write() && event.object_ref.resource != "leases");
        let events = writes().filter(|event| event.object_ref.resource == "events").count();
        Self { all: writes().count(), events }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn request(verb: &str, resource: &str, code: u16) -> Event {
        let request: Value = json!({
            "stage": "ResponseComplete", "verb": verb, "requestURI": "/", "user": {"username": "controller"},
            "objectRef": {"resource": resource}, "responseStatus": {"code": code},
            "requestReceivedTimestamp": "2026-01-01T00:00:00.000000Z", "stageTimestamp": "2026-01-01T00:00:00.000000Z",
        });
        serde_json::from_value(request).unwrap()
    }

    #[test]
    fn writes_are_counted_whether_they_were_taken_or_not() {
        for (requests, expected) in [
            (vec![], Writes { all: 0, events: 0 }),
            (vec![request("get", "pods", 200), request("watch", "events", 200)], Writes { all: 0, events: 0 }),
            (vec![request("update", "leases", 200)], Writes { all: 0, events: 0 }),
            (
                vec![
                    request("create", "events", 201),
                    request("patch", "persistentvolumes", 409),
                    request("delete", "pods", 404),
                ],
                Writes { all: 3, events: 1 },
            ),
        ] {
            assert_eq!(Writes::of(&requests), expected, "{requests:?}");
        }
    }
}
