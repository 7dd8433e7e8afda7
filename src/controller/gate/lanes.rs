//! Two gates side by side: what is fetched waits for the network, what is cut waits for the storage, and neither waits for
//! the other.

use jiff::Timestamp;
use populator_crd::v1alpha1::{RouteKind, VMDiskSyncStatus};
use volume_populator::ClaimRef;

use super::{Gate, actor::Closed};
use crate::{policy::Policy, sync::decide::Permit};

/// What a sync waits for, by its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The network: `concurrency`.
    Fetch,
    /// The storage alone: `restoreConcurrency`.
    Restore,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Self; 2] = [Self::Fetch, Self::Restore];

    /// The lane of a route.
    #[must_use]
    pub const fn of(route: RouteKind) -> Self {
        match route {
            RouteKind::Fetch => Self::Fetch,
            RouteKind::Snapshot | RouteKind::Clone | RouteKind::Blank => Self::Restore,
        }
    }

    /// The lane of a sync's last admission. What was never admitted counts as fetched, until it asks.
    #[must_use]
    pub fn of_status(status: Option<&VMDiskSyncStatus>) -> Self {
        status.and_then(|status| status.route.as_ref()).map_or(Self::Fetch, |route| Self::of(route.kind))
    }

    /// How many may go at once.
    #[must_use]
    pub fn limit(self, policy: &Policy) -> usize {
        match self {
            Self::Fetch => policy.permits(),
            Self::Restore => policy.restore_permits(),
        }
    }
}

/// A handle on the gates of all lanes.
#[derive(Clone, Debug)]
pub struct Lanes {
    /// The gate of what is fetched.
    pub fetch: Gate,
    /// The gate of what is cut.
    pub restore: Gate,
}

impl Lanes {
    const fn of(&self, lane: Lane) -> (&Gate, &Gate) {
        match lane {
            Lane::Fetch => (&self.fetch, &self.restore),
            Lane::Restore => (&self.restore, &self.fetch),
        }
    }

    /// Asks for a permit of this lane, with the place in the queue that the sync's record says, and leaves the other's
    /// queue.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the process is going down; here and below.
    pub async fn request(
        &self,
        lane: Lane,
        uid: &str,
        recorded: Option<Timestamp>,
        claim: &ClaimRef,
    ) -> Result<Permit, Closed> {
        let (this, other) = self.of(lane);
        other.withdraw(uid).await?;
        this.request(uid, recorded, claim).await
    }

    /// As [`Gate::adopt`].
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub async fn adopt(&self, lane: Lane, uid: &str) -> Result<Permit, Closed> {
        self.of(lane).0.adopt(uid).await
    }

    /// As [`Gate::admitted`].
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub async fn admitted(&self, lane: Lane, uid: &str) -> Result<(), Closed> {
        self.of(lane).0.admitted(uid).await
    }

    /// As [`Gate::started`].
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub async fn started(&self, lane: Lane, uid: &str) -> Result<(), Closed> {
        self.of(lane).0.started(uid).await
    }

    /// As [`Gate::withdraw`], in all lanes.
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub async fn withdraw(&self, uid: &str) -> Result<(), Closed> {
        self.fetch.withdraw(uid).await?;
        self.restore.withdraw(uid).await
    }

    /// As [`Gate::settle`]; in the other lane the sync holds nothing.
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub async fn settle(&self, lane: Lane, uid: &str, still_held: bool) -> Result<(), Closed> {
        let (this, other) = self.of(lane);
        other.settle(uid, false).await?;
        this.settle(uid, still_held).await
    }
}
