//! Puts the parts together and keeps them running.

use std::{pin::pin, sync::Arc};

use futures::{FutureExt, Stream, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use kube::{Client, runtime::reflector};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    config::Config,
    error::Error,
    events::Announcer,
    grants::Grants,
    metrics::Metrics,
    names::Keys,
    observe::{Nodes, Observer},
    pass::Passes,
    places::{Places, Records},
    populator::{ClaimRef, Populator},
    queue::{Finished, Queue},
    streams::{self, Wake},
    sweep::{Retired, Sweep},
};

/// The machinery around one populator.
///
/// Only one process of a cluster may run it at a time (elect a leader), though two would do no worse than waste work:
/// every write carries a precondition.
pub struct Machinery<P> {
    client: Client,
    config: Arc<Config>,
    keys: Arc<Keys>,
    populator: Arc<P>,
    metrics: Metrics,
}

impl<P: Populator> Machinery<P> {
    /// Prepares it; nothing happens before [`Machinery::run`].
    pub fn new(client: Client, config: Config, populator: P) -> Self {
        let keys = Arc::new(config.keys());
        Self { client, config: Arc::new(config), keys, populator: Arc::new(populator), metrics: Metrics::default() }
    }

    /// What the machinery counts, to be registered.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The labels and annotations that everything of this populator carries.
    #[must_use]
    pub fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// Populates claims until it is told to stop; then finishes the passes that are under way, which are short.
    ///
    /// # Errors
    ///
    /// When a watch ends for good, which none ever should: the process must be started again.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let keys = Arc::clone(&self.keys);
        let prefix = self.config.prefix.clone();
        let records: Records = {
            let populator = Arc::clone(&self.populator);
            Arc::new(move |claim_uid| populator.recorded(claim_uid))
        };
        let claims = Arc::new(Places::claims::<P::Source>(&prefix));
        let places = Places {
            prefix: prefix.clone(),
            keys: Arc::clone(&keys),
            claims: Arc::clone(&claims),
            records: Arc::clone(&records),
        };
        let primes = Arc::new(places.primes());
        let pods = Arc::new(places.pods());
        let volumes = Arc::new(places.volumes());
        let (sources, sources_writer) = reflector::store();
        let (classes, classes_writer) = reflector::store();
        let (drivers, drivers_writer) = reflector::store();
        let grants = Arc::<Grants>::default();
        let nodes = Arc::<Nodes>::default();
        let (requests, requested) = unbounded_channel();
        let wake = Wake { prefix, requests, claims: Arc::clone(&claims), keys: Arc::clone(&keys) };

        let client = || self.client.clone();
        let mut watches = Watches(JoinSet::new());
        watches.spawn("PersistentVolumeClaims", streams::claims(client(), Arc::clone(&primes), wake.clone()));
        watches.spawn("worker pods", streams::pods(client(), Arc::clone(&pods), wake.clone()));
        watches.spawn("PersistentVolumes", streams::volumes(client(), Arc::clone(&volumes), wake.clone()));
        watches.spawn("sources", streams::sources::<P::Source>(client(), sources_writer, wake.clone()));
        watches.spawn("StorageClasses", streams::classes::<P::Source>(client(), classes_writer, wake.clone()));
        watches.spawn("CSIDrivers", streams::drivers::<P::Source>(client(), drivers_writer, wake.clone()));
        watches.spawn("cordoned Nodes", streams::cordons::<P::Source>(client(), Arc::clone(&nodes), wake.clone()));
        watches.spawn("ReferenceGrants", streams::grants::<P::Source>(client(), Arc::clone(&grants), wake.clone()));
        watches.spawn("the populator's triggers", triggers(self.populator.triggers(), wake.clone()));

