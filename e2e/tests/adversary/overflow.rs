//! Values beyond every bound: in answers of servers, in archives, on claims. The attempt ends as it should and its
//! record says how, or the claim is told why not; nothing gets stuck in a write that the API server refuses for ever.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim};
use kube::ResourceExt as _;
use kube::api::ListParams;
use populator_crd::v1alpha1::{FailureClass, LastFailure, SyncPhase};
use populator_crd::{VMDiskSyncStatus, names};
use serde_json::json;
use vmdisk_e2e::command::cmd;
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::reader::{self, Expected};
use vmdisk_e2e::testing::rude::{Answer, Rude};
use vmdisk_e2e::testing::{Scene, files, scenario, syncs, until};

use crate::lair::{SOON, all};

const DISK: usize = 1 << 20;

/// How an attempt ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Filled,
    Fails(FailureClass),
    /// With the disk, or with a failure that the worker itself has a word for.
    Said,
}

fn disk() -> Vec<u8> {
    vec![7; DISK]
}

#[tokio::test]
async fn answers_of_servers() {
    let long = |count: usize| "x".repeat(count);
    let tag = |count: usize| format!("\"{}\"", long(count));
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": format!("sha256:{}", "0".repeat(64)), "size": 2},
        "layers": [],
    });
    let manifest = || Answer::of(manifest.to_string().into_bytes());
    let retry = |after: &str| Answer::refusal(503, 0).header("retry-after", after.to_owned());
    let rows = [
        ("tag", (Answer::of(disk()).header("etag", tag(600)), End::Filled)),
        ("longtag", (Answer::of(disk()).header("etag", tag(8000)), End::Said)),
        ("latin", (Answer::of(disk()).header("etag", format!("\"{}\"", "\u{e9}".repeat(300))), End::Filled)),
        ("type", (Answer::of(disk()).header("content-type", long(8000)), End::Filled)),
        ("headers", (Answer::of(disk()).header("x-amz-meta-long", long(60_000)), End::Said)),
        ("error", (Answer::refusal(500, 10 << 20), End::Fails(FailureClass::Transient))),
        ("missing", (Answer::refusal(404, 10 << 20), End::Fails(FailureClass::SourceMissing))),
        ("denied", (Answer::refusal(403, 10 << 20), End::Fails(FailureClass::Denied))),
        ("wish", (retry("18446744073709551615"), End::Fails(FailureClass::Transient))),
        ("date", (retry("Fri, 31 Dec 9999 23:59:59 GMT"), End::Fails(FailureClass::Transient))),
        ("redirect", (Answer::refusal(302, 0).header("location", format!("/{}", long(100_000))), End::Said)),
        (
            "realm",
            (
                Answer::refusal(401, 0).header("www-authenticate", format!("Bearer realm=\"{}\"", long(60_000))),
                End::Said,
            ),
        ),
        ("digest", (manifest().header("docker-content-digest", format!("sha256:{}", long(100_000))), End::Said)),
        ("media", (manifest().header("content-type", long(60_000)), End::Said)),
    ];
    scenario("overflow", async |scene| {
        let rude = Rude::start().await?;
        scene.create(&rude.trust()?).await?;
        all(&rows, async |name, (answer, end)| {
            let registry =
                answer.headers.iter().any(|(header, _)| *header == "docker-content-digest") || *name == *"media";
            let url = if registry {
                rude.answer(&format!("/v2/{name}/manifests/latest"), answer.clone());
                format!("docker://{}/{name}:latest", rude.address())
            } else {
                rude.answer(&format!("/{name}.img"), answer.clone())
            };
            scene.create(&objects::tls_image(name, &url)).await?;
            scene.create(&objects::claim(name, name, "16Mi", Mode::Filesystem)?).await?;
            judge(scene, name, *end).await
        })
        .await
    })
    .await;
}

async fn judge(scene: &Scene, name: &str, end: End) -> Result<()> {
    let status = until::probed(&format!("the record of {name} says how it ended"), SOON, async || {
        let status = syncs::status_of(scene, name).await?.unwrap_or_default();
        let over = matches!(status.phase, Some(SyncPhase::Succeeded | SyncPhase::Failed | SyncPhase::BackingOff));
        Ok(over.then_some(status))
    })
    .await?;
    let failure = status.last_failure.as_ref();
    match end {
        End::Filled => {
            ensure!(status.phase == Some(SyncPhase::Succeeded) && status.attempt == 1, "it failed: {status:?}");
            reader::holds(scene, name, Mode::Filesystem, &Expected::of(&disk()), SOON).await?;
        }
        End::Fails(class) => {
            ensure!(failure.is_some_and(|failure| failure.class == class), "expected {class:?}, not {status:?}");
        }
        End::Said => {
            let said = |failure: &LastFailure| !failure.message.is_empty() && failure.reason != "WorkerFailed";
            let good = status.phase == Some(SyncPhase::Succeeded) || failure.is_some_and(said);
            ensure!(good, "nothing was said of it: {status:?}");
        }
    }
    soon_enough(&status)?;
    // What is written on the claim is short, too.
    for event in warnings(scene, name).await? {
        let message = event.message.unwrap_or_default();
        ensure!(message.len() <= 1024, "an event has {} bytes: {message}", message.len());
    }
    Ok(())
}

