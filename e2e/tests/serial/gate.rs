//! The gate: never more workers than the policy allows, in order of arrival, and nothing of a claim that waits.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::ListParams;
use populator_crd::names::{CLAIM_UID_LABEL, COMPONENT_LABEL, WORKER_COMPONENT};
use populator_crd::v1alpha1::SyncPhase;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::machine::Hold;
use vmdisk_e2e::servers::Fault;
use vmdisk_e2e::testing::files::{self, Server};
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::traces::primes_and_workers;
use vmdisk_e2e::testing::{Scene, audit, bed, scenario, syncs, until};

use crate::class::Class;
use crate::ledger::{self, Ledger};
use crate::policy::Policy;
use crate::workers::Witness;

const SOON: Duration = Duration::from_mins(1);
const DEADLINE: Duration = Duration::from_mins(3);

#[tokio::test]
async fn two_at_once_in_order_of_arrival_and_four_when_the_policy_says_so() {
    scenario("gate", async |scene| {
        let two = [("concurrency", "2")];
        Policy::during(&scene.bed.client, &two, async |policy| admits(scene, policy).await).await
    })
    .await;
}

async fn admits(scene: &Scene, policy: &Policy) -> Result<()> {
    let server = Server::files()?;
    let witness = Witness::start(scene).await?;
    let names: Vec<String> = (1..=6).map(|number| format!("claim-{number}")).collect();
    let mut paths = Vec::new();
    for name in &names {
        let published = files::publish(scene, &format!("{name}.img"), &vec![7; 1 << 20])?;
        server.set(&published.path, &Fault { hold: true, ..Fault::default() }).await?;
        scene.create(&objects::image(name, &published.url)).await?;
        scene.create(&objects::claim(name, name, "64Mi", Mode::Filesystem)?).await?;
        paths.push(published.path);
        // Queued one after the other, so that their order is known.
        until::probed(&format!("{name} is queued"), SOON, async || Ok(syncs::of(scene, name).await?.map(drop))).await?;
    }

    held(&server, &paths[..2]).await?;
    server.heal(&paths[0]).await?;
    held(&server, &paths[1..3]).await?;
    // Nobody ends now, so that who starts next does so because the policy says so.
    policy.change(&[("concurrency", "4")]).await?;
    held(&server, &paths[1..5]).await?;
    for path in &paths[1..] {
        server.heal(path).await?;
    }
    for name in &names {
        bound(scene, name).await?;
    }

    let ledger = ledger::fold(witness.finish().await?);
    ensure!(ledger.faults.is_empty(), "the gate broke its rules: {ledger:#?}");
    ensure!(ledger.most == 4, "four workers were held at once, and so many must have been seen: {ledger:#?}");
    let in_order = |claims: &[String]| {
        let mut claims = claims.to_vec();
        // The two that the policy's change admits at once may be created in any order, like the first two.
        for together in [0..2, 3..5] {
            claims[together].sort();
        }
        claims == names
    };
    ensure!(ledger.admitted.len() == 6 && in_order(&ledger.admitted), "admitted out of order: {ledger:#?}");
    complete(scene, &ledger).await
}

/// The watches have missed nothing: the audit log has a request for each prime and worker in the ledger, and no other.
async fn complete(scene: &Scene, ledger: &Ledger) -> Result<()> {
    let claims = scene.api::<PersistentVolumeClaim>().list(&ListParams::default()).await?;
    let requests = audit::of(audit::CONTROLLER)?;
    let requests = requests.iter().filter(|request| request.verb == "create");
    let in_scene = requests.filter(|request| request.object_ref.namespace == scene.namespace);
    let [primes, workers] = [("persistentvolumeclaims", "prime-"), ("pods", "populate-")].map(|(resource, prefix)| {
        let ours = in_scene.clone().filter(move |request| request.object_ref.resource == resource);
        ours.map(|request| {
            let uid = request.object_ref.name.strip_prefix(prefix);
            let claim = claims.iter().find(|claim| claim.uid().as_deref() == uid);
            claim.map_or_else(|| request.object_ref.name.clone(), ResourceExt::name_any)
        })
        .collect::<BTreeSet<_>>()
    });
    for (what, asked, seen) in [("primes", primes, &ledger.primes), ("workers", workers, &ledger.workers)] {
        let seen: Vec<&String> = seen.iter().collect();
        ensure!(
            asked.len() == seen.len() && seen.iter().all(|claim| asked.contains(*claim)),
            "the audit log has requests for the {what} of {asked:?}, and those of {seen:?} were seen"
        );
    }
    Ok(())
}

