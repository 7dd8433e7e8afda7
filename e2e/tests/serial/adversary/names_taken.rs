//! The names of worker and prime, taken before ours are there.

use anyhow::{Context as _, Result};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::ObjectMeta;
use populator_crd::names;
use vmdisk_e2e::testing::forgery::{Deed, Mark, Owner, perfect_report};
use vmdisk_e2e::testing::tenant::{FINALIZER, Tenant};
use vmdisk_e2e::testing::victim::Victim;
use vmdisk_e2e::testing::{Scene, objects, scenario, until};

use super::{bystander, in_short, waits};

const SOON: std::time::Duration = std::time::Duration::from_mins(1);

/// What stands where ours would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// A pod that runs, with nothing of ours but the name.
    Pod,
    /// A pod with our labels that runs.
    Worker,
    /// One that has ended, and says that it filled the volume.
    PerfectWorker,
    /// A claim with nothing of ours but the name.
    Claim,
    /// A claim with our labels, and a volume.
    Prime,
    /// Both: an empty volume, and a word that it is filled.
    PrimeAndPerfectWorker,
}

impl Taken {
    async fn make(self, tenant: &Tenant, mark: &Mark, owner: Owner) -> Result<()> {
        let perfect = Deed::Ends(0, perfect_report());
        match self {
            Self::Pod => pod(tenant, &mark.naked_worker(&Deed::Runs)?, "Running").await,
            Self::Worker => pod(tenant, &mark.worker(owner, &Deed::Runs)?, "Running").await,
            Self::PerfectWorker => pod(tenant, &mark.worker(owner, &perfect)?, "Succeeded").await,
            Self::Claim => {
                let metadata = ObjectMeta {
                    name: Some(names::prime(&mark.claim_uid)),
                    finalizers: Some(vec![FINALIZER.to_owned()]),
                    ..ObjectMeta::default()
                };
                claim(tenant, &PersistentVolumeClaim { metadata, ..mark.prime(owner)? }).await
            }
            Self::Prime => claim(tenant, &mark.prime(owner)?).await,
            Self::PrimeAndPerfectWorker => {
                claim(tenant, &mark.prime(owner)?).await?;
                pod(tenant, &mark.worker(owner, &perfect)?, "Succeeded").await
            }
        }
    }

    /// Whether anything of it still bears the name.
    async fn is_there(self, tenant: &Tenant, mark: &Mark) -> Result<bool> {
        let claim = tenant.forged::<PersistentVolumeClaim>().get_opt(&names::prime(&mark.claim_uid)).await?;
        let pod = tenant.forged::<Pod>().get_opt(&names::worker(&mark.claim_uid)).await?;
        let forged = |owner: Option<&Vec<String>>| owner.is_some_and(|held| held.iter().any(|held| held == FINALIZER));
        let claim = claim.is_some_and(|claim| forged(claim.metadata.finalizers.as_ref()));
        // A worker of ours writes no MESSAGE.
        let pod =
            pod.is_some_and(|pod| serde_json::to_string(&pod.spec).is_ok_and(|spec| spec.contains("\"MESSAGE\"")));
        Ok(match self {
            Self::Pod | Self::Worker | Self::PerfectWorker => pod,
            Self::Claim | Self::Prime | Self::PrimeAndPerfectWorker => claim,
        })
    }

    fn name(self, mark: &Mark) -> String {
        match self {
            Self::Pod | Self::Worker | Self::PerfectWorker => names::worker(&mark.claim_uid),
            Self::Claim | Self::Prime | Self::PrimeAndPerfectWorker => names::prime(&mark.claim_uid),
        }
    }
}

/// Forges a pod, and waits until it has come to a phase, or is there no more.
async fn pod(tenant: &Tenant, pod: &Pod, phase: &str) -> Result<()> {
    let name = tenant.forge(pod).await?.metadata.name.context("it has a name")?;
    until::probed(&format!("the forged pod {name} is {phase}"), SOON, async || {
        let Some(pod) = tenant.forged::<Pod>().get_opt(&name).await? else { return Ok(Some(())) };
        Ok((pod.status.and_then(|status| status.phase).as_deref() == Some(phase)).then_some(()))
    })
    .await
}

