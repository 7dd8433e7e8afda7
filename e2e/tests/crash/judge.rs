//! What must hold after a life, whatever happened in it.

use anyhow::{Result, ensure};
use kube::ResourceExt;
use populator_crd::VMDiskSync;
use populator_crd::v1alpha1::SyncPhase;
use vmdisk_e2e::stage::actor::account::Account;
use vmdisk_e2e::stage::tap::Write;

use crate::lives::{Ending, Life};
use crate::scene::{Scene, Sight, claim_uid};

/// Judges the end of a life (design.md, points 6, 15 and 16); gives how often the image was fetched.
pub(crate) fn judge(
    scene: &Scene<'_>,
    ending: Ending,
    sight: &Sight,
    attempts: i32,
    account: &mut Account,
) -> Result<usize> {
    let seen = account.take_violations();
    ensure!(seen.is_empty(), "{}", seen.join("; "));
    let reserved = account.ever_reserved(&scene.uid);
    ensure!(reserved.len() <= 1, "the claim was given {} volumes, expected one at most: {reserved:?}", reserved.len());
    let fetches = account.fetches(scene.image()).len();
    let allowed = usize::try_from(attempts.max(1))?;
    ensure!(
        fetches <= allowed,
        "the image was fetched {fetches} times, and the sync counts {attempts} attempts; the claim is {sight}"
    );
    match ending {
        Ending::Bound => bound(scene, sight, account)?,
        Ending::Failed => {
            ensure!(sight.volumes.is_empty(), "a claim that failed left volumes: {sight}");
            ensure!(one(sight, SyncPhase::Failed), "the sync does not say that it failed: {sight}");
        }
        Ending::Gone => ensure!(sight.volumes.is_empty(), "a claim that is gone left volumes: {sight}"),
    }
    Ok(fetches)
}

fn bound(scene: &Scene<'_>, sight: &Sight, account: &Account) -> Result<()> {
    let names: Vec<String> = sight.volumes.iter().map(ResourceExt::name_any).collect();
    ensure!(sight.volumes.len() == 1, "one volume was expected, and there are {names:?}");
    let volume = &sight.volumes[0];
    let claim = sight.claim.as_ref().and_then(|claim| claim.spec.as_ref()?.volume_name.clone());
    ensure!(
        claim.as_deref() == Some(names[0].as_str()),
        "the claim is bound to {claim:?}, and its volume is {names:?}"
    );
    ensure!(claim_uid(volume) == scene.uid, "the claim's volume is reserved for {:?}", claim_uid(volume));
    let contents = account.contents(&names[0]);
    ensure!(
        contents.whole_of.as_deref() == Some(scene.image()),
        "the claim is bound to a volume that holds {contents:?}, expected the whole of {}",
        scene.image()
    );
    ensure!(one(sight, SyncPhase::Succeeded), "the sync does not say that it succeeded: {sight}");
    Ok(())
}

/// A controller that nothing happens to makes no attempt more than it must, and deletes no more primes and workers than it
/// makes.
pub(crate) fn undisturbed(life: &Life, attempts: i32, writes: &[Write]) -> Result<()> {
    ensure!(attempts == life.attempts, "it took {attempts} attempts, expected {}", life.attempts);
    let count = |method: &str, resource: &str| {
        writes.iter().filter(|write| write.seen.method.as_str() == method && write.seen.resource == resource).count()
    };
    for resource in ["persistentvolumeclaims", "pods"] {
        let (made, deleted) = (count("POST", resource), count("DELETE", resource));
        ensure!(deleted <= made, "{deleted} deletes of {resource} were asked for, and {made} were made");
    }
    Ok(())
}

fn one(sight: &Sight, phase: SyncPhase) -> bool {
    let says = |sync: &VMDiskSync| sync.status.as_ref().and_then(|status| status.phase) == Some(phase);
    sight.syncs.len() == 1 && sight.syncs.iter().all(says)
}