#[tokio::test]
async fn claims_whose_workers_never_start_do_not_stop_the_next_claim() {
    scenario("gate", async |scene| {
        let nowhere = [("concurrency", "4"), START_TIMEOUT, NOWHERE];
        Policy::during(&scene.bed.client, &nowhere, async |policy| {
            // The driver never answers for volumes of this class.
            let hold = Hold::new(&Instance::current()?, &scene.namespace)?;
            let class = Class::held(scene).await?;
            let outcome = passes(scene, policy, &class.name).await;
            drop(hold);
            class.delete().await?;
            outcome
        })
        .await
    })
    .await;
}

const START_TIMEOUT: (&str, &str) = ("startTimeout", "15s");
/// No node of the cluster will do for a worker.
const NOWHERE: (&str, &str) = ("workerNodeSelector", r#"{"vmdisk-e2e": "nowhere"}"#);

async fn passes(scene: &Scene, policy: &Policy, held_class: &str) -> Result<()> {
    let witness = Witness::start(scene).await?;
    let published = files::publish(scene, "disk.img", &vec![7; 1 << 20])?;
    let immediate = bed::variable("STORAGE_CLASS_IMMEDIATE")?;
    let stuck = [
        ("volume-1", held_class, "VolumeNotProvisioned"),
        ("volume-2", held_class, "VolumeNotProvisioned"),
        ("worker-1", &immediate, "WorkerNotStarted"),
        ("worker-2", &immediate, "WorkerNotStarted"),
    ];
    for (name, class, _) in stuck {
        // An image each, as one that nobody was filled from yet is tried by one claim at a time.
        scene.create(&objects::image(name, &published.url)).await?;
        scene.create(&objects::claim_of(name, name, "64Mi", Mode::Filesystem, class)?).await?;
        in_phase(scene, name, SyncPhase::Syncing).await?;
    }
    let workers = ListParams::default().labels(&format!("{COMPONENT_LABEL}={WORKER_COMPONENT}"));
    until::probed("two workers find no node", SOON, async || {
        let pods = scene.api::<Pod>().list(&workers).await?;
        Ok((pods.iter().filter(|pod| is_unschedulable(pod)).count() == 2).then_some(()))
    })
    .await?;
    // The next worker finds one; those that are there stay as they are.
    policy.change(&[("concurrency", "4"), START_TIMEOUT]).await?;
    scene.create(&objects::image("fifth", &published.url)).await?;
    scene.create(&objects::claim("fifth", "fifth", "64Mi", Mode::Filesystem)?).await?;
    in_phase(scene, "fifth", SyncPhase::Queued).await?;
    bound(scene, "fifth").await?;
    for (name, _, reason) in stuck {
        in_phase(scene, name, SyncPhase::BackingOff).await?;
        let status = syncs::status_of(scene, name).await?;
        let failure = status.and_then(|status| status.last_failure).context("who backs off has failed")?;
        ensure!(failure.reason == reason, "{name} failed with {failure:?}, expected {reason}");
    }
    // Who backs off holds neither storage nor a node.
    until::probed("nothing of those that back off is left", SOON, async || {
        Ok(primes_and_workers(scene, CLAIM_UID_LABEL).await?.is_empty().then_some(()))
    })
    .await?;
    let ledger = ledger::fold(witness.finish().await?);
    ensure!(ledger.faults.is_empty(), "the gate broke its rules: {ledger:#?}");
    complete(scene, &ledger).await
}

fn is_unschedulable(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.reason.as_deref() == Some("Unschedulable"))
}

async fn bound(scene: &Scene, claim: &str) -> Result<()> {
    let api = scene.api::<PersistentVolumeClaim>();
    until::holds(&api, claim, "is bound", DEADLINE, objects::is_bound).await.map(drop)
}

async fn in_phase(scene: &Scene, claim: &str, phase: SyncPhase) -> Result<()> {
    until::probed(&format!("the sync of {claim} is {phase:?}"), SOON, async || {
        let status = syncs::status_of(scene, claim).await?;
        Ok(status.filter(|status| status.phase == Some(phase)).map(drop))
    })
    .await
}

/// Waits until the worker of each of these paths asks for it, and is held.
async fn held(server: &Server, paths: &[String]) -> Result<()> {
    for path in paths {
        server.until_held(path, SOON).await?;
    }
    Ok(())
}
