//! What is interrupted and cannot go on: the attempt says why and what was paid, and a later one begins again.

use anyhow::{Context as _, Result, ensure};
use futures::future::{LocalBoxFuture, try_join_all};
use kube::api::{Patch, PatchParams};
use populator_crd::v1alpha1::{FailureClass, SourceType};
use populator_crd::{VMDiskImage, VMDiskImageSpec};
use serde_json::json;
use vmdisk_e2e::servers::Fault;
use vmdisk_e2e::testing::files::{self, Server};
use vmdisk_e2e::testing::worker::Worker;
use vmdisk_e2e::testing::{Scene, bed, objects, s3, scenario};

use crate::broken::{LOST, MIDDLE, Served, broken, paid, patterned, status};
use crate::judge::{SOON, Told, fails, start_again};

const DENIED: Told<'_> = Told {
    class: FailureClass::Denied,
    reason: "Unauthorized",
    event: "SourceDenied",
    names: &["answered 403", "check secretRef"],
};

const fn retried<'a>(reason: &'a str, names: &'a [&'a str]) -> Told<'a> {
    Told { class: FailureClass::Transient, reason, event: "SyncRetrying", names }
}

#[tokio::test]
async fn what_ends_the_attempt_says_why_and_what_was_paid() {
    scenario("failures", async |scene| {
        let disk = patterned(2);
        // On the heap: all of them are more than a test's stack takes.
        let claims: [LocalBoxFuture<'_, Result<()>>; 6] = [
            Box::pin(replaced(scene, &disk)),
            Box::pin(unpatchable(scene, &disk)),
            Box::pin(session(scene, &disk)),
            Box::pin(presigned(scene, &disk)),
            Box::pin(patient(scene, &disk)),
            Box::pin(killed(scene, &disk)),
        ];
        try_join_all(claims).await.map(drop)
    })
    .await;
}

/// The object is another one after the break: nothing of the two is put together.
async fn replaced(scene: &Scene, disk: &[u8]) -> Result<()> {
    let served = Served::file(scene, "replaced", &patterned(3), &broken()).await?;
    let changes = async {
        served.server.until_held(&served.path, SOON).await?;
        files::publish(scene, "replaced.img", disk)?;
        served.breaks(&Fault::default()).await
    };
    let image = objects::image("replaced", &served.url);
    let told = retried("SourceChanged", &["/replaced.img", "412"]);
    tokio::try_join!(fails(scene, image, &told), changes)?;
    let before = served.is_paid_to_the_middle(scene, "replaced").await?;
    start_again(scene, "replaced").await?;
    served.is_paid_again(scene, "replaced", disk, before).await
}

/// A server without ranges that breaks at every request.
async fn unpatchable(scene: &Scene, disk: &[u8]) -> Result<()> {
    let fault = Fault { no_ranges: true, cut_at: Some(MIDDLE), ..Fault::default() };
    let served = Served::file(scene, "unpatchable", disk, &fault).await?;
    let image = objects::image("unpatchable", &served.url);
    fails(scene, image, &retried("Connection", &["knows no ranges", "twice over"])).await?;
    let status = status(scene, "unpatchable").await?;
    let (paid, count) = (paid(&status), served.count().await?);
    // The third answer was not taken any more: what of it was on its way when the worker hung up is lost.
    let sent: u64 = count.log.iter().take(2).map(|seen| seen.bytes).sum();
    ensure!(sent == 2 * MIDDLE && count.requests == 3, "{} bytes were sent: {:?}", count.bytes, count.log);
    ensure!((sent - 2 * LOST..=sent).contains(&paid), "the sync says {status:?}");
    Ok(())
}

