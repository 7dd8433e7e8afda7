//! Claims that look like the victim's prime, or say that they belong to the victim, in the adversary's own namespace.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use populator_crd::{GROUP, names};
use serde_json::{Value, json};
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::machine::Hold;
use vmdisk_e2e::testing::class::Class;
use vmdisk_e2e::testing::forgery::{Mark, Owner, uuid};
use vmdisk_e2e::testing::tenant::Tenant;
use vmdisk_e2e::testing::victim::Victim;
use vmdisk_e2e::testing::{Scene, files, objects, until};

use crate::lair::{SOON, all, beside};

#[derive(Clone, Copy, Debug)]
enum Trick {
    /// It has the prime's name, and is held by a finalizer.
    Prime,
    /// The same, and the garbage collector tries to take it.
    CollectedPrime,
    /// It says that the victim's UID is that of a claim of the adversary's, which there is.
    LyingPrime,
    /// The same, of one that there is not.
    EmptyLie,
    /// A claim for an image of the adversary's, which says that it belongs to the victim.
    Dummy,
    /// A claim that asks for the victim's volume by its name.
    Grab,
}

impl Trick {
    async fn play(self, scene: &Scene, tenant: &Tenant, mark: &Mark) -> Result<()> {
        // A name that the admission policies let through, and no prime of anybody's.
        let other = names::prime(&uuid(u32::from_str_radix(&mark.claim_uid[..8], 16)?));
        match self {
            Self::Prime => bound(tenant, &mark.prime(Owner::Unresolved)?).await,
            Self::LyingPrime | Self::EmptyLie => {
                let lies = mark.lying(&tenant.namespace);
                if matches!(self, Self::LyingPrime) {
                    let another = objects::claim(&lies.name, "bait", "16Mi", objects::Mode::Filesystem)?;
                    // One for all the rows.
                    let made = tenant.api().create(&PostParams::default(), &another).await;
                    ensure!(!matches!(&made, Err(kube::Error::Api(status)) if status.code != 409), "{made:?}");
                }
                bound(tenant, &lies.prime(Owner::Unresolved)?).await
            }
            Self::CollectedPrime => {
                let claim = tenant.forge(&mark.prime(Owner::Sync)?).await?;
                let going = |claim: &PersistentVolumeClaim| claim.metadata.deletion_timestamp.is_some();
                let api = tenant.forged::<PersistentVolumeClaim>();
                until::holds(&api, &claim.name_any(), "is being collected", SOON, going).await.map(drop)
            }
            Self::Dummy => {
                let source = json!({"dataSourceRef": {"apiGroup": GROUP, "kind": "VMDiskImage", "name": "bait"}});
                tenant.forge(&mark.claim(&other, Owner::Unresolved, &source)?).await.map(drop)
            }
            Self::Grab => {
                let volume = volume_of(scene, mark).await?;
                tenant.forge(&mark.claim(&other, Owner::Nobody, &json!({"volumeName": volume}))?).await.map(drop)
            }
        }
    }
}

/// Forges a claim, and waits until it has a volume: an empty one.
async fn bound(tenant: &Tenant, claim: &PersistentVolumeClaim) -> Result<()> {
    let claim = tenant.forge(claim).await?;
    let api = tenant.forged::<PersistentVolumeClaim>();
    until::holds(&api, &claim.name_any(), "is bound", SOON, objects::is_bound).await.map(drop)
}

/// The volume of the victim's prime.
async fn volume_of(scene: &Scene, mark: &Mark) -> Result<String> {
    let prime = scene.api::<PersistentVolumeClaim>().get(&names::prime(&mark.claim_uid)).await?;
    prime.spec.and_then(|spec| spec.volume_name).context("the prime of a worker that runs has a volume")
}

/// The image that dummies are for.
async fn bait(scene: &Scene, tenant: &Tenant) -> Result<()> {
    let disk = files::publish(scene, "bait.img", &vec![7; 1 << 20])?;
    tenant.api().create(&PostParams::default(), &objects::image("bait", &disk.url)).await?;
    Ok(())
}

