//! The task that owns the permits.

use std::time::Duration;

use jiff::Timestamp;
use tokio::{
    select,
    sync::{mpsc, oneshot},
    time::sleep,
};
use volume_populator::ClaimRef;

use super::{
    lanes::Lane,
    permits::{Offer, Permits},
};
use crate::{policy::PolicyReceiver, runtime::metrics::Metrics, sync::decide::Permit};

/// What the gate's task is made of.
pub struct GateSettings {
    /// Which permits these are.
    pub lane: Lane,
    /// The permits, as restored.
    pub permits: Permits,
    /// The policy, for its concurrency.
    pub policy: PolicyReceiver,
    /// Where the claims whose turn has come are told.
    pub wake: mpsc::UnboundedSender<ClaimRef>,
    /// Gauges of queue and permits.
    pub metrics: Metrics,
}

/// A handle on the gate.
#[derive(Clone, Debug)]
pub struct Gate {
    commands: mpsc::Sender<Command>,
}

#[derive(Debug)]
enum Command {
    Request { uid: String, recorded: Option<Timestamp>, claim: ClaimRef, reply: oneshot::Sender<Permit> },
    Adopt { uid: String, reply: oneshot::Sender<Permit> },
    Admitted(String),
    Started(String),
    Withdraw(String),
    Settle { uid: String, still_held: bool },
}

/// The gate's task has ended: the process is going down.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the gate is closed: the controller is shutting down")]
pub struct Closed;

impl Gate {
    /// A handle, and the task to be run; it ends with the last handle.
    pub fn new(settings: GateSettings) -> (Self, impl Future<Output = ()> + Send) {
        let (commands, inbox) = mpsc::channel(256);
        (Self { commands }, run(settings, inbox))
    }

    /// Asks for a permit, with the place in the queue that the sync's record says.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the process is going down.
    pub async fn request(&self, uid: &str, recorded: Option<Timestamp>, claim: &ClaimRef) -> Result<Permit, Closed> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Request { uid: uid.to_owned(), recorded, claim: claim.clone(), reply };
        self.tell(command).await?;
        answer.await.map_err(|_| Closed)
    }

    /// Says that a sync's record says Syncing, and asks whether its worker may have been created.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the process is going down.
    pub async fn adopt(&self, uid: &str) -> Result<Permit, Closed> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Adopt { uid: uid.to_owned(), reply }).await?;
        answer.await.map_err(|_| Closed)
    }

    /// Says that an admission was written.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the process is going down.
    pub async fn admitted(&self, uid: &str) -> Result<(), Closed> {
        self.tell(Command::Admitted(uid.to_owned())).await
    }

    /// Says that a worker was created.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the process is going down.
    pub async fn started(&self, uid: &str) -> Result<(), Closed> {
        self.tell(Command::Started(uid.to_owned())).await
    }

    /// Says that a sync wants no permit any more.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the process is going down.
    pub async fn withdraw(&self, uid: &str) -> Result<(), Closed> {
        self.tell(Command::Withdraw(uid.to_owned())).await
    }

    /// Says what the objects tell of a sync: see [`super::still_held`].
    ///
    /// # Errors
    ///
    /// [`Closed`] when the process is going down.
    pub async fn settle(&self, uid: &str, still_held: bool) -> Result<(), Closed> {
        let uid = uid.to_owned();
        self.tell(Command::Settle { uid, still_held }).await
    }

    async fn tell(&self, command: Command) -> Result<(), Closed> {
        self.commands.send(command).await.map_err(|_| Closed)
    }
}

async fn run(settings: GateSettings, mut inbox: mpsc::Receiver<Command>) {
    let GateSettings { lane, mut permits, mut policy, wake, metrics } = settings;
    loop {
        let now = Timestamp::now();
        permits.set_limit(lane.limit(&policy.borrow_and_update()));
        permits.lapse(now);
        for Offer { claim, waited } in permits.offer(now) {
            metrics.queue_wait(waited);
            // No receiver: the process is going down.
            let _ = wake.send(claim);
        }
        if lane == Lane::Fetch {
            metrics.gate(permits.waiting(), permits.in_use(), permits.limit());
        }

        let lapse = permits.next_lapse().map(|at| until(now, at));
        select! {
            command = inbox.recv() => match command {
                Some(command) => handle(&mut permits, command, &metrics),
                None => return,
            },
            changed = policy.changed() => if changed.is_err() { return },
            () = sleep(lapse.unwrap_or(Duration::MAX)), if lapse.is_some() => {}
        }
    }
}

fn handle(permits: &mut Permits, command: Command, metrics: &Metrics) {
    match command {
        Command::Request { uid, recorded, claim, reply } => {
            let now = Timestamp::now();
            permits.request(&uid, recorded, claim.clone(), now);
            // Who finds a free permit needs no waking: it is told here.
            if let Some(waited) = permits.offer_to(&uid, now) {
                metrics.queue_wait(waited);
            }
            let _ = reply.send(permits.permit(&uid));
        }
        Command::Adopt { uid, reply } => {
            permits.adopt(&uid);
            let _ = reply.send(permits.permit(&uid));
        }
        Command::Admitted(uid) => permits.admitted(&uid),
        Command::Started(uid) => permits.started(&uid),
        Command::Withdraw(uid) => permits.withdraw(&uid),
        Command::Settle { uid, still_held } => permits.settle(&uid, still_held),
    }
}

fn until(now: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}
