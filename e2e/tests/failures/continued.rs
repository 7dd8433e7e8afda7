//! What is interrupted and goes on in the same attempt: no byte is paid twice, and nobody need know.

use anyhow::{Result, ensure};
use futures::future::{LocalBoxFuture, try_join_all};
use serde_json::json;
use vmdisk_e2e::servers::{Auth, Count, Fault};
use vmdisk_e2e::testing::files::{self, Server};
use vmdisk_e2e::testing::registry::Repository;
use vmdisk_e2e::testing::{Scene, objects, scenario, until};

use crate::broken::{LOST, MIDDLE, SIZE, Served, broken, claim, goes_on, patterned};
use crate::judge::SOON;

/// Within the first range that a worker asks for.
const EARLY: u64 = 3 << 18;
/// How long a server asks a worker to wait.
const PAUSE_SECONDS: u64 = 2;

#[tokio::test]
async fn what_goes_on_in_the_same_attempt_pays_no_byte_twice() {
    scenario("failures", async |scene| {
        let disk = patterned(1);
        scene.create(&objects::ca()?).await?;
        // On the heap: all of them are more than a test's stack takes.
        let claims: [LocalBoxFuture<'_, Result<()>>; 7] = [
            Box::pin(stalled(scene, &disk)),
            Box::pin(short(scene, &disk)),
            Box::pin(throttled(scene, &disk)),
            Box::pin(overloaded(scene, &disk)),
            Box::pin(stubborn(scene, &disk)),
            Box::pin(moved(scene, &disk)),
            Box::pin(token(scene, &disk)),
        ];
        try_join_all(claims).await.map(drop)
    })
    .await;
}

/// A server that falls silent, and stays connected.
async fn stalled(scene: &Scene, disk: &[u8]) -> Result<()> {
    let fault = Fault { times: Some(1), hold_at: Some(EARLY), ..Fault::default() };
    let served = Served::file(scene, "stalled", disk, &fault).await?;
    claim(scene, &objects::image("stalled", &served.url)).await?;
    served.server.until_held(&served.path, SOON).await?;
    served.is_paid_once(scene, "stalled", disk).await.map(drop)
}

/// A body that ends too early, as if that were all.
async fn short(scene: &Scene, disk: &[u8]) -> Result<()> {
    let fault = Fault { times: Some(1), truncate_at: Some(EARLY), ..Fault::default() };
    let served = Served::file(scene, "short", disk, &fault).await?;
    claim(scene, &objects::image("short", &served.url)).await?;
    let count = served.is_paid_once(scene, "short", disk).await?;
    ensure!(count.bytes == SIZE, "{} bytes were sent: {:?}", count.bytes, count.log);
    Ok(())
}

/// A server that asks for patience.
async fn throttled(scene: &Scene, disk: &[u8]) -> Result<()> {
    let served = Served::file(scene, "throttled", disk, &broken()).await?;
    claim(scene, &objects::image("throttled", &served.url)).await?;
    let busy = Fault { status: Some(429), retry_after: Some(PAUSE_SECONDS.to_string()), ..Fault::default() };
    served.breaks(&busy).await?;
    let refused = |count: &Count| count.log.iter().any(|seen| seen.status == 429);
    until::probed("the worker is asked for patience", SOON, async || {
        Ok(Some(served.count().await?).filter(refused).map(drop))
    })
    .await?;
    served.server.heal(&served.path).await?;
    let count = served.is_paid_once(scene, "throttled", disk).await?;
    for pair in count.log.windows(2) {
        let pause = pair[1].at_ms - pair[0].at_ms;
        ensure!(pair[0].status != 429 || pause >= PAUSE_SECONDS * 1000, "back after {pause} ms: {:?}", count.log);
    }
    Ok(())
}

