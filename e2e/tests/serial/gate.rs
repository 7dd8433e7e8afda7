//! The gate: never more workers than the policy allows, in order of arrival, and nothing of a claim that waits.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use populator_crd::VMDiskSync;
use populator_crd::v1alpha1::SyncPhase;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::machine::Hold;
use vmdisk_e2e::servers::Fault;
use vmdisk_e2e::testing::files::{self, Server};
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::{Scene, scenario, until};

use crate::class::Class;
use crate::policy::Policy;
use crate::workers::Witness;

const SOON: Duration = Duration::from_mins(1);
const DEADLINE: Duration = Duration::from_mins(3);

#[tokio::test]
async fn two_at_once_in_order_of_arrival_and_four_when_the_policy_says_so() {
    scenario("gate", async |scene| {
        let policy = Policy::set(&scene.bed.client, &[("concurrency", "2")]).await?;
        let outcome = admits(scene, &policy).await;
        policy.reset().await?;
        outcome
    })
    .await;
}

async fn admits(scene: &Scene, policy: &Policy) -> Result<()> {
    let server = Server::files()?;
    let witness = Witness::start(scene.api::<Pod>()).await?;
    let names: Vec<String> = (1..=6).map(|number| format!("claim-{number}")).collect();
    let mut paths = Vec::new();
    for name in &names {
        let published = files::publish(scene, &format!("{name}.img"), &vec![7; 1 << 20])?;
        server.set(&published.path, &Fault { hold: true, ..Fault::default() }).await?;
        scene.create(&objects::image(name, &published.url)).await?;
        scene.create(&objects::claim(name, name, "64Mi", Mode::Filesystem)?).await?;
        paths.push(published.path);
        // Queued one after the other, so that their order is known.
        until::probed(&format!("{name} is queued"), SOON, async || Ok(sync_of(scene, name).await?.map(drop))).await?;
    }

    held(&server, &paths[..2]).await?;
    for name in &names[2..] {
        let sync = sync_of(scene, name).await?;
        let phase = sync.and_then(|sync| sync.status).and_then(|status| status.phase);
        ensure!(phase == Some(SyncPhase::Queued), "{name} is {phase:?} while two others run");
    }
    let claims = scene.api::<PersistentVolumeClaim>().list(&ListParams::default()).await?;
    let primes = claims.iter().filter(|claim| claim.metadata.name.as_deref().is_some_and(|n| n.starts_with("prime-")));
    ensure!(primes.count() == 2, "claims that wait in the queue hold storage");

    server.heal(&paths[0]).await?;
    held(&server, &paths[1..3]).await?;

    policy.change(&[("concurrency", "4")]).await?;
    held(&server, &paths[1..5]).await?;
    for path in &paths[1..] {
        server.heal(path).await?;
    }
    let api = scene.api::<PersistentVolumeClaim>();
    for name in &names {
        until::holds(&api, name, "is bound", DEADLINE, objects::is_bound).await?;
    }
    let seen = witness.finish().await?;
    ensure!(seen.most == 4, "at most four workers were expected at once, and four at some time: {seen:#?}");
    // Those that are admitted at once may be created in any order.
    let mut admitted = seen.claims.clone();
    for together in [0..2, 3..5] {
        admitted.get_mut(together).into_iter().for_each(<[String]>::sort);
    }
    ensure!(admitted == names, "workers were expected in order of arrival: {seen:#?}");
    Ok(())
}

#[tokio::test]
async fn claims_that_are_never_provisioned_do_not_stop_the_next_claim() {
    scenario("gate", async |scene| {
        let policy = Policy::set(&scene.bed.client, &[("concurrency", "4"), ("startTimeout", "15s")]).await?;
        // The driver never answers for volumes of this class.
        let hold = Hold::new(&Instance::current()?, &scene.namespace)?;
        let class = Class::held(scene).await?;
        let outcome = passes(scene, &class.name).await;
        drop(hold);
        class.delete().await?;
        policy.reset().await?;
        outcome
    })
    .await;
}

async fn passes(scene: &Scene, class: &str) -> Result<()> {
    let published = files::publish(scene, "disk.img", &vec![7; 1 << 20])?;
    scene.create(&objects::image("image", &published.url)).await?;
    let stuck: Vec<String> = (1..=4).map(|number| format!("stuck-{number}")).collect();
    for name in &stuck {
        scene.create(&objects::claim_of(name, "image", "64Mi", Mode::Filesystem, class)?).await?;
        in_phase(scene, name, SyncPhase::Syncing).await?;
    }
    scene.create(&objects::claim("fifth", "image", "64Mi", Mode::Filesystem)?).await?;
    in_phase(scene, "fifth", SyncPhase::Queued).await?;
    until::holds(&scene.api::<PersistentVolumeClaim>(), "fifth", "is bound", DEADLINE, objects::is_bound).await?;
    for name in &stuck {
        in_phase(scene, name, SyncPhase::BackingOff).await?;
    }
    Ok(())
}

async fn in_phase(scene: &Scene, claim: &str, phase: SyncPhase) -> Result<()> {
    until::probed(&format!("the sync of {claim} is {phase:?}"), SOON, async || {
        let status = sync_of(scene, claim).await?.and_then(|sync| sync.status);
        Ok(status.filter(|status| status.phase == Some(phase)).map(drop))
    })
    .await
}

async fn sync_of(scene: &Scene, claim: &str) -> Result<Option<VMDiskSync>> {
    let syncs = scene.api::<VMDiskSync>().list(&ListParams::default()).await?;
    Ok(syncs.items.into_iter().find(|sync| sync.spec.claim.name == claim))
}

/// Waits until the worker of each of these paths asks for it, and is held.
async fn held(server: &Server, paths: &[String]) -> Result<()> {
    for path in paths {
        server.until_held(path, SOON).await?;
    }
    Ok(())
}
