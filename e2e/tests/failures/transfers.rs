//! Connections that break, objects that change, and bytes that are not all there.

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use populator_crd::v1alpha1::FailureClass;
use sha2::{Digest as _, Sha256};
use vmdisk_e2e::cache::hex;
use vmdisk_e2e::servers::Fault;
use vmdisk_e2e::testing::files::{self, Server};
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::{Scene, scenario};

use crate::judge::{Told, fails, heals, raw, warned};

const SIZE: usize = 8 << 20;
/// Behind the first bytes that say what an image is, and before its end.
const MIDDLE: u64 = 3 << 18;

/// What a server has handed to the network when it breaks the connection, and the worker may not have got.
const SENT_FOR_NOTHING: u64 = 1 << 20;

#[tokio::test]
async fn what_breaks_and_can_be_resumed_costs_one_attempt() {
    scenario("failures", async |scene| {
        let disk = patterned();
        // At the first request; at every one that comes by; by a server that sent all at first, whatever was asked.
        let once = Fault { times: Some(1), cut_at: Some(MIDDLE), ..Fault::default() };
        let always = Fault { cut_at: Some(MIDDLE), ..Fault::default() };
        let stubborn = Fault { times: Some(1), no_ranges: true, cut_at: Some(MIDDLE), ..Fault::default() };
        let faults = [("once", once), ("always", always), ("stubborn", stubborn)];
        try_join_all(faults.iter().map(|(name, fault)| served(scene, name, &disk, fault))).await?;
        try_join_all(faults.iter().map(|(name, _)| heals(scene, name, &disk))).await?;
        for (name, _) in &faults {
            let count = Server::files()?.count(&files::place(scene, &format!("{name}.img"))?.path).await?;
            ensure!(count.bytes <= SIZE as u64 + SENT_FOR_NOTHING, "{name}: paid more than once: {:?}", count.log);
            // What a connection had sent when it was reset may be lost on its way.
            let from_the_middle = |range: &str| {
                let from = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')?.0.parse().ok());
                from.is_some_and(|from: u64| (1..=MIDDLE).contains(&from))
            };
            let resumed = count.log.iter().filter_map(|seen| seen.range.as_deref()).any(from_the_middle);
            ensure!(resumed, "{name}: not resumed: {:?}", count.log);
            for resumed in &count.log[1..] {
                let named = resumed.precondition.as_ref().zip(resumed.range.as_ref());
                ensure!(resumed.status == 206 && named.is_some(), "{name}: not resumed: {resumed:?}");
            }
        }
        Ok(())
    })
    .await;
}

/// Serves a disk under a fault, with an image and a claim for it.
async fn served(scene: &Scene, name: &str, disk: &[u8], fault: &Fault) -> Result<()> {
    let published = files::publish(scene, &format!("{name}.img"), disk)?;
    Server::files()?.set(&published.path, fault).await?;
    scene.create(&objects::image(name, &published.url)).await?;
    scene.create(&objects::claim(name, name, "64Mi", Mode::Filesystem)?).await?;
    Ok(())
}

#[tokio::test]
async fn what_breaks_and_cannot_be_resumed_is_tried_again_later() {
    scenario("failures", async |scene| {
        let cut = Fault { cut_at: Some(MIDDLE), ..Fault::default() };
        let cases = [
            // A body that never begins.
            ("mute", Fault { cut_at: Some(0), ..Fault::default() }, "Connection", ["no connection to", "retried"]),
            // Another version at each request: what was fetched belongs to none of them.
            ("changing", Fault { changing_etag: true, ..cut.clone() }, "SourceChanged", ["/changing.img", "retried"]),
            // Nothing says that what follows would be of the same version.
            (
                "nameless",
                Fault { no_validators: true, ..cut.clone() },
                "Connection",
                ["strong ETag", "cannot be resumed"],
            ),
        ];
        try_join_all(cases.iter().map(async |(name, fault, reason, [first, second])| {
            let published = files::publish(scene, &format!("{name}.img"), &patterned())?;
            Server::files()?.set(&published.path, fault).await?;
            let told = Told { class: FailureClass::Transient, reason, event: "SyncRetrying", names: &[first] };
            let failure = fails(scene, objects::image(name, &published.url), &told).await?;
            warned(scene, name, "SyncRetrying", &[&failure.message, second]).await
        }))
        .await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn bytes_that_are_not_those_expected_are_final() {
    scenario("failures", async |scene| {
        let right = sha256(&raw(1 << 20));
        let wrong = format!("sha256:{}", "0".repeat(64));
        // Without ranges, nothing but the length says how much there is.
        let short = Fault { truncate_at: Some(1 << 19), no_ranges: true, ..Fault::default() };
        let cases = [("other", &wrong, Fault::default()), ("short", &right, short)];
        try_join_all(cases.iter().map(async |(name, checksum, fault)| {
            let published = files::publish(scene, &format!("{name}.img"), &raw(1 << 20))?;
            Server::files()?.set(&published.path, fault).await?;
            let mut image = objects::image(name, &published.url);
            image.spec.checksum = Some((*checksum).clone());
            let told = Told {
                class: FailureClass::Final,
                reason: "DigestMismatch",
                event: "VerificationFailed",
                names: &[checksum],
            };
            fails(scene, image, &told).await
        }))
        .await?;
        Ok(())
    })
    .await;
}

/// A disk without two like mebibytes, so that a piece in the wrong place is seen.
fn patterned() -> Vec<u8> {
    (0..SIZE / 8).flat_map(|word| (word as u64 | 1 << 63).to_be_bytes()).collect()
}

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}
