//! The process: what it is told, what it tells, when it leads and when it ends.
//!
//! ```text
//! telemetry ─▶ client ─▶ admin server ─▶ lease ─▶ policy, watches, gate ─▶ machinery      (until SIGTERM: lease released)
//!                                          └── lost: the process ends, before anybody else may write
//! ```
//!
//! Nothing waits for ever: the [`client`] bounds a connection's silence, [`deadline`] each call. Nothing dies alone: what
//! runs beside the machinery is started by [`tasks`].

pub mod admin;
pub mod client;
pub mod deadline;
pub mod events;
pub mod lease;
pub mod metrics;
pub mod removal;
pub mod tasks;
pub mod telemetry;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use jiff::Timestamp;
use kube::Client;
use populator_crd::{GROUP, names};
use prometheus_client::registry::Registry;
use tokio::{
    select,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;
use volume_populator::{Config, Machinery};

use crate::{
    gate::{Gate, GateSettings, Lane, Lanes},
    golden::{self, reconciler::Golden},
    image::reconciler::{self, Statuses},
    observer::{self, Audience},
    policy,
    populator::{DiskPopulator, Parts},
    registration,
    sync::{history, progress::Progresses, records::Records},
    world::{Changes, World},
};
use admin::Health;
use events::Events;
use lease::Lease;
use metrics::Metrics;
use tasks::Tasks;

/// How the process is started.
#[derive(Clone, Debug, clap::Parser)]
#[command(version, about = "Fills PersistentVolumeClaims from VMDiskImages")]
pub struct Settings {
    /// The container image of worker pods; of the same release as this controller.
    #[arg(long, env = "VMDISK_WORKER_IMAGE")]
    pub worker_image: String,
    /// The operator's own namespace: the policy's and the lease's.
    #[arg(long, env = "POD_NAMESPACE", default_value = "sync-operator")]
    pub namespace: String,
    /// The name of this replica.
    #[arg(long, env = "POD_NAME", default_value = "vmdisk-controller")]
    pub pod_name: String,
    /// Where metrics are served.
    #[arg(long, env = "VMDISK_METRICS_ADDRESS", default_value = "[::]:8080")]
    pub metrics_address: SocketAddr,
    /// Where health is served.
    #[arg(long, env = "VMDISK_HEALTH_ADDRESS", default_value = "[::]:8081")]
    pub health_address: SocketAddr,
    /// Work only while holding the lease. Needed as soon as there may be two replicas, as in any rolling update.
    #[arg(long, env = "VMDISK_LEADER_ELECT")]
    pub leader_elect: bool,
}

/// Runs the controller until it is told to stop.
///
/// # Errors
///
/// When the process must end, and be started again: the lease was lost, a port is taken, a task or a watch ended.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let (tasks, mut ends) = Tasks::new(shutdown.clone());
    tasks.once("signals", stop_on_signal(shutdown.clone())?);
    let client = client::connect().await?;
    let metrics = Metrics::default();
    let registry = Arc::new(Mutex::new(Registry::default()));
    metrics.register(&mut lock(&registry));

    let (world, changes) = World::new();
    let (wake, wakes) = mpsc::unbounded_channel();
    let health = Health::default();
    tasks.keep("admin server", admin::serve(&settings, Arc::clone(&registry), health.clone()).await?);

    let mut lease = Lease::new(client.clone(), &settings.namespace, &settings.pod_name);
    if settings.leader_elect {
        tasks.once("readiness of a follower", health.clone().ready_when_reached(client.clone()));
        select! {
            () = lease.acquire() => tracing::info!(identity = settings.pod_name, "leading"),
            () = shutdown.cancelled() => return Ok(()),
            ended = ends.next() => return Err(ended.into()),
        }
    }
    metrics.leads(true);

    let elected = settings.leader_elect;
    let lead = Lead { client, settings, metrics, registry, world, health, tasks, wake, wakes, changes };
    let result = select! {
        result = lead.run(shutdown.clone()) => result,
        () = lease.hold(), if elected => {
            // Whoever leads now may be writing already.
            anyhow::bail!("the lease was lost; ending, to start again as a follower");
        }
        ended = ends.next() => Err(ended.into()),
    };
    // Before anybody else may lead: nothing of ours may write then.
    ends.stop();
    if elected {
        lease.release().await;
    }
    result
}

