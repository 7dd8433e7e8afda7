//! Transfers that a server breaks in the middle, and the two accounts of what they cost: the server's, and the sync's.

use anyhow::{Context as _, Result, ensure};
use populator_crd::{VMDiskImage, VMDiskSyncStatus};
use vmdisk_e2e::servers::{Count, Fault};
use vmdisk_e2e::testing::files::{self, Server};
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::{Scene, syncs};

use crate::judge::{SOON, heals, warnings};

/// The size of every disk here.
pub(crate) const SIZE: u64 = 8 << 20;
/// Behind the first bytes, by which a worker decides, and before the end; not where one range follows another.
pub(crate) const MIDDLE: u64 = 5 << 20;
/// What a server has handed to the network when a connection breaks, and the worker may not have got.
pub(crate) const LOST: u64 = 1 << 20;

/// Breaks the connection in the middle, as soon as the test has said what is to follow.
pub(crate) fn broken() -> Fault {
    Fault { hold_at: Some(MIDDLE), cut_at: Some(MIDDLE), ..Fault::default() }
}

/// A disk without two like mebibytes, so that a piece in the wrong place is seen; each seed gives another.
pub(crate) fn patterned(seed: u64) -> Vec<u8> {
    (0..SIZE / 8).flat_map(|word| (word | 1 << 63 | seed << 32).to_be_bytes()).collect()
}

/// What is served at one path.
pub(crate) struct Served {
    pub(crate) server: Server,
    pub(crate) path: String,
    /// Its URL without TLS.
    pub(crate) url: String,
}

impl Served {
    /// A disk on the HTTP server.
    pub(crate) async fn file(scene: &Scene, name: &str, disk: &[u8], fault: &Fault) -> Result<Self> {
        let published = files::publish(scene, &format!("{name}.img"), disk)?;
        let server = Server::files()?;
        server.set(&published.path, fault).await?;
        Ok(Self { server, path: published.path, url: published.url })
    }

    /// Breaks the transfer that [`broken`] holds; the server does this from then on.
    pub(crate) async fn breaks(&self, then: &Fault) -> Result<()> {
        self.server.until_held(&self.path, SOON).await?;
        self.server.set(&self.path, then).await
    }

    pub(crate) async fn count(&self) -> Result<Count> {
        self.server.count(&self.path).await
    }

    /// The claim of this name holds the disk after one attempt, in which each byte was paid once.
    pub(crate) async fn is_paid_once(&self, scene: &Scene, claim: &str, disk: &[u8]) -> Result<Count> {
        let paid = goes_on(scene, claim, disk).await?;
        let count = self.count().await?;
        ensure!(paid == SIZE, "{claim}: the sync says that {paid} bytes were paid: {:?}", count.log);
        ensure!(count.bytes <= SIZE + LOST, "{claim}: {} bytes were sent: {:?}", count.bytes, count.log);
        Ok(count)
    }

    /// The attempt that was broken has paid for what came before that, and the sync says so. Gives what was sent.
    pub(crate) async fn is_paid_to_the_middle(&self, scene: &Scene, claim: &str) -> Result<u64> {
        let status = status(scene, claim).await?;
        let (paid, count) = (paid(&status), self.count().await?);
        let sent = MIDDLE..=MIDDLE + LOST;
        ensure!(sent.contains(&count.bytes), "{claim}: {} bytes were sent: {:?}", count.bytes, count.log);
        ensure!(status.attempt == 1 && (MIDDLE - LOST..=MIDDLE).contains(&paid), "{claim}: the sync says {status:?}");
        Ok(count.bytes)
    }

    /// The claim holds the disk by a second attempt, which began again, and paid for all of it; so much was sent before.
    pub(crate) async fn is_paid_again(&self, scene: &Scene, claim: &str, disk: &[u8], before: u64) -> Result<()> {
        heals(scene, claim, disk).await?;
        let count = self.count().await?;
        ensure!(count.bytes == before + SIZE, "{claim}: {} bytes were sent: {:?}", count.bytes, count.log);
        let paid = paid(&status(scene, claim).await?);
        ensure!(paid == SIZE, "{claim}: the sync says that the second attempt paid {paid} bytes");
        Ok(())
    }
}

/// Creates an image and a claim for it, both of the image's name.
pub(crate) async fn claim(scene: &Scene, image: &VMDiskImage) -> Result<()> {
    let name = image.metadata.name.as_deref().context("an image has a name")?;
    scene.create(image).await?;
    scene.create(&objects::claim(name, name, "64Mi", Mode::Filesystem)?).await.map(drop)
}

/// The claim holds the disk after one attempt, of which nobody was warned. Gives what its sync says was paid.
pub(crate) async fn goes_on(scene: &Scene, claim: &str, disk: &[u8]) -> Result<u64> {
    heals(scene, claim, disk).await?;
    let status = status(scene, claim).await?;
    let failed = (status.interruptions, &status.last_failure) != (0, &None);
    ensure!(!failed, "{claim}: there was a failure: {status:?}");
    let warnings = warnings(scene, claim).await?;
    ensure!(warnings.is_empty(), "{claim}: there were {warnings:?}");
    Ok(paid(&status))
}

/// What a sync says was paid by its last attempt.
pub(crate) fn paid(status: &VMDiskSyncStatus) -> u64 {
    let fetched = status.progress.as_ref().map(|progress| progress.bytes_fetched);
    fetched.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default()
}

pub(crate) async fn status(scene: &Scene, claim: &str) -> Result<VMDiskSyncStatus> {
    syncs::status_of(scene, claim).await?.with_context(|| format!("{claim} has a sync"))
}
