//! What must hold of every claim when all is over (design.md, points 6, 11 and 16).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{DeleteParams, ListParams};
use populator_crd::v1alpha1::SyncPhase;
use populator_crd::{VMDiskSync, VMDiskSyncStatus};
use vmdisk_e2e::testing::disk::PROBES;
use vmdisk_e2e::testing::{Scene, reader, until};

use crate::claims::Claim;
use crate::left::{self, Left};

/// How long a pod that reads a claim may take for each of its steps.
const DEADLINE: Duration = Duration::from_mins(4);
/// How many pods read at a time.
const READERS: usize = 4;

/// What came of all claims.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Attempts that the records count.
    pub(crate) attempts: u64,
    /// Those of them that were interrupted.
    pub(crate) interruptions: u64,
    /// The most that one claim needed.
    pub(crate) most_attempts: u64,
    /// Bytes that the servers sent.
    pub(crate) fetched: u64,
    /// Bytes that as many attempts may fetch.
    pub(crate) paid: u64,
    /// What is left of all claims when their users have deleted them.
    pub(crate) held: Left,
    /// What is left when what killed kubelets forgot was let go.
    pub(crate) left: Left,
    /// What must not be.
    pub(crate) faults: Vec<String>,
}

/// Judges all of them: one that is wrong does not hide the next.
pub(crate) async fn judge(scene: &Scene, claims: &[Claim]) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    let records = until::probed("every record is at its end", DEADLINE, async || records(scene).await).await?;
    for claim in claims {
        let own = claim.uid.as_ref().and_then(|uid| records.get(uid)).map(Vec::as_slice).unwrap_or_default();
        if let Err(error) = account(&mut verdict, claim, own).await {
            verdict.fault(claim, &error);
        }
    }
    let readings = stream::iter(claims.iter().filter(|claim| claim.stays()))
        .map(async |claim| {
            (claim, reader::holds(scene, &claim.name, claim.plan.mode, &claim.image.disk, DEADLINE).await)
        })
        .buffer_unordered(READERS)
        .collect::<Vec<_>>()
        .await;
    for (claim, reading) in readings {
        if let Err(error) = reading {
            verdict.fault(claim, &error);
        }
    }
    let staying: BTreeSet<String> =
        claims.iter().filter(|claim| claim.stays()).filter_map(|claim| claim.uid.clone()).collect();
    if let Err(error) = left::one_volume_each(scene, &staying).await {
        verdict.faults.push(format!("{error:#}"));
    }
    let beside = left::cleared(scene, &staying).await?;
    let all = (DeleteParams::default(), ListParams::default());
    scene.api::<PersistentVolumeClaim>().delete_collection(&all.0, &all.1).await?;
    verdict.held = left::settled(scene).await?;
    verdict.held.let_go()?;
    verdict.left = left::settled(scene).await?;
    for left in [&beside, &verdict.held, &verdict.left] {
        verdict.faults.extend(left.ours.iter().map(|what| format!("left behind: {what}")));
    }
    // The bed was not to blame for these.
    verdict.faults.extend(verdict.left.held.iter().map(|what| format!("left behind, although it was let go: {what}")));
    Ok(verdict)
}

impl Verdict {
    fn fault(&mut self, claim: &Claim, error: &anyhow::Error) {
        self.faults.push(format!("{} ({:?}): {error:#}", claim.name, claim.plan));
    }
}

/// The records of each claim by its UID, once none is in the middle of anything.
async fn records(scene: &Scene) -> Result<Option<BTreeMap<String, Vec<VMDiskSyncStatus>>>> {
    let mut records = BTreeMap::<String, Vec<VMDiskSyncStatus>>::new();
    for sync in scene.api::<VMDiskSync>().list(&ListParams::default()).await? {
        let status = sync.status.unwrap_or_default();
        if !matches!(status.phase, Some(SyncPhase::Succeeded | SyncPhase::Failed | SyncPhase::Cancelled)) {
            return Ok(None);
        }
        records.entry(sync.spec.claim.uid).or_default().push(status);
    }
    Ok(Some(records))
}

/// Sums up what was fetched, and what of it was written down before. The image is the claim's alone.
async fn account(verdict: &mut Verdict, claim: &Claim, records: &[VMDiskSyncStatus]) -> Result<()> {
    let count = claim.image.count().await?;
    let sum = |of: fn(&VMDiskSyncStatus) -> i32| u64::try_from(records.iter().map(of).sum::<i32>());
    let attempts = sum(|status| status.attempt)?;
    let paid = attempts * (claim.image.bytes + PROBES);
    verdict.attempts += attempts;
    verdict.most_attempts = verdict.most_attempts.max(attempts);
    verdict.interruptions += sum(|status| status.interruptions)?;
    verdict.fetched += count.bytes;
    verdict.paid += attempts * claim.image.bytes;
    ensure!(count.bytes <= paid, "{attempts} attempts fetched {} bytes: {:?}", count.bytes, count.log);
    if claim.stays() {
        ensure!(records.len() == 1, "there are {} records of it", records.len());
        ensure!(count.bytes >= claim.image.bytes, "it is bound, and only {} bytes were fetched", count.bytes);
    }
    // A claim that goes may have been filled before, or never have been seen.
    let failed = records.iter().find(|status| status.phase == Some(SyncPhase::Failed));
    let failure = failed.map(|status| status.last_failure.as_ref().map(|failure| failure.message.clone()));
    ensure!(failure.is_none(), "it failed: {failure:?}");
    let succeeded = records.iter().any(|status| status.phase == Some(SyncPhase::Succeeded));
    ensure!(!claim.stays() || succeeded, "the record does not say that it succeeded");
    claim.uid.as_ref().context("it was never made").map(drop)
}