/// A server that fails for a while.
async fn overloaded(scene: &Scene, disk: &[u8]) -> Result<()> {
    let served = Served::file(scene, "overloaded", disk, &broken()).await?;
    claim(scene, &objects::image("overloaded", &served.url)).await?;
    served.breaks(&Fault { times: Some(3), status: Some(503), ..Fault::default() }).await?;
    let count = served.is_paid_once(scene, "overloaded", disk).await?;
    let refused = count.log.iter().filter(|seen| seen.status == 503).count();
    ensure!(refused == 3, "refused {refused} times: {:?}", count.log);
    Ok(())
}

/// A server that knows no ranges: the one case in which what came before the break is paid once more, and it is told.
async fn stubborn(scene: &Scene, disk: &[u8]) -> Result<()> {
    let fault = Fault { no_ranges: true, ..broken() };
    let served = Served::file(scene, "stubborn", disk, &fault).await?;
    claim(scene, &objects::image("stubborn", &served.url)).await?;
    served.breaks(&Fault { no_ranges: true, ..Fault::default() }).await?;
    let paid = goes_on(scene, "stubborn", disk).await?;
    let count = served.count().await?;
    ensure!(count.bytes == MIDDLE + SIZE, "{} bytes were sent: {:?}", count.bytes, count.log);
    let told = MIDDLE + SIZE - LOST..=MIDDLE + SIZE;
    ensure!(told.contains(&paid), "the sync says that {paid} bytes were paid: {:?}", count.log);
    Ok(())
}

/// The address that a redirect led to expires, as presigned ones do: the origin is asked for another.
async fn moved(scene: &Scene, disk: &[u8]) -> Result<()> {
    let served = Served::file(scene, "moved-first", disk, &broken()).await?;
    let (first, second) = (files::place(scene, "moved-first.img")?, files::place(scene, "moved-second.img")?);
    // The same file, so of the same version.
    std::fs::hard_link(&first.file, &second.file)?;
    let origin = files::place(scene, "moved.img")?;
    let to = |url: String| Fault { redirect: Some(url), ..Fault::default() };
    served.server.set(&origin.path, &to(first.tls_url)).await?;
    let mut image = objects::image("moved", &origin.url);
    image.spec.cert_config_map = Some(objects::CA_CONFIG_MAP.to_owned());
    claim(scene, &image).await?;
    served.server.until_held(&served.path, SOON).await?;
    served.server.set(&origin.path, &to(second.tls_url)).await?;
    served.breaks(&Fault { status: Some(403), ..Fault::default() }).await?;
    let paid = goes_on(scene, "moved", disk).await?;
    let (before, after) = (served.count().await?, served.server.count(&second.path).await?);
    let sent = before.bytes + after.bytes;
    ensure!(before.bytes == MIDDLE && sent <= SIZE + LOST, "{sent} bytes were sent: {before:?}, {after:?}");
    ensure!(paid == SIZE, "the sync says that {paid} bytes were paid: {before:?}, {after:?}");
    Ok(())
}

/// The registry's token expires: its token service is asked for another.
async fn token(scene: &Scene, disk: &[u8]) -> Result<()> {
    let work = tempfile::tempdir()?;
    let file = work.path().join("disk.img");
    std::fs::write(&file, disk)?;
    let repository = Repository::new(&format!("failures/{}", scene.namespace))?;
    let blob = repository.artifact("1", &file, "application/octet-stream").await?;
    let grant = |token: &str| files::publish(scene, "token", json!({"token": token}).to_string().as_bytes());
    let service = grant("one")?;
    let asks = |token: &str| Some(Auth::Token { token: token.to_owned(), realm: service.tls_url.clone() });
    let served = Served { server: Server::registry()?, path: blob, url: repository.url("1") };
    served.server.set(&served.path, &Fault { auth: asks("one"), ..broken() }).await?;
    claim(scene, &objects::tls_image("token", &served.url)).await?;
    served.server.until_held(&served.path, SOON).await?;
    grant("two")?;
    served.breaks(&Fault { auth: asks("two"), ..Fault::default() }).await?;
    served.is_paid_once(scene, "token", disk).await?;
    let asked = Server::files()?.count(&service.path).await?;
    ensure!(asked.requests == 2, "the token service was asked {} times: {:?}", asked.requests, asked.log);
    Ok(())
}
