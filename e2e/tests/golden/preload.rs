//! From an image to a golden claim, and from there to other claims.

use anyhow::{Context as _, Result, ensure};
use populator_crd::v1alpha1::RouteKind;
use vmdisk_e2e::testing::objects::Mode;
use vmdisk_e2e::testing::{Scene, scenario};

use crate::lab::{Cut, Lab};

#[tokio::test]
async fn an_image_is_fetched_once_and_claims_are_cut_from_its_snapshot() {
    scenario("golden", async |scene| {
        let lab = Lab::open(scene, "vm", "STORAGE_CLASS_IMMEDIATE", Cut::Snapshot, Mode::Filesystem).await?;
        let golden = lab.preloaded().await?.context("the status names what claims are cut from")?;
        ensure!(golden.claim == "vm", "the golden claim is {}", golden.claim);
        let snapshot = golden.snapshot.as_deref().context("the status names the snapshot")?;
        ensure!(snapshot == format!("vm-{}", &golden.key[..8]), "the snapshot is {snapshot}");
        lab.holds_the_disk("vm").await?;
        lab.was_fetched(1).await?;

        let users = lab.users_snapshot().await?;
        ensure!(users.is_ready(), "the users' snapshot is not ready: {users:?}");

        let claims = [("one", "64Mi"), ("two", "64Mi"), ("larger", "96Mi")];
        for (claim, size) in claims {
            lab.claim(claim, "STORAGE_CLASS_IMMEDIATE", size).await?;
        }
        for (claim, _) in claims {
            lab.holds_the_disk(claim).await?;
            let (kind, from) = lab.route(claim).await?;
            ensure!(kind == RouteKind::Snapshot, "{claim} was filled by {kind:?}");
            ensure!(from.is_some_and(|from| from.name == snapshot), "{claim} was cut from something else");
        }
        lab.was_fetched(1).await
    })
    .await;
}

#[tokio::test]
async fn a_block_volume_that_waits_for_its_consumer_is_cut_as_well() {
    scenario("golden", async |scene| cut(scene, "STORAGE_CLASS_WFFC", Cut::Snapshot, Mode::Block).await).await;
}

#[tokio::test]
async fn a_class_that_clones_needs_no_snapshot() {
    scenario("golden", async |scene| cut(scene, "CLONE_CLASS", Cut::Clone, Mode::Filesystem).await).await;
}

async fn cut(scene: &Scene, class: &str, cut: Cut, mode: Mode) -> Result<()> {
    let lab = Lab::open(scene, "vm", class, cut, mode).await?;
    lab.preloaded().await?;
    lab.holds_the_disk("vm").await?;
    // In a class of the same driver; one that waits for its consumer would have to be given one.
    lab.claim("one", if cut == Cut::Clone { class } else { "STORAGE_CLASS_IMMEDIATE" }, "80Mi").await?;
    lab.holds_the_disk("one").await?;
    let expected = if cut == Cut::Clone { RouteKind::Clone } else { RouteKind::Snapshot };
    ensure!(lab.route("one").await?.0 == expected, "it was filled by {:?}", lab.route("one").await?);
    lab.was_fetched(1).await
}

#[tokio::test]
async fn without_snapshot_and_clone_the_golden_claim_is_filled_at_once() {
    scenario("golden", async |scene| {
        let lab = Lab::open(scene, "vm", "STORAGE_CLASS_IMMEDIATE", Cut::Not, Mode::Filesystem).await?;
        ensure!(lab.preloaded().await?.is_none(), "nothing is cut");
        lab.holds_the_disk("vm").await?;
        ensure!(lab.route("vm").await?.0 == RouteKind::Fetch, "it was filled by {:?}", lab.route("vm").await?);
        lab.was_fetched(1).await
    })
    .await;
}

#[tokio::test]
async fn a_new_version_serves_later_claims_and_leaves_earlier_ones_alone() {
    scenario("golden", async |scene| {
        let mut lab = Lab::open(scene, "vm", "STORAGE_CLASS_IMMEDIATE", Cut::Snapshot, Mode::Filesystem).await?;
        let first = lab.preloaded().await?.context("the status names what claims are cut from")?;
        lab.claim("early", "STORAGE_CLASS_IMMEDIATE", "64Mi").await?;
        lab.holds_the_disk("early").await?;

        let before = lab.moves_on().await?;
        let second = lab.preloaded().await?.context("the status names what claims are cut from")?;
        ensure!(first.key != second.key && first.snapshot != second.snapshot, "nothing has changed: {second:?}");
        lab.claim("late", "STORAGE_CLASS_IMMEDIATE", "64Mi").await?;
        lab.holds_the_disk("late").await?;
        for claim in ["early", "vm"] {
            before.holds_the_disk(claim).await?;
        }
        let source = lab.users_snapshot().await?.spec.source.persistent_volume_claim_name;
        ensure!(source.is_some() && source == second.snapshot, "the users' snapshot is of {source:?}");
        before.was_fetched(1).await?;
        lab.was_fetched(1).await
    })
    .await;
}
