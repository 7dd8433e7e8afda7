//! A policy that cannot be read, and of which no last good value is known, admits nothing new, also after a restart; what
//! runs goes on. A policy of which one is known is still in force after a restart.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Event};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use populator_crd::v1alpha1::SyncPhase;
use vmdisk_e2e::servers::Fault;
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::{Scene, bed, events, scenario, syncs, until};

use crate::disk::Disk;
use crate::operator::kill_leader;
use crate::policy::{self, Policy};

const SOON: Duration = Duration::from_mins(1);
const DEADLINE: Duration = Duration::from_mins(2);
const BROKEN: &str = "example.org without a scheme";

#[tokio::test]
async fn a_policy_of_which_nothing_good_is_known_admits_nobody_until_it_is_mended() {
    scenario("closed", async |scene| {
        Policy::during(&scene.bed.client, &[], async |policy| closed(scene, policy).await).await
    })
    .await;
}

async fn closed(scene: &Scene, policy: &Policy) -> Result<()> {
    let client = &scene.bed.client;
    let runs = Disk::publish(scene, "runs", Fault::stalling()).await?;
    scene.create(&objects::claim("runs", "runs", "64Mi", Mode::Filesystem)?).await?;
    runs.server.until_held(&runs.published.path, DEADLINE).await?;

    let before = told(client, "PolicyClosed").await?;
    policy.change(&[("allowedSources", BROKEN)]).await?;
    told_again(client, "PolicyClosed", before).await?;
    let before = told(client, "PolicyClosed").await?;
    kill_leader(client).await?;
    told_again(client, "PolicyClosed", before).await?;

    let waits = Disk::publish(scene, "waits", Fault::default()).await?;
    let claim = scene.create(&objects::claim("waits", "waits", "64Mi", Mode::Filesystem)?).await?;
    events::warned(scene, &claim, "SourceNotAllowed", &["allowedSources"], SOON).await?;
    runs.server.release(&runs.published.path).await?;
    runs.judge(scene).await.context("what ran when the policy was closed")?;
    untouched(scene, &waits).await?;

    // Sources can be told again; how many may run at once cannot.
    let sources = bed::variable("HTTP_URL")?;
    policy.change(&[("allowedSources", &sources), ("concurrency", "many")]).await?;
    until::probed("the claim is queued", SOON, async || {
        let status = syncs::status_of(scene, "waits").await?;
        Ok(status.filter(|status| status.phase == Some(SyncPhase::Queued)).map(drop))
    })
    .await?;
    untouched(scene, &waits).await?;

    policy.change(&[("allowedSources", &sources)]).await?;
    waits.judge(scene).await.context("the claim that waited, once the policy could be read")
}

/// Nobody has asked for this disk, and there is nothing to put it into.
async fn untouched(scene: &Scene, disk: &Disk) -> Result<()> {
    let count = disk.count().await?;
    ensure!(count.requests == 0, "a closed policy let {} requests for {} through", count.requests, disk.name);
    let phase = syncs::status_of(scene, &disk.name).await?.and_then(|status| status.phase);
    ensure!(matches!(phase, None | Some(SyncPhase::Queued)), "a closed policy admitted {}: {phase:?}", disk.name);
    Ok(())
}

#[tokio::test]
async fn the_last_good_policy_is_in_force_after_a_restart() {
    scenario("closed", async |scene| {
        let good = [("allowedSources", bed::variable("HTTP_URL")?)];
        let good = good.each_ref().map(|(key, value)| (*key, value.as_str()));
        Policy::during(&scene.bed.client, &good, async |policy| survives(scene, policy).await).await
    })
    .await;
}

async fn survives(scene: &Scene, policy: &Policy) -> Result<()> {
    let maps = Api::<ConfigMap>::namespaced(scene.bed.client.clone(), "sync-operator");
    let url = bed::variable("HTTP_URL")?;
    let recorded = |map: &ConfigMap| map.data.as_ref().and_then(|data| data.get("allowedSources")) == Some(&url);
    until::holds(&maps, "sync-operator-policy-in-force", "has the policy", SOON, recorded).await?;
    let client = &scene.bed.client;
    let before = told(client, "InvalidPolicy").await?;
    policy.change(&[("allowedSources", BROKEN)]).await?;
    told_again(client, "InvalidPolicy", before).await?;
    let before = told(client, "InvalidPolicy").await?;
    kill_leader(client).await?;
    told_again(client, "InvalidPolicy", before).await?;

    let allowed = Disk::publish(scene, "allowed", Fault::default()).await?;
    scene.create(&objects::image("forbidden", "https://images.example.org/disk.img")).await?;
    let forbidden = scene.create(&objects::claim("forbidden", "forbidden", "64Mi", Mode::Filesystem)?).await?;
    scene.create(&objects::claim("allowed", "allowed", "64Mi", Mode::Filesystem)?).await?;
    allowed.judge(scene).await.context("what the last good policy allows")?;
    let words = ["images.example.org", "allowedSources"];
    events::warned(scene, &forbidden, "SourceNotAllowed", &words, SOON).await.map(drop)
}

/// How many events on the policy as it is now have this reason and name its broken key.
async fn told(client: &Client, reason: &str) -> Result<usize> {
    let (maps, _) = policy::in_force(client);
    let uid = maps.get("sync-operator-policy").await?.uid().context("a stored policy has a UID")?;
    let events = Api::<Event>::namespaced(client.clone(), "sync-operator");
    let which = ListParams::default().fields(&format!("involvedObject.uid={uid},reason={reason}"));
    let found = events.list(&which).await?.items;
    Ok(found.iter().filter(|event| event.message.as_ref().is_some_and(|note| note.contains("allowedSources"))).count())
}

/// Waits for one more of these events: each leader tells what it finds.
async fn told_again(client: &Client, reason: &str, before: usize) -> Result<()> {
    let what = format!("the policy is told to be {reason}, beside {before} times before");
    until::probed(&what, SOON, async || Ok((told(client, reason).await? > before).then_some(()))).await
}