async fn claim(tenant: &Tenant, claim: &PersistentVolumeClaim) -> Result<()> {
    let name = tenant.forge(claim).await?.metadata.name.context("it has a name")?;
    let api = tenant.forged::<PersistentVolumeClaim>();
    until::holds(&api, &name, "is bound", SOON, objects::is_bound).await.map(drop)
}

/// Removes what stands in the way of a claim, and nothing that was made in its place.
async fn clear(tenant: &Tenant, taken: Taken, mark: &Mark) -> Result<()> {
    if taken.is_there(tenant, mark).await? {
        match taken {
            Taken::Pod | Taken::Worker | Taken::PerfectWorker => {
                tenant.remove::<Pod>(&names::worker(&mark.claim_uid)).await?;
            }
            Taken::PrimeAndPerfectWorker => {
                tenant.remove::<Pod>(&names::worker(&mark.claim_uid)).await?;
                tenant.remove::<PersistentVolumeClaim>(&names::prime(&mark.claim_uid)).await?;
            }
            Taken::Claim | Taken::Prime => {
                tenant.remove::<PersistentVolumeClaim>(&names::prime(&mark.claim_uid)).await?;
            }
        }
    }
    Ok(())
}

const ALL: [(&str, Taken); 6] = [
    ("pod", Taken::Pod),
    ("worker", Taken::Worker),
    ("perfect", Taken::PerfectWorker),
    ("claim", Taken::Claim),
    ("prime", Taken::Prime),
    ("both", Taken::PrimeAndPerfectWorker),
];

#[tokio::test]
async fn before_there_is_a_sync() {
    scenario("taken", async |scene| {
        let tenant = Tenant::enter(&scene.bed, &scene.namespace).await?;
        let outcome = in_short(scene, async || {
            let mut victims = Vec::new();
            for (name, taken) in ALL {
                let victim = Victim::plan(scene, name, false).await?;
                victim.claim().await?;
                let mark = victim.mark_of_claim().await?;
                taken.make(&tenant, &mark, Owner::Nobody).await.with_context(|| name.to_owned())?;
                victims.push((victim, taken, mark));
            }
            for (victim, ..) in &victims {
                victim.image().await?;
            }
            judge(scene, &tenant, victims).await
        })
        .await;
        tenant.leave().await?;
        outcome
    })
    .await;
}

/// While its sync is queued, its UID is known, and neither prime nor worker is there.
#[tokio::test]
async fn while_the_sync_is_queued() {
    scenario("taken", async |scene| {
        let tenant = Tenant::enter(&scene.bed, &scene.namespace).await?;
        let outcome = in_short(scene, async || {
            let mut before = Vec::new();
            for name in ["first", "second"] {
                before.push(Victim::filling(scene, name).await?);
            }
            let mut victims = Vec::new();
            for (name, taken) in ALL {
                let victim = Victim::plan(scene, name, false).await?;
                victim.image().await?;
                victim.claim().await?;
                let mark = victim.mark().await?;
                taken.make(&tenant, &mark, Owner::Sync).await.with_context(|| name.to_owned())?;
                victims.push((victim, taken, mark));
            }
            for victim in before {
                victim.unharmed().await?;
            }
            judge(scene, &tenant, victims).await
        })
        .await;
        tenant.leave().await?;
        outcome
    })
    .await;
}

/// Each is told, none keeps a place, and all are filled once the way is free.
async fn judge(scene: &Scene, tenant: &Tenant, mut victims: Vec<(Victim, Taken, Mark)>) -> Result<()> {
    let told = join_all(victims.iter().map(async |(victim, taken, mark)| {
        if !taken.is_there(tenant, mark).await? {
            // Removed as what it was not, in the namespace where it was made.
            return Ok(());
        }
        victim.told_of(&taken.name(mark)).await?;
        waits(victim).await
    }))
    .await;
    let passed = bystander(scene).await;
    let filled = join_all(victims.iter_mut().map(async |(victim, taken, mark)| {
        clear(tenant, *taken, mark).await?;
        victim.filled_in_the_end().await.map(drop)
    }))
    .await;
    let mut wrong: Vec<String> = passed.err().map(|error| format!("bystander: {error:#}")).into_iter().collect();
    for (index, (_, taken, _)) in victims.iter().enumerate() {
        wrong.extend(told[index].as_ref().err().map(|error| format!("{taken:?}: {error:#}")));
        wrong.extend(filled[index].as_ref().err().map(|error| format!("{taken:?}, afterwards: {error:#}")));
    }
    anyhow::ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