/// The session of the keys in the Secret is over, and nothing here could make another.
async fn session(scene: &Scene, disk: &[u8]) -> Result<()> {
    let (bucket, key) = ("failures", format!("{}/session.img", scene.namespace));
    s3::put(bucket, &key, disk.to_vec()).await?;
    let (id, secret) = (bed::variable("S3_ACCESS_KEY")?, bed::variable("S3_SECRET_KEY")?);
    scene.create(&objects::secret("session", &[("accessKeyId", &id), ("secretKey", &secret)])).await?;
    scene.create(&objects::ca()?).await?;
    let path = format!("/{bucket}/{key}");
    let url = format!("{}{path}", bed::variable("S3_ENDPOINT")?.trim_end_matches('/'));
    let served = Served { server: Server::s3()?, path, url };
    served.server.set(&served.path, &broken()).await?;
    let spec = VMDiskImageSpec {
        url: Some(served.url.clone()),
        source_type: Some(SourceType::S3),
        region: Some(s3::REGION.to_owned()),
        secret_ref: Some("session".to_owned()),
        cert_config_map: Some(objects::CA_CONFIG_MAP.to_owned()),
        ..VMDiskImageSpec::default()
    };
    let refused = Fault { status: Some(403), ..Fault::default() };
    tokio::try_join!(fails(scene, VMDiskImage::new("session", spec), &DENIED), served.breaks(&refused))?;
    let before = served.is_paid_to_the_middle(scene, "session").await?;
    served.server.heal(&served.path).await?;
    start_again(scene, "session").await?;
    served.is_paid_again(scene, "session", disk, before).await
}

/// A presigned URL expires that is the image's own: whoever made it makes another.
async fn presigned(scene: &Scene, disk: &[u8]) -> Result<()> {
    let served = Served::file(scene, "presigned", disk, &broken()).await?;
    let signed = |signature: u8| format!("{}?X-Amz-Signature={signature}", served.url);
    let mut image = objects::image("presigned", &signed(1));
    image.spec.source_type = Some(SourceType::S3);
    let refused = Fault { status: Some(403), ..Fault::default() };
    let (failure, ()) = tokio::try_join!(fails(scene, image, &DENIED), served.breaks(&refused))?;
    ensure!(!failure.message.contains("X-Amz"), "the message holds the signature: {failure:?}");
    let before = served.is_paid_to_the_middle(scene, "presigned").await?;
    served.server.heal(&served.path).await?;
    let patch = Patch::Merge(json!({"spec": {"url": signed(2)}}));
    scene.api::<VMDiskImage>().patch("presigned", &PatchParams::default(), &patch).await?;
    served.is_paid_again(scene, "presigned", disk, before).await
}

/// A server that asks for more patience than an attempt has: the sync waits as long, and costs nothing.
async fn patient(scene: &Scene, disk: &[u8]) -> Result<()> {
    let busy = Fault { status: Some(429), retry_after: Some("1800".to_owned()), ..Fault::default() };
    let served = Served::file(scene, "patient", disk, &busy).await?;
    let failure = fails(scene, objects::image("patient", &served.url), &retried("Throttled", &["429"])).await?;
    let status = status(scene, "patient").await?;
    let next = status.not_before.as_ref().context("it is tried again")?;
    let wait = next.0.duration_since(failure.time.0).as_secs();
    // The record's times are whole seconds.
    ensure!((1799..=1801).contains(&wait), "tried again after {wait} s: {status:?}");
    let count = served.count().await?;
    ensure!(count.requests == 1 && count.bytes == 0, "asked again: {:?}", count.log);
    Ok(())
}

/// The worker is killed, before there is anything that another could go on with: it has said what it paid.
async fn killed(scene: &Scene, disk: &[u8]) -> Result<()> {
    let served = Served::file(scene, "killed", disk, &broken()).await?;
    let kills = async {
        served.server.until_held(&served.path, SOON).await?;
        let worker = Worker::of(scene, "killed", SOON).await?;
        worker.says(SOON, |word| word.bytes_fetched == MIDDLE).await?;
        worker.kill()?;
        served.server.heal(&served.path).await
    };
    let told = retried("WorkerKilled", &["the worker was killed", "exit code 137", "workerResources"]);
    tokio::try_join!(fails(scene, objects::image("killed", &served.url), &told), kills)?;
    let before = served.is_paid_to_the_middle(scene, "killed").await?;
    start_again(scene, "killed").await?;
    served.is_paid_again(scene, "killed", disk, before).await
}