#[tokio::test]
async fn while_the_worker_runs() {
    let rows =
        [("prime", Trick::Prime), ("collected", Trick::CollectedPrime), ("dummy", Trick::Dummy), ("grab", Trick::Grab)];
    beside("claims", async |scene, tenant| {
        bait(scene, tenant).await?;
        all(&rows, async |name, trick| {
            let victim = Victim::filling(scene, name).await?;
            trick.play(scene, tenant, &victim.mark().await?).await?;
            victim.noticed().await?;
            victim.unharmed().await
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn before_there_is_a_volume() {
    let rows = [("prime", Trick::Prime), ("dummy", Trick::Dummy)];
    beside("claims", async |scene, tenant| {
        bait(scene, tenant).await?;
        let class = Class::held(scene).await?;
        let hold = Hold::new(&Instance::current()?, &scene.namespace)?;
        let attacked = async {
            let mut victims = Vec::new();
            for (name, trick) in rows {
                let victim = Victim::plan(scene, name, false).await?;
                victim.image().await?;
                victim.claim_in(&class.name).await?;
                trick.play(scene, tenant, &victim.mark().await?).await?;
                victim.noticed().await?;
                victims.push(victim);
            }
            drop(hold);
            for victim in victims {
                let name = victim.name.clone();
                victim.unharmed().await.context(name)?;
            }
            anyhow::Ok(())
        }
        .await;
        class.delete().await?;
        attacked
    })
    .await;
}

#[tokio::test]
async fn before_there_is_a_sync() {
    let rows = [("prime", Trick::Prime), ("dummy", Trick::Dummy), ("lying", Trick::LyingPrime)];
    beside("claims", async |scene, tenant| {
        bait(scene, tenant).await?;
        all(&rows, async |name, trick| {
            let victim = Victim::plan(scene, name, false).await?;
            victim.claim().await?;
            trick.play(scene, tenant, &victim.mark_of_claim().await?).await?;
            victim.noticed().await?;
            victim.image().await?;
            victim.unharmed().await
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn after_the_claim_is_filled() {
    let rows = [("prime", Trick::Prime), ("dummy", Trick::Dummy), ("empty-lie", Trick::EmptyLie)];
    beside("claims", async |scene, tenant| {
        bait(scene, tenant).await?;
        all(&rows, async |name, trick| {
            let victim = Victim::filled(scene, name).await?;
            let before = (victim.status().await?, victim.object().await?.spec, volume(scene, &victim).await?);
            trick.play(scene, tenant, &victim.mark().await?).await?;
            victim.noticed().await?;
            let after = (victim.status().await?, victim.object().await?.spec, volume(scene, &victim).await?);
            ensure!(before == after, "what was filled changed from {before:?} to {after:?}");
            victim.unharmed().await
        })
        .await
    })
    .await;
}

/// What the volume of a filled claim says of whom it belongs to and how it goes.
async fn volume(scene: &Scene, victim: &Victim) -> Result<Value> {
    let name = victim.object().await?.spec.and_then(|spec| spec.volume_name).context("a filled claim is bound")?;
    let volume = Api::<PersistentVolume>::all(scene.bed.client.clone()).get(&name).await?;
    Ok(json!({"labels": volume.metadata.labels, "annotations": volume.metadata.annotations, "spec": volume.spec}))
}

/// A claim that says that it belongs to another is filled like any: what it says means nothing.
#[tokio::test]
async fn a_label_of_a_claims_own_changes_nothing_for_it() {
    beside("claims", async |scene, tenant| {
        bait(scene, tenant).await?;
        let victim = Victim::filled(scene, "other").await?;
        Trick::Dummy.play(scene, tenant, &victim.mark().await?).await?;
        let claims = tenant.api::<PersistentVolumeClaim>().list(&ListParams::default()).await?;
        let dummy = claims.iter().find(|claim| claim.labels().contains_key(names::CLAIM_UID_LABEL));
        let dummy = dummy.context("there is a dummy")?.name_any();
        let api = tenant.api::<PersistentVolumeClaim>();
        until::holds(&api, &dummy, "is bound", SOON, objects::is_bound).await?;
        victim.unharmed().await
    })
    .await;
}