/// A server's wish is honoured as far as the policy's own maximum goes: an hour.
fn soon_enough(status: &VMDiskSyncStatus) -> Result<()> {
    let (Some(failure), Some(before)) = (&status.last_failure, &status.not_before) else { return Ok(()) };
    let wait = before.0.duration_since(failure.time.0).unsigned_abs();
    // Jitter comes on top.
    ensure!(wait <= Duration::from_hours(2), "the next attempt is in {wait:?}");
    Ok(())
}

#[tokio::test]
async fn names_in_archives() {
    scenario("overflow", async |scene| {
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("disk.img"), disk())?;
        // GNU tar writes such a name as a member of its own; pax as a header.
        let rows = ["gnu", "pax"].map(|format| (format, ()));
        all(&rows, async |format, ()| {
            let archive = dir.path().join(format!("{format}.tar"));
            let long = format!("s,^disk,{}/disk,", "x".repeat(10 << 10));
            cmd("tar")
                .dir(dir.path())
                .args(["--create", &format!("--format={format}"), "--transform", &long, "--file"])
                .arg(&archive)
                .arg("disk.img")
                .run()?;
            let published = files::publish_file(scene, &format!("{format}.tar"), &archive)?;
            scene.create(&objects::image(format, &published.url)).await?;
            scene.create(&objects::claim(format, format, "16Mi", Mode::Filesystem)?).await?;
            judge(scene, format, End::Said).await
        })
        .await
    })
    .await;
}

/// As many annotations as a claim can carry, and the longest name.
#[tokio::test]
async fn claims_full_of_annotations() {
    scenario("overflow", async |scene| {
        let name = format!("{}.{}", "full".repeat(50), "name".repeat(13));
        let published = files::publish(scene, "disk.img", &disk())?;
        scene.create(&objects::image("image", &published.url)).await?;
        let mut claim = objects::claim(&name, "image", "16Mi", Mode::Filesystem)?;
        // All together at most 256 KiB, with a little room for the cluster's own.
        let noise = |number: usize| (format!("adversary.example/{number:03}"), "x".repeat(1000));
        claim.metadata.annotations = Some((0..250).map(noise).collect());
        scene.create(&claim).await?;
        judge(scene, &name, End::Filled).await
    })
    .await;
}

/// A claim that asks for what cannot be is told so, in words that an event can hold, and asks nobody else.
#[tokio::test]
async fn claims_that_name_what_cannot_be() {
    let at = |namespace: &str| (Some(namespace.to_owned()), "image".to_owned());
    let rows = [
        ("absent", at("no-such-namespace")),
        ("upper", at("No Such Namespace")),
        ("path", at("default/vmdiskimages/image")),
        ("dots", at("../../../api/v1/namespaces/kube-system/secrets")),
        ("query", at("default?watch=true")),
        ("line", at("default\nkube-system")),
        ("long", at(&"x".repeat(100 << 10))),
        ("name", (None, "x".repeat(100 << 10))),
        ("slash", (None, "../image".to_owned())),
    ];
    scenario("overflow", async |scene| {
        all(&rows, async |name, (namespace, image)| {
            let mut claim = objects::claim(name, image, "16Mi", Mode::Filesystem)?;
            claim.metadata.annotations =
                namespace.clone().map(|namespace| [(names::IMAGE_NAMESPACE_ANNOTATION.to_owned(), namespace)].into());
            // What the API server itself refuses is no attack.
            if let Err(refused) = scene.create(&claim).await {
                let refused = format!("{refused:#}");
                ensure!(refused.contains("Invalid") || refused.contains("invalid"), "{refused}");
                return Ok(());
            }
            let told = until::probed(&format!("{name} is told what is wrong"), SOON, async || {
                Ok(warnings(scene, name).await?.pop().and_then(|event| event.message))
            })
            .await?;
            ensure!(told.len() <= 1024, "it is told in {} bytes", told.len());
            ensure!(syncs::of(scene, name).await?.is_none(), "there is a record of it");
            Ok(())
        })
        .await?;
        // Whoever wrote them gets them away.
        let gone = join_all(rows.iter().map(async |(name, _)| {
            let api = scene.api::<PersistentVolumeClaim>();
            match api.get_metadata_opt(name).await? {
                Some(claim) => scene.delete::<PersistentVolumeClaim>(&claim.name_any(), SOON).await,
                None => Ok(()),
            }
        }))
        .await;
        gone.into_iter().collect::<Result<Vec<()>>>().context("a claim does not go").map(drop)
    })
    .await;
}

async fn warnings(scene: &Scene, claim: &str) -> Result<Vec<Event>> {
    let which = format!("involvedObject.kind=PersistentVolumeClaim,involvedObject.name={claim},type=Warning");
    Ok(scene.api::<Event>().list(&ListParams::default().fields(&which)).await?.items)
}