/// What the leader does.
struct Lead {
    client: Client,
    settings: Settings,
    metrics: Metrics,
    registry: Arc<Mutex<Registry>>,
    world: World,
    health: Health,
    tasks: Tasks,
    wake: mpsc::UnboundedSender<volume_populator::ClaimRef>,
    wakes: mpsc::UnboundedReceiver<volume_populator::ClaimRef>,
    changes: Changes,
}

impl Lead {
    async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { client, settings, metrics, registry, world, health, tasks, wake, wakes, changes } = self;
        let events = Events::new(client.clone(), &settings.pod_name);
        let (policy, follower) = policy::follow(client.clone(), &settings.namespace, events, metrics.clone()).await?;
        tasks.keep("policy", follower.run());
        tasks.keep("watches", world.clone().watch(client.clone()));
        world.ready().await;

        // From the objects alone, before anybody asks: earlier syncs keep their permits and their places.
        let [fetch, restore] = Lane::ALL.map(|lane| {
            let permits = world.permits(lane, &policy.borrow(), Timestamp::now());
            let settings =
                GateSettings { lane, permits, policy: policy.clone(), wake: wake.clone(), metrics: metrics.clone() };
            let (gate, gatekeeper) = Gate::new(settings);
            tasks.keep("gate", gatekeeper);
            gate
        });
        let gate = Lanes { fetch, restore };
        let records = Records::new(client.clone(), world.clone());
        let (images, changed) = mpsc::unbounded_channel();
        let audience = Audience {
            wake: wake.clone(),
            gate: gate.clone(),
            images: images.clone(),
            progress: Progresses::new(client.clone(), world.clone(), records.clone(), tasks.clone()),
        };
        tasks.keep("sweep", observer::sweep(world.clone(), wake.clone()));
        tasks.keep("observer", observer::run(world.clone(), changes, policy.clone(), audience));
        let statuses = Statuses { client: client.clone(), world: world.clone(), policy: policy.clone(), changed };
        tasks.keep("images' statuses", reconciler::run(statuses));
        let preloads = Golden {
            client: client.clone(),
            world: world.clone(),
            records: records.clone(),
            policy: policy.clone(),
            worker_image: settings.worker_image.clone(),
            wake: wake.clone(),
            statuses: images,
        };
        tasks.keep("golden data", golden::reconciler::run(preloads));
        tasks.keep("history", history::run(client.clone(), policy.clone()));
        tasks.keep("registration", registration::run(client.clone()));

        let populator = DiskPopulator::new(Parts {
            client: client.clone(),
            world,
            gate,
            policy,
            metrics,
            worker_image: settings.worker_image,
            wakes,
            wake,
            tasks,
        });
        let mut config = Config::new(GROUP);
        config.source_namespace_annotation = "image-namespace".into();
        config.field_manager = names::MANAGER.into();
        config.instance = settings.pod_name;
        health.in_sync();
        let machinery = Machinery::new(client, config, populator);
        machinery.metrics().register(&mut lock(&registry));
        let ended = machinery.run(shutdown).await.context("the machinery ended");
        records.write_all_notes().await;
        ended
    }
}

fn lock(registry: &Mutex<Registry>) -> MutexGuard<'_, Registry> {
    registry.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cancels the token when the process is told to stop.
fn stop_on_signal(token: CancellationToken) -> anyhow::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    Ok(async move {
        select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("told to stop");
        token.cancel();
    })
}