        let ready = async {
            // A pass must not take for absent what was only not listed yet.
            tokio::join!(claims.ready(), primes.ready(), pods.ready(), volumes.ready());
            let stores =
                tokio::join!(sources.wait_until_ready(), classes.wait_until_ready(), drivers.wait_until_ready());
            [stores.0, stores.1, stores.2].into_iter().collect::<Result<(), _>>()
        };
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            ended = watches.any_ended() => return Err(ended),
            ready = ready => ready.map_err(|_| Error::WatchEnded("sources and classes"))?,
        }
        let retired = Arc::<Retired>::default();
        let sweep = Sweep {
            client: client(),
            config: Arc::clone(&self.config),
            primes: Arc::clone(&primes),
            pods: Arc::clone(&pods),
            volumes: Arc::clone(&volumes),
            classes: classes.clone(),
            retired: Arc::clone(&retired),
            wake,
        };
        watches.spawn("the sweep", sweep.run());

        let announcer = Announcer::new(self.client.clone(), &self.config);
        announcer.remember(|claim_uid| !claims.of_claim(claim_uid).is_empty()).await;
        let passes = Passes {
            announcer,
            populator: self.populator,
            metrics: self.metrics,
            retired,
            observer: Observer {
                client: self.client,
                config: Arc::clone(&self.config),
                keys,
                claims,
                primes,
                pods,
                volumes,
                grants,
                nodes,
                records,
                sources,
                classes,
                drivers,
            },
            #[cfg(test)]
            tamper: None,
        };
        tracing::info!(prefix = self.config.prefix, "populating");
        tokio::select! {
            () = work(&passes, requested, self.config.concurrency, &shutdown) => Ok(()),
            ended = watches.any_ended() => Err(ended),
        }
    }
}

/// A populator without triggers may end its stream.
async fn triggers(claims: impl Stream<Item = ClaimRef>, wake: Wake) {
    let mut claims = pin!(claims);
    while let Some(claim) = claims.next().await {
        wake.all([claim]);
    }
    std::future::pending::<()>().await;
}

/// The tasks that must not end; they go when this goes.
struct Watches(JoinSet<&'static str>);

impl Watches {
    fn spawn(&mut self, what: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task.map(move |()| what));
    }

    async fn any_ended(&mut self) -> Error {
        match self.0.join_next().await {
            Some(Ok(what)) => Error::WatchEnded(what),
            Some(Err(_)) | None => Error::WatchEnded("cluster"),
        }
    }
}

/// Runs passes for the claims that ask for one, until shutdown.
async fn work<P: Populator>(
    passes: &Passes<P>,
    mut requested: UnboundedReceiver<ClaimRef>,
    concurrency: usize,
    shutdown: &CancellationToken,
) {
    let mut queue = Queue::default();
    let mut running: FuturesUnordered<BoxFuture<'_, (ClaimRef, Finished)>> = FuturesUnordered::new();
    loop {
        while !shutdown.is_cancelled() && queue.running() < concurrency.max(1) {
            let Some(claim) = queue.take(Instant::now()) else { break };
            running.push(pass(passes, claim).boxed());
        }
        if shutdown.is_cancelled() && running.is_empty() {
            return;
        }
        let has_room = !shutdown.is_cancelled() && queue.running() < concurrency.max(1);
        let next_due = queue.next_due().filter(|_| has_room);
        tokio::select! {
            Some(claim) = requested.recv() => queue.request(claim, Instant::now()),
            Some((claim, how)) = running.next() => queue.finished(claim, how, Instant::now()),
            () = sleep_until(next_due.unwrap_or_else(Instant::now)), if next_due.is_some() => {}
            () = shutdown.cancelled(), if !shutdown.is_cancelled() => {}
        }
    }
}

/// An error with all that it came from.
fn causes(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |source| source.source());
    sources.fold(error.to_string(), |told, source| format!("{told}: {source}"))
}

async fn pass<P: Populator>(passes: &Passes<P>, claim: ClaimRef) -> (ClaimRef, Finished) {
    let span =
        tracing::info_span!("pass", claim = %format_args!("{}/{}", claim.namespace, claim.name), uid = claim.uid);
    // Whatever hangs (a server that accepts and never answers) must not keep the claim from its next pass. Nothing is lost
    // by giving up in the middle: the next one goes by what it finds.
    let limit = passes.observer.config.pass_timeout;
    let result = timeout(limit, passes.run(&claim)).instrument(span.clone()).await;
    let how = match result.unwrap_or(Err(Error::PassTimeout(limit))) {
        Ok(at_most) => Finished::Well(at_most),
        Err(error) => {
            passes.metrics.failed(error.reason());
            let _entered = span.enter();
            if error.is_conflict() {
                tracing::debug!(%error, "somebody else wrote first");
            } else {
                tracing::warn!(error = causes(&error), "pass failed");
            }
            Finished::Badly
        }
    };
    (claim, how)
}
