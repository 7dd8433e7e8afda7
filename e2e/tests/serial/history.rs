//! Records of claims that are gone are forgotten after `syncHistory`, and not before.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use populator_crd::VMDiskSync;
use vmdisk_e2e::servers::Fault;
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::{Scene, scenario, until};

use crate::disk::Disk;
use crate::operator::kill_leader;
use crate::policy::Policy;

const SOON: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_record_outlives_its_claim_for_as_long_as_the_policy_says() {
    scenario("history", async |scene| {
        let disk = Disk::publish(scene, "claim", Fault::default()).await?;
        scene.create(&objects::claim("claim", "claim", "64Mi", Mode::Filesystem)?).await?;
        disk.judge(scene).await?;
        let syncs = scene.api::<VMDiskSync>();
        let sync = syncs.list(&ListParams::default()).await?.items.pop().context("there is a sync")?.name_any();
        scene.delete::<PersistentVolumeClaim>("claim", SOON).await?;
        ensure!(syncs.get_opt(&sync).await?.is_some(), "the record went with the claim");
        let short = [("syncHistory", "1s")];
        Policy::during(&scene.bed.client, &short, async |_| forgotten(scene, &syncs, &sync).await).await
    })
    .await;
}

/// As often as the history is long, also after a restart.
async fn forgotten(scene: &Scene, syncs: &Api<VMDiskSync>, sync: &str) -> Result<()> {
    kill_leader(&scene.bed.client).await?;
    until::gone(syncs, sync, SOON).await
}
