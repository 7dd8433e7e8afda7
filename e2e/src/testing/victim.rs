//! A claim that is filled while an adversary is at work; and the judge of whether it was harmed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use populator_crd::v1alpha1::SyncPhase;
use populator_crd::{VMDiskSync, VMDiskSyncStatus};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::files::{self, Published, Server};
use super::forgery::Mark;
use super::objects::{self, Mode};
use super::reader::{self, Expected};
use super::tape::Tape;
use super::{Scene, bed, events, until};
use crate::servers::{Count, Fault};

/// The bytes of a victim's disk.
pub const SIZE: usize = 8 << 20;
/// What a worker may read beside the disk: its first bytes, to see what it is.
const PROBES: u64 = 1 << 20;
const DEADLINE: Duration = Duration::from_mins(2);

/// Victims that hold a permit of the operator's until their test lets them go: one less than the policy's concurrency,
/// so that whoever waits for another claim waits for no victim.
static STALLED: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(3));

/// A claim and its image, both in the scene's namespace.
pub struct Victim {
    scene: Scene,
    /// The name of claim and image.
    pub name: String,
    /// Where the disk is served.
    pub published: Published,
    expected: Expected,
    server: Server,
    tape: Tape<VMDiskSync>,
    stalled: Option<SemaphorePermit<'static>>,
}

