//! What the controller wrote, by its requests in the audit log.

use vmdisk_e2e::testing::audit::Event;

/// Writes of one round.
#[derive(Debug)]
pub(crate) struct Writes {
    all: f64,
    events: f64,
    claims: f64,
}

impl Writes {
    /// Counts what changed something or tried to; the leader's heartbeat is not about claims.
    #[expect(clippy::cast_precision_loss, reason = "a few hundred requests")]
    pub(crate) fn of(requests: &[Event], claims: usize) -> Self {
        let writes = || requests.iter().filter(|event| event.is_write() && event.object_ref.resource != "leases");
        let events = writes().filter(|event| event.object_ref.resource == "events").count();
        Self { all: writes().count() as f64, events: events as f64, claims: claims as f64 }
    }

    /// API writes of one claim, on the average.
    pub(crate) fn per_claim(&self) -> f64 {
        self.all / self.claims
    }

    /// Events of one claim, on the average.
    pub(crate) fn events_per_claim(&self) -> f64 {
        self.events / self.claims
    }
}
