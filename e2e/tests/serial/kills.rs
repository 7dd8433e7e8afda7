//! Workers that are killed at a byte that nobody chose. Their last word says what was paid; an uncompressed raw disk
//! goes on in the same volume, everything else begins again in another.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::ListParams;
use populator_crd::v1alpha1::FailureClass;
use populator_crd::{VMDiskSync, VMDiskSyncStatus};
use vmdisk_e2e::command::cmd;
use vmdisk_e2e::servers::{Count, Fault};
use vmdisk_e2e::testing::files::{self, Published, Server};
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::reader::{self, Expected};
use vmdisk_e2e::testing::tape::Tape;
use vmdisk_e2e::testing::volumes::Volumes;
use vmdisk_e2e::testing::worker::{Word, Worker};
use vmdisk_e2e::testing::{Scene, scenario, syncs, until};

use crate::policy::Policy;
use crate::random::Random;

const DEADLINE: Duration = Duration::from_mins(2);

/// So much of a raw disk is written before there is a record of it.
const RECORD: u64 = 16 << 20;
/// The size of every disk: there is a record of a raw one behind the middle.
const SIZE: usize = 40 << 20;
/// What a server has handed to the network when a worker is killed.
const LOST: u64 = 8 << 20;

/// How a worker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Killed,
    Evicted,
}

/// What is served, and how its first worker ends.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    mode: Mode,
    end: End,
    /// What makes the image from the disk; without it, the image is the disk.
    pack: Option<fn(&Path, &Path) -> Result<()>>,
}

impl Case {
    const fn killed(name: &'static str) -> Self {
        Self { name, mode: Mode::Filesystem, end: End::Killed, pack: None }
    }

    /// Whether a second worker goes on where the first one was.
    fn goes_on(&self) -> bool {
        self.pack.is_none()
    }
}

#[tokio::test]
async fn a_killed_worker_has_told_what_it_paid_and_a_raw_disk_goes_on() {
    scenario("kills", async |scene| {
        let random = Random::seeded()?;
        let keys = [("concurrency", "5"), ("retryBackoffDuration", "1s")];
        let outcome = Policy::during(&scene.bed.client, &keys, async |_| kills(scene, &random).await).await;
        outcome.with_context(|| random.again())
    })
    .await;
}

async fn kills(scene: &Scene, random: &Random) -> Result<()> {
    let cases = [
        Case::killed("raw"),
        Case { end: End::Evicted, ..Case::killed("evicted") },
        Case { pack: Some(to_qcow2), ..Case::killed("qcow2") },
        Case { pack: Some(to_gzip), ..Case::killed("gzip") },
        Case { mode: Mode::Block, ..Case::killed("block") },
    ];
    let volumes = Volumes::watch(&scene.bed).await?;
    let records = Tape::<VMDiskSync>::start(scene.api(), ListParams::default()).await?;
    let transfers =
        try_join_all(cases.iter().map(async |case| Transfer::of(scene, random, *case).await.context(case.name)))
            .await?;
    let records: Vec<VMDiskSync> = records.stop().await?.into_iter().map(|(sync, _)| sync).collect();
    let volumes = volumes.stop().await?;
    for transfer in &transfers {
        let name = transfer.case.name;
        let claim = scene.api::<PersistentVolumeClaim>().get(name).await?;
        let made = volumes.of(&claim)?;
        let expected = if transfer.case.goes_on() { 1 } else { 2 };
        ensure!(made.len() == expected, "{name}: the volumes {made:?} were made");
        let mut told =
            records.iter().filter(|sync| sync.spec.claim.name == name).filter_map(|sync| sync.status.as_ref());
        let failed = told.find(|status| status.last_failure.is_some()).context("a failure was recorded")?;
        transfer.judge_failure(failed).context(name)?;
        transfer.judge_rest(scene).await.context(name)?;
    }
    Ok(())
}

/// A transfer in two attempts.
struct Transfer {
    case: Case,
    /// The length of the image.
    size: u64,
    /// What the first worker had said when it ended.
    word: Word,
    /// The server's account then, and at the end.
    before: Count,
    after: Count,
}

