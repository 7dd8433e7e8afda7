//! What fails heals by itself once its cause is gone, at the intervals of the policy: nobody deletes anything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt as _;
use kube::api::{ObjectMeta, Patch, PatchParams};
use populator_crd::v1alpha1::{FailureClass, SyncPhase};
use populator_crd::{VMDiskImage, VMDiskSync, VMDiskSyncStatus};
use serde_json::json;
use vmdisk_e2e::servers::{Auth, Fault};
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::{Scene, scenario, syncs, until};

use crate::disk::Disk;
use crate::policy::Policy;

const SOON: Duration = Duration::from_mins(2);

#[tokio::test]
async fn what_failed_heals_by_itself_and_a_limit_is_a_limit() {
    scenario("healing", async |scene| {
        let quick = [
            ("retryBackoffDuration", "1s"),
            ("retryBackoffMax", "2s"),
            ("missingRetryInterval", "1s"),
            ("deniedRetryInterval", "1s"),
        ];
        Policy::during(&scene.bed.client, &quick, async |_| {
            tokio::try_join!(missing(scene), denied(scene), busy(scene))?;
            refused(scene).await
        })
        .await
    })
    .await;
}

/// The object is uploaded after the claim was made.
async fn missing(scene: &Scene) -> Result<()> {
    let disk = Disk::publish(scene, "missing", Fault::default()).await?;
    let aside = disk.published.file.with_extension("aside");
    std::fs::rename(&disk.published.file, &aside)?;
    let sync = asked_again(scene, &disk, FailureClass::SourceMissing).await?;
    std::fs::rename(&aside, &disk.published.file)?;
    healed(scene, &disk, &sync).await
}

/// The Secret is created after the claim was made.
async fn denied(scene: &Scene) -> Result<()> {
    let auth = Some(Auth::Bearer("the-right-token".to_owned()));
    let disk = Disk::publish(scene, "denied", Fault { auth, ..Fault::default() }).await?;
    let patch = Patch::Merge(json!({"spec": {"secretRef": "token"}}));
    scene.api::<VMDiskImage>().patch("denied", &PatchParams::default(), &patch).await?;
    let sync = asked_again(scene, &disk, FailureClass::Denied).await?;
    scene.create(&objects::secret("token", &[("token", "the-right-token")])).await?;
    healed(scene, &disk, &sync).await
}

/// The quota is lifted after the claim was made.
async fn refused(scene: &Scene) -> Result<()> {
    let quota = ResourceQuota {
        metadata: ObjectMeta { name: Some("none".to_owned()), ..ObjectMeta::default() },
        spec: Some(ResourceQuotaSpec {
            hard: Some(BTreeMap::from([("pods".to_owned(), Quantity("0".to_owned()))])),
            ..ResourceQuotaSpec::default()
        }),
        ..ResourceQuota::default()
    };
    scene.create(&quota).await?;
    let counted = |quota: &ResourceQuota| quota.status.as_ref().is_some_and(|status| status.used.is_some());
    until::holds(&scene.api::<ResourceQuota>(), "none", "is counted", SOON, counted).await?;
    let disk = Disk::publish(scene, "refused", Fault::default()).await?;
    let sync = asked_again(scene, &disk, FailureClass::Transient).await?;
    scene.delete::<ResourceQuota>("none", SOON).await?;
    healed(scene, &disk, &sync).await
}

/// A server that is busy is asked as often as the policy says, and not once more.
async fn busy(scene: &Scene) -> Result<()> {
    // Longer than an attempt waits for it, so that each attempt is one request.
    let fault = Fault { status: Some(503), retry_after: Some("60".to_owned()), ..Fault::default() };
    let disk = Disk::publish(scene, "busy", fault).await?;
    claim(scene, &disk).await?;
    let given_up = until_status(scene, &disk, "is given up", |status| status.phase == Some(SyncPhase::Failed)).await?;
    let status = given_up.status.unwrap_or_default();
    ensure!(status.attempt == 3, "a first attempt and two retries: {status:?}");
    let count = disk.count().await?;
    ensure!(count.requests == 3, "three attempts asked {} times: {:?}", count.requests, count.log);
    Ok(())
}

/// Makes a claim that fails in this class, more often than `retryLimit` allows what counts, and gives its sync. A source
/// that is only asked whether it can be had makes no new attempt, but a new failure.
async fn asked_again(scene: &Scene, disk: &Disk, class: FailureClass) -> Result<VMDiskSync> {
    claim(scene, disk).await?;
    let mut times = BTreeSet::new();
    until::probed(&format!("{} is asked for again", disk.name), SOON, async || {
        let sync = syncs::of(scene, &disk.name).await?;
        let failure = sync.as_ref().and_then(|sync| sync.status.as_ref()?.last_failure.clone());
        times.extend(failure.filter(|failure| failure.class == class).map(|failure| failure.time.0));
        Ok(sync.filter(|_| times.len() > 3))
    })
    .await
}

async fn claim(scene: &Scene, disk: &Disk) -> Result<()> {
    scene.create(&objects::claim(&disk.name, &disk.name, "64Mi", Mode::Filesystem)?).await.map(drop)
}

/// The claim holds the disk, and its sync is the one that failed before.
async fn healed(scene: &Scene, disk: &Disk, failed: &VMDiskSync) -> Result<()> {
    disk.judge(scene).await?;
    let sync = syncs::of(scene, &disk.name).await?.context("there is a sync")?;
    ensure!(sync.uid() == failed.uid(), "the sync was made again");
    let status = sync.status.unwrap_or_default();
    ensure!(status.interruptions == status.attempt - 1, "something counted against retryLimit: {status:?}");
    Ok(())
}

async fn until_status(
    scene: &Scene,
    disk: &Disk,
    what: &str,
    condition: impl Fn(&VMDiskSyncStatus) -> bool,
) -> Result<VMDiskSync> {
    until::probed(&format!("{} {what}", disk.name), SOON, async || {
        let sync = syncs::of(scene, &disk.name).await?;
        Ok(sync.filter(|sync| sync.status.as_ref().is_some_and(&condition)))
    })
    .await
}