impl Victim {
    /// Publishes a disk, which stalls behind its first bytes until [`Victim::release`] if `stalls`. There is neither an
    /// image nor a claim yet.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn plan(scene: &Scene, name: &str, stalls: bool) -> Result<Self> {
        let (published, expected) = files::publish_random(scene, &format!("{name}.img"), SIZE)?;
        let server = Server::files()?;
        if stalls {
            server.set(&published.path, &Fault::stalling()).await?;
        }
        let tape = Tape::start(scene.api::<VMDiskSync>(), ListParams::default()).await?;
        let stalled = if stalls { Some(STALLED.acquire().await?) } else { None };
        Ok(Self { scene: scene.clone(), name: name.to_owned(), published, expected, server, tape, stalled })
    }

    /// Creates the image.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn image(&self) -> Result<()> {
        self.scene.create(&objects::image(&self.name, &self.published.url)).await.map(drop)
    }

    /// Creates the claim in this class.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn claim_in(&self, class: &str) -> Result<PersistentVolumeClaim> {
        let claim = objects::claim_of(&self.name, &self.name, "64Mi", Mode::Filesystem, class)?;
        self.scene.create(&claim).await
    }

    /// Creates the claim in the class that binds at once.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn claim(&self) -> Result<PersistentVolumeClaim> {
        self.claim_in(&bed::variable("STORAGE_CLASS_IMMEDIATE")?).await
    }

    /// A claim whose worker has begun, and stalls until [`Victim::release`].
    ///
    /// # Errors
    /// When it does not come so far.
    pub async fn filling(scene: &Scene, name: &str) -> Result<Self> {
        let victim = Self::plan(scene, name, true).await?;
        victim.image().await?;
        victim.claim().await?;
        victim.server.until_held(&victim.published.path, DEADLINE).await?;
        Ok(victim)
    }

    /// A claim that is filled.
    ///
    /// # Errors
    /// When it is not.
    pub async fn filled(scene: &Scene, name: &str) -> Result<Self> {
        let victim = Self::plan(scene, name, false).await?;
        victim.image().await?;
        victim.claim().await?;
        until::probed(&format!("{name} is filled"), DEADLINE, async || {
            Ok(victim.status().await?.filter(|status| status.phase == Some(SyncPhase::Succeeded)))
        })
        .await?;
        Ok(victim)
    }

    /// What a forgery needs to know of it: of claim and sync, which must be there.
    ///
    /// # Errors
    /// When the sync does not come.
    pub async fn mark(&self) -> Result<Mark> {
        let sync = until::probed(&format!("{} has a sync", self.name), DEADLINE, async || {
            Ok(self.syncs().await?.into_iter().find_map(|sync| sync.uid()))
        })
        .await?;
        Ok(Mark { sync_uid: sync, ..self.mark_of_claim().await? })
    }

    /// The same where there is no sync yet: that part is made up.
    ///
    /// # Errors
    /// When there is no claim.
    pub async fn mark_of_claim(&self) -> Result<Mark> {
        let claim = self.object().await?;
        let claim_uid = claim.uid().context("a stored claim has a UID")?;
        Ok(Mark {
            namespace: self.scene.namespace.clone(),
            name: self.name.clone(),
            sync_uid: super::forgery::uuid(0),
            claim_uid,
        })
    }

    /// The claim as it is.
    ///
    /// # Errors
    /// When there is none.
    pub async fn object(&self) -> Result<PersistentVolumeClaim> {
        Ok(self.scene.api::<PersistentVolumeClaim>().get(&self.name).await?)
    }

    /// What was fetched so far.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn count(&self) -> Result<Count> {
        self.server.count(&self.published.path).await
    }

    /// How far its sync is.
    ///
    /// # Errors
    /// When the API server cannot be read.
    pub async fn status(&self) -> Result<Option<VMDiskSyncStatus>> {
        Ok(self.syncs().await?.into_iter().find_map(|sync| sync.status))
    }

    /// The records that name this claim, in its own namespace.
    async fn syncs(&self) -> Result<Vec<VMDiskSync>> {
        let syncs = self.scene.api::<VMDiskSync>().list(&ListParams::default()).await?;
        Ok(syncs.items.into_iter().filter(|sync| sync.spec.claim.name == self.name).collect())
    }

    /// Lets the source go on, if it stalls.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn release(&mut self) -> Result<()> {
        if self.stalled.is_some() {
            self.server.heal(&self.published.path).await?;
            self.stalled = None;
        }
        Ok(())
    }

    /// Waits until the operator has made a pass that began after this was called: over another claim, whose image there
    /// is not. What was written before is known to it then.
    ///
    /// # Errors
    /// When it makes none.
    pub async fn noticed(&self) -> Result<()> {
        let name = format!("{}-later", self.name);
        let later = self.scene.create(&objects::claim(&name, "no-such-image", "16Mi", Mode::Filesystem)?).await?;
        let words = ["no-such-image"];
        events::warned(&self.scene, &later, "PopulatorDataSourceNotFound", &words, DEADLINE).await?;
        self.scene.delete::<PersistentVolumeClaim>(&name, DEADLINE).await
    }

    /// Waits until the claim is warned of something by its name, whatever the reason is called.
    ///
    /// # Errors
    /// When it is not within the deadline; the error shows what it was warned of.
    pub async fn told_of(&self, name: &str) -> Result<()> {
        let which = format!("involvedObject.kind=PersistentVolumeClaim,involvedObject.name={},type=Warning", self.name);
        let which = ListParams::default().fields(&which);
        let what = format!("{} is warned of {name}", self.name);
        let mut heard = Vec::new();
        let told = until::probed(&what, DEADLINE, async || {
            let events = self.scene.api::<Event>().list(&which).await?;
            heard = events.items.into_iter().filter_map(|event| event.message).collect();
            Ok(heard.iter().any(|message: &String| message.contains(name)).then_some(()))
        })
        .await;
        told.with_context(|| format!("it was warned: {heard:?}"))
    }

    /// Waits until it holds the right disk.
    ///
    /// # Errors
    /// When it does not within the deadline, or as soon as an attempt has failed for good.
    pub async fn holds(&self) -> Result<()> {
        until::probed(&format!("{} is bound", self.name), DEADLINE, async || {
            Ok(objects::is_bound(&self.object().await?).then_some(()))
        })
        .await?;
        reader::holds(&self.scene, &self.name, Mode::Filesystem, &self.expected, DEADLINE).await.map(drop)
    }

    /// It was filled as if nobody had done anything: at the first attempt, fetched once, with one record that never
    /// said anything else.
    ///
    /// # Errors
    /// When it was not, and how.
    pub async fn unharmed(mut self) -> Result<()> {
        self.release().await?;
        let what = format!("{} is bound, as if there were no adversary", self.name);
        let harm = until::probed(&what, DEADLINE, async || {
            let status = self.status().await?.unwrap_or_default();
            let harmed = matches!(status.phase, Some(SyncPhase::Failed | SyncPhase::BackingOff | SyncPhase::Cancelled));
            let over = harmed || objects::is_bound(&self.object().await?);
            Ok(over.then_some(harmed.then_some(status)))
        })
        .await?;
        if let Some(status) = harm {
            bail!("the sync was thrown into {:?}: {:?}", status.phase, status.last_failure);
        }
        self.holds().await?;
        let uid = self.object().await?.uid();
        let all = Api::<VMDiskSync>::all(self.scene.bed.client.clone()).list(&ListParams::default()).await?;
        let records: Vec<_> = all.iter().filter(|sync| Some(&sync.spec.claim.uid) == uid.as_ref()).collect();
        ensure!(records.len() == 1, "one claim has {} records: {records:?}", records.len());
        let count = self.count().await?;
        ensure!(count.bytes <= SIZE as u64 + PROBES, "the disk was fetched more than once: {:?}", count.log);
        for (sync, _) in self.tape.stop().await? {
            if Some(&sync.spec.claim.uid) == uid.as_ref() {
                let status = sync.status.unwrap_or_default();
                let good =
                    matches!(status.phase, None | Some(SyncPhase::Queued | SyncPhase::Syncing | SyncPhase::Succeeded));
                let fetched = status.progress.as_ref().map_or(0, |progress| progress.bytes_fetched);
                ensure!(
                    u64::try_from(fetched)? <= SIZE as u64 + PROBES,
                    "its record said for a while that {fetched} bytes were fetched: {status:?}"
                );
                ensure!(
                    good && status.attempt <= 1 && status.interruptions == 0 && status.last_failure.is_none(),
                    "its record said for a while {status:?}"
                );
            }
        }
        Ok(())
    }

    /// It was filled in the end, and every byte that was fetched has a count.
    ///
    /// # Errors
    /// When it was not, and how.
    pub async fn filled_in_the_end(&mut self) -> Result<Filled> {
        self.release().await?;
        self.holds().await?;
        let tape = std::mem::replace(&mut self.tape, Tape::start(self.scene.api(), ListParams::default()).await?);
        let mut said: Vec<(VMDiskSync, bool)> = tape.stop().await?;
        said.retain(|(sync, _)| sync.spec.claim.name == self.name);
        // A record that was deleted took its count with it.
        let mut attempts = BTreeMap::new();
        for (sync, _) in &said {
            let most: &mut i32 = attempts.entry(sync.uid()).or_default();
            *most = sync.status.as_ref().map_or(0, |status| status.attempt).max(*most);
        }
        let attempts: i32 = attempts.values().sum();
        let paid = u64::try_from(attempts)? * (SIZE as u64 + PROBES);
        let count = self.count().await?;
        ensure!(count.bytes <= paid, "{attempts} attempts fetched {} bytes: {:?}", count.bytes, count.log);
        let idle: BTreeSet<_> = said.iter().filter_map(|(sync, _)| never_ran(sync)).collect();
        let last = said.last().and_then(|(sync, _)| sync.status.clone());
        let status = last.with_context(|| format!("{} has no record", self.name))?;
        let ran = usize::try_from(attempts)?.saturating_sub(idle.len());
        Ok(Filled { ran, status, story: said.iter().map(told).collect() })
    }
}

