//! Leader election by a Lease: the algorithm of client-go (`tools/leaderelection`), in which no two clocks are compared.
//! A follower measures by its own clock how long the lease has not changed, and the leader gives up, by its own clock,
//! before any follower can have waited that long.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease as LeaseObject, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client, Error,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

/// The Lease's name; RBAC allows no other.
pub const NAME: &str = "vmdisk-controller";

/// How long followers wait for a leader that does not renew.
const DURATION: Duration = Duration::from_secs(10);

/// How long the leader may fail to renew before it must end.
const RENEW_DEADLINE: Duration = Duration::from_secs(7);

/// How often leader and followers look.
const PERIOD: Duration = Duration::from_secs(2);

/// One replica's view of the lease.
pub struct Lease {
    api: Api<LeaseObject>,
    identity: String,
    /// The lease as it was when it last changed, and when that was seen.
    seen: Option<(Record, Instant)>,
}

#[derive(Clone, Debug, PartialEq)]
struct Record {
    version: Option<String>,
    holder: Option<String>,
}

impl Record {
    fn of(lease: &LeaseObject) -> Self {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
        Self { version: lease.metadata.resource_version.clone(), holder: holder.filter(|holder| !holder.is_empty()) }
    }
}

/// What a look at the lease allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// It is ours.
    Ours,
    /// Nobody's, or nobody has renewed it for its duration.
    Free,
    /// Somebody else's.
    Taken,
}

/// What came of an attempt to acquire or renew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// The lease is ours.
    Held,
    /// It is somebody else's.
    Taken,
    /// Somebody wrote it between our look and our write.
    Overtaken,
}

impl Lease {
    /// The lease in this namespace, as seen by this replica.
    #[must_use]
    pub fn new(client: Client, namespace: &str, identity: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), identity: identity.to_owned(), seen: None }
    }

    /// Waits until this replica holds the lease.
    pub async fn acquire(&mut self) {
        loop {
            match timeout(RENEW_DEADLINE, self.attempt()).await {
                Ok(Ok(Attempt::Held)) => return,
                Ok(Ok(Attempt::Taken | Attempt::Overtaken)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "failed to acquire the lease; trying again"),
                Err(_) => tracing::warn!("the API server did not answer about the lease; trying again"),
            }
            sleep(PERIOD).await;
        }
    }

    /// Renews the lease. Returns when it is lost, or may be.
    pub async fn hold(&mut self) {
        let mut renewed = Instant::now();
        loop {
            sleep(PERIOD).await;
            let left = RENEW_DEADLINE.saturating_sub(renewed.elapsed());
            let begun = Instant::now();
            match timeout(left, self.attempt()).await {
                // Counted from before the call: the server may have taken it at any moment since.
                Ok(Ok(Attempt::Held)) => renewed = begun,
                // An earlier life of this replica may have had the last word; who holds it now, the next look tells.
                Ok(Ok(Attempt::Overtaken)) => tracing::warn!("the lease was written meanwhile; looking again"),
                Ok(Ok(Attempt::Taken)) => {
                    tracing::error!("another replica holds the lease");
                    return;
                }
                Ok(Err(error)) => tracing::warn!(%error, "failed to renew the lease; trying again"),
                Err(_) => {
                    tracing::error!("the lease could not be renewed in time");
                    return;
                }
            }
        }
    }

    /// Gives the lease back, so that the next leader need not wait.
    pub async fn release(&mut self) {
        let Some((Record { version, holder }, _)) = &self.seen else { return };
        if holder.as_deref() != Some(self.identity.as_str()) {
            return;
        }
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"holderIdentity": "", "leaseDurationSeconds": 1}});
        match timeout(PERIOD, self.api.patch(NAME, &PatchParams::default(), &Patch::Merge(&patch))).await {
            Ok(Ok(_)) => tracing::info!("released the lease"),
            Ok(Err(error)) => tracing::warn!(%error, "failed to release the lease; it runs out"),
            Err(_) => tracing::warn!("failed to release the lease in time; it runs out"),
        }
    }

    /// Acquires or renews, if it may.
    async fn attempt(&mut self) -> Result<Attempt, Error> {
        let Some(current) = self.api.get_opt(NAME).await? else {
            return self.create().await;
        };
        let look = self.look(Record::of(&current), Instant::now());
        if look == Look::Taken {
            return Ok(Attempt::Taken);
        }
        let now = MicroTime(Timestamp::now());
        let mut spec = json!({
            "holderIdentity": self.identity,
            "leaseDurationSeconds": DURATION.as_secs(),
            "renewTime": now,
        });
        if look == Look::Free {
            let transitions = current.spec.and_then(|spec| spec.lease_transitions).unwrap_or(0);
            spec["acquireTime"] = json!(now);
            spec["leaseTransitions"] = json!(transitions + 1);
        }
        let patch = json!({"metadata": {"resourceVersion": current.metadata.resource_version}, "spec": spec});
        match self.api.patch(NAME, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(stored) => {
                self.seen = Some((Record::of(&stored), Instant::now()));
                Ok(Attempt::Held)
            }
            Err(Error::Api(status)) if status.code == 409 => Ok(Attempt::Overtaken),
            Err(error) => Err(error),
        }
    }

    async fn create(&mut self) -> Result<Attempt, Error> {
        let now = MicroTime(Timestamp::now());
        let lease = LeaseObject {
            metadata: ObjectMeta { name: Some(NAME.into()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                lease_transitions: Some(0),
                ..LeaseSpec::default()
            }),
        };
        match self.api.create(&PostParams::default(), &lease).await {
            Ok(stored) => {
                self.seen = Some((Record::of(&stored), Instant::now()));
                Ok(Attempt::Held)
            }
            Err(Error::Api(status)) if status.code == 409 => Ok(Attempt::Overtaken),
            Err(error) => Err(error),
        }
    }

    /// Notes what was seen, and judges it.
    fn look(&mut self, record: Record, now: Instant) -> Look {
        let since = match &self.seen {
            Some((seen, since)) if *seen == record => *since,
            _ => now,
        };
        let look = match &record.holder {
            Some(holder) if *holder == self.identity => Look::Ours,
            None => Look::Free,
            Some(_) if now.duration_since(since) >= DURATION => Look::Free,
            Some(_) => Look::Taken,
        };
        self.seen = Some((record, since));
        look
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
