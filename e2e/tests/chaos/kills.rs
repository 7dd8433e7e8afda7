//! Components that are killed at moments that nobody chose, and started again as an init system would.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::launcher;
use vmdisk_e2e::say::say;
use vmdisk_e2e::testing::random::Random;
use vmdisk_e2e::testing::{Scene, audit, operator, until};

/// What is killed, and the launcher's components that it is; the controller runs in pods.
type Victim = (&'static str, &'static [&'static str]);

const VICTIMS: [Victim; 6] = [
    ("controller", &[]),
    ("kubelet", &["node-1-kubelet", "node-2-kubelet"]),
    ("containerd", &["node-1-containerd", "node-2-containerd"]),
    ("provisioner", &["csi-provisioner"]),
    ("API server", &["kube-apiserver"]),
    ("etcd", &["etcd"]),
];

/// The longest time between two kills: most of what a filling takes, and less than an API server needs to be itself again.
const PAUSE: Duration = Duration::from_secs(10);
/// The longest that a component stays away.
const AWAY: Duration = Duration::from_secs(5);
const HANG: Duration = Duration::from_mins(5);

/// What was killed, and how often.
#[derive(Debug, Default)]
pub(crate) struct Kills {
    /// By what it is.
    pub(crate) of: BTreeMap<&'static str, usize>,
    /// Pods of the controller that were deleted; they count as killed, too.
    pub(crate) deleted: usize,
    /// Components that ended by themselves, because another was away.
    pub(crate) ended: BTreeMap<String, usize>,
}

impl Kills {
    /// All of them.
    pub(crate) fn total(&self) -> usize {
        self.of.values().sum()
    }

    async fn one(&mut self, scene: &Scene, random: &Random, instance: &Instance, victim: Victim) -> Result<()> {
        let (what, components) = victim;
        let victim = random.take(&mut components.to_vec());
        match victim {
            None => self.deleted += usize::from(controller(scene, random).await?),
            // One that has ended by itself is started again below.
            Some(name) => launcher::kill(instance, name).unwrap_or_else(|error| say(&format!("  {error:#}"))),
        }
        *self.of.entry(what).or_default() += 1;
        tokio::time::sleep(AWAY.mul_f64(random.share())).await;
        for name in launcher::revive(instance)?.into_iter().filter(|name| victim != Some(name)) {
            *self.ended.entry(name).or_default() += 1;
        }
        Ok(())
    }
}

/// Kills until the time is over, and lets everything come to itself then, however it went.
pub(crate) async fn storm(scene: &Scene, random: &Random, began: Instant, span: Duration) -> Result<Kills> {
    let instance = Instance::current()?;
    let mut kills = Kills::default();
    let mut outcome = Ok(());
    // Each once before one is killed again, so that a short storm meets all of them.
    let mut round = Vec::new();
    while outcome.is_ok() && began.elapsed() < span {
        tokio::time::sleep(PAUSE.mul_f64(random.share())).await;
        if round.is_empty() {
            round.extend(VICTIMS);
        }
        let victim = random.take(&mut round).context("there are victims")?;
        outcome = kills.one(scene, random, &instance, victim).await;
    }
    calm(scene, &instance).await.context("after the kills")?;
    outcome.map(|()| kills)
}

/// Kills or deletes one of the controller's pods, whether it leads or not; whether it was deleted.
async fn controller(scene: &Scene, random: &Random) -> Result<bool> {
    let pods = operator::pods(&scene.bed.client);
    let (number, delete) = (random.next(), random.share() < 0.25);
    until::probed("a pod of the controller is killed", HANG, async || {
        let running = pods.list(&ListParams::default()).await?.items;
        let number = number.checked_rem(running.len() as u64).context("the controller has no pod")?;
        let name = running[usize::try_from(number)?].name_any();
        if delete {
            pods.delete(&name, &DeleteParams::default()).await?;
        } else {
            operator::kill(&scene.bed.client, &name).await?;
        }
        Ok(Some(delete))
    })
    .await
}

/// Waits until everything is as it was before the chaos.
pub(crate) async fn calm(scene: &Scene, instance: &Instance) -> Result<()> {
    launcher::revive(instance)?;
    let leases = Api::<Lease>::namespaced(scene.bed.client.clone(), "kube-node-lease");
    let renewed = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
    let before = until::probed("the API server answers", HANG, async || {
        Ok(Some(leases.list(&ListParams::default()).await?.items))
    })
    .await?;
    for lease in before {
        let name = lease.name_any();
        until::probed(&format!("the kubelet of {name} renews its lease"), HANG, async || {
            Ok((renewed(&leases.get(&name).await?) != renewed(&lease)).then_some(()))
        })
        .await?;
    }
    until::probed("all replicas of the controller are ready", HANG, async || {
        operator::complete(&scene.bed.client).await.map(Some)
    })
    .await?;
    until::probed("every component runs", HANG, async || Ok(launcher::revive(instance)?.is_empty().then_some(())))
        .await?;
    audit::set_aside()
}