/// What it took to fill a claim.
pub struct Filled {
    /// The attempts of all the records that it ever had, but for those that a busy machine did not bring to a worker that
    /// runs: these have cost nothing.
    ran: usize,
    /// What the last record says.
    pub status: VMDiskSyncStatus,
    story: Vec<String>,
}

impl Filled {
    /// It took so many attempts at most in which a worker ran.
    ///
    /// # Errors
    /// When it took more; the error tells the whole story.
    pub fn within(&self, attempts: usize) -> Result<()> {
        let story = self.story.join("\n  ");
        ensure!(self.ran <= attempts, "it took {} attempts, not {attempts}:\n  {story}", self.ran);
        Ok(())
    }
}

/// The attempt that this record says has ended because startTimeout was over before its worker ran.
fn never_ran(sync: &VMDiskSync) -> Option<(Option<String>, i32)> {
    let status = sync.status.as_ref().filter(|status| status.phase == Some(SyncPhase::BackingOff))?;
    let reason = status.last_failure.as_ref()?.reason.as_str();
    matches!(reason, "WorkerNotStarted" | "VolumeNotProvisioned").then(|| (sync.uid(), status.attempt))
}

/// One line of what a record said.
fn told((sync, gone): &(VMDiskSync, bool)) -> String {
    let status = sync.status.clone().unwrap_or_default();
    format!(
        "record {}{}: {:?}, attempt {} ({} interrupted), prime {:?}, worker {:?}, last failure {:?}",
        sync.uid().unwrap_or_default(),
        if *gone { " goes" } else { "" },
        status.phase,
        status.attempt,
        status.interruptions,
        status.prime_uid,
        status.pod_uid,
        status.last_failure.map(|failure| (failure.time, failure.class, failure.reason, failure.message)),
    )
}