impl Transfer {
    /// Fills a claim by two workers, of which the first ends in the middle.
    async fn of(scene: &Scene, random: &Random, case: Case) -> Result<Self> {
        let (published, expected) = publish(scene, case)?;
        let size = std::fs::metadata(&published.file)?.len();
        let first = if case.goes_on() { RECORD + (4 << 20) } else { 1 << 20 };
        let place = first + random.next() % (size - first - (1 << 20));
        let server = Server::files()?;
        server.set(&published.path, &Fault { hold_at: Some(place), ..Fault::default() }).await?;
        scene.create(&objects::image(case.name, &published.url)).await?;
        scene.create(&objects::claim(case.name, case.name, "64Mi", case.mode)?).await?;

        let worker = Worker::of(scene, case.name, DEADLINE).await?;
        server.until_held(&published.path, DEADLINE).await?;
        let word = worker
            .says(DEADLINE, |word| word.bytes_fetched >= place && word.resumable == case.goes_on())
            .await
            .with_context(|| format!("held at {place}"))?;
        let before = server.count(&published.path).await?;
        match case.end {
            End::Killed => worker.kill()?,
            End::Evicted => worker.evict(scene).await?,
        }
        // One that is told to stop takes what comes until it has stopped.
        until::probed("its end is recorded", DEADLINE, async || {
            Ok(syncs::status_of(scene, case.name).await?.and_then(|status| status.last_failure).map(drop))
        })
        .await?;
        server.heal(&published.path).await?;
        reader::holds(scene, case.name, case.mode, &expected, DEADLINE).await?;
        let after = server.count(&published.path).await?;
        Ok(Self { case, size, word, before, after })
    }

    /// The record of the first attempt says how it ended, and what was paid.
    fn judge_failure(&self, status: &VMDiskSyncStatus) -> Result<()> {
        let failure = status.last_failure.as_ref().context("it has failed")?;
        let (class, reason) = match self.case.end {
            End::Killed => (FailureClass::Transient, "WorkerKilled"),
            End::Evicted => (FailureClass::Interrupted, "Interrupted"),
        };
        ensure!((failure.class, failure.reason.as_str()) == (class, reason), "it failed with {failure:?}");
        ensure!(status.attempt == 1, "the first attempt failed: {status:?}");
        let paid = paid(status);
        let told = self.word.bytes_fetched..=self.before.bytes;
        ensure!(told.contains(&paid), "paid {told:?}, and the sync says {paid}");
        Ok(())
    }

    /// The second attempt paid for what the first had not kept, and for no more.
    async fn judge_rest(&self, scene: &Scene) -> Result<()> {
        let again = &self.after.log[self.before.log.len()..];
        let first = |range: &String| range.strip_prefix("bytes=")?.split_once('-')?.0.parse::<u64>().ok();
        let from = again.iter().filter_map(|seen| seen.range.as_ref().and_then(first)).min();
        let from = from.context("the second worker asked for ranges")?;
        if self.case.goes_on() {
            ensure!(from >= RECORD, "went on at {from} only: {again:?}");
        } else {
            ensure!(from == 0, "began again at {from}: {again:?}");
        }
        let sent: u64 = again.iter().map(|seen| seen.bytes).sum();
        ensure!(sent <= self.size - from + LOST, "{sent} bytes were sent from {from} on: {again:?}");
        let status = syncs::status_of(scene, self.case.name).await?.context("there is a sync")?;
        let paid = paid(&status);
        ensure!(status.attempt == 2 && paid == self.size - from, "{paid} bytes from {from} on: {status:?}");
        Ok(())
    }
}

/// Publishes random bytes as the case wants them; gives beside it what a claim must hold.
fn publish(scene: &Scene, case: Case) -> Result<(Published, Expected)> {
    let (disk, expected) = files::publish_random(scene, &format!("{}.img", case.name), SIZE)?;
    let Some(pack) = case.pack else { return Ok((disk, expected)) };
    let image = files::place(scene, case.name)?;
    pack(&disk.file, &image.file)?;
    Ok((image, expected))
}

fn to_qcow2(disk: &Path, image: &Path) -> Result<()> {
    cmd("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).arg(disk).arg(image).run()
}

fn to_gzip(disk: &Path, image: &Path) -> Result<()> {
    cmd("sh").args(["-c", "gzip -1 < \"$0\" > \"$1\""]).arg(disk).arg(image).run()
}

/// What a sync says was paid by its last attempt.
fn paid(status: &VMDiskSyncStatus) -> u64 {
    let fetched = status.progress.as_ref().map(|progress| progress.bytes_fetched);
    fetched.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default()
}
