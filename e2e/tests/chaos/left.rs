//! What is left when all is over, told apart: what is ours to remove, and what the bed keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use populator_crd::names::CLAIM_UID_LABEL;
use vmdisk_e2e::command::cmd;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::machine::{LoopDevice, Storage, Volume};
use vmdisk_e2e::testing::Scene;
use vmdisk_e2e::testing::traces::primes_and_workers;

/// How long what is on its way out may take: the provisioner tries every few seconds, our sweep looks every few minutes.
const PATIENCE: Duration = Duration::from_mins(6);
/// How long what the bed keeps must have stayed as it is: several tries of the provisioner.
const UNMOVED: Duration = Duration::from_secs(45);
/// A look takes a program of its own.
const INTERVAL: Duration = Duration::from_secs(2);

/// What there is beside the claims and their volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Primes, workers, and volumes that nobody set free: ours to remove.
    pub(crate) ours: Vec<String>,
    /// Volumes that are released and to be deleted, of which a kubelet that was killed has forgotten the mount, or the loop
    /// device that it keeps on top of a Block volume: the driver cannot delete them, and nobody tells the kernel to let go.
    pub(crate) held: Vec<String>,
    /// Volumes that the driver has and Kubernetes does not know: the provisioner was killed between the two, and the claim
    /// that it would have tried again for is gone.
    pub(crate) unknown: Vec<String>,
    /// The loop devices and mounts that keep the held ones.
    forgotten: Vec<String>,
}

impl Left {
    /// Lets go what killed kubelets have forgotten: what was held goes then, if nothing else keeps it.
    pub(crate) fn let_go(&self) -> Result<()> {
        self.forgotten.iter().try_for_each(|holder| {
            let is_device = holder.starts_with("/dev/loop");
            if is_device { cmd("losetup").args(["--detach", holder]).run() } else { cmd("umount").arg(holder).run() }
        })
    }
}

/// Waits until nothing is left that is ours, or gives what does not go; `claims`: the UIDs of those that stay.
pub(crate) async fn cleared(scene: &Scene, claims: &BTreeSet<String>) -> Result<Left> {
    until(scene, claims, |left, _| left.ours.is_empty()).await
}

/// Waits until nothing is left but what the bed keeps, when no claim stays.
pub(crate) async fn settled(scene: &Scene) -> Result<Left> {
    until(scene, &BTreeSet::new(), |left, unmoved| left.ours.is_empty() && unmoved > UNMOVED).await
}

async fn until(scene: &Scene, claims: &BTreeSet<String>, enough: impl Fn(&Left, Duration) -> bool) -> Result<Left> {
    let began = Instant::now();
    let (mut left, mut since) = (look(scene, claims).await?, began);
    while left != Left::default() && !enough(&left, since.elapsed()) && began.elapsed() < PATIENCE {
        tokio::time::sleep(INTERVAL).await;
        let now = look(scene, claims).await?;
        if now != left {
            (left, since) = (now, Instant::now());
        }
    }
    Ok(left)
}

async fn look(scene: &Scene, claims: &BTreeSet<String>) -> Result<Left> {
    let mut left = Left { ours: primes_and_workers(scene, CLAIM_UID_LABEL).await?, ..Left::default() };
    let volumes = Api::<PersistentVolume>::all(scene.bed.client.clone()).list(&ListParams::default()).await?;
    let storage = Storage::read(&Instance::current()?)?;
    let mut disks: BTreeMap<&str, &Volume> =
        storage.of_namespace(&scene.namespace).into_iter().map(|disk| (disk.id.as_str(), disk)).collect();
    for volume in &volumes {
        let Some(claim) = claim_of(volume).filter(|claim| claim.namespace.as_ref() == Some(&scene.namespace)) else {
            continue;
        };
        let disk = handle(volume).and_then(|handle| disks.remove(handle));
        if claim.uid.as_ref().is_some_and(|uid| claims.contains(uid)) {
            continue;
        }
        match disk.filter(|_| is_to_be_deleted(volume)).map(holders).filter(|holders| !holders.is_empty()) {
            Some(holders) => {
                let what = described(volume, claim);
                left.held.push(format!("{what} is held by {}, which a killed kubelet forgot", holders.join(", ")));
                left.forgotten.extend(holders);
            }
            None => left.ours.push(described(volume, claim)),
        }
    }
    left.unknown = disks
        .into_values()
        .map(|disk| format!("{} of {}, which a killed provisioner forgot", disk.id, disk.claim))
        .collect();
    Ok(left)
}

/// Each claim that stays has its one volume.
pub(crate) async fn one_volume_each(scene: &Scene, claims: &BTreeSet<String>) -> Result<()> {
    let volumes = Api::<PersistentVolume>::all(scene.bed.client.clone()).list(&ListParams::default()).await?;
    for claim in claims {
        let own = volumes.iter().filter(|volume| claim_of(volume).and_then(|claim| claim.uid.as_ref()) == Some(claim));
        let own: Vec<String> = own.map(ResourceExt::name_any).collect();
        ensure!(own.len() == 1, "the claim {claim} has the volumes {own:?}");
    }
    Ok(())
}

/// What of the machine keeps a volume: its mounts, and loop devices on top of its own.
fn holders(disk: &Volume) -> Vec<String> {
    let upper = |device: &&LoopDevice| !device.backing_file.contains(&disk.id);
    let devices = disk.loop_devices.iter().filter(upper).map(|device| device.path.clone());
    disk.mounts.iter().cloned().chain(devices).collect()
}

fn is_to_be_deleted(volume: &PersistentVolume) -> bool {
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    matches!(phase, Some("Released" | "Failed")) && policy == Some("Delete")
}

fn described(volume: &PersistentVolume, claim: &ObjectReference) -> String {
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("no phase");
    format!("{} ({phase}, of {})", volume.name_any(), claim.name.as_deref().unwrap_or("nobody"))
}

fn claim_of(volume: &PersistentVolume) -> Option<&ObjectReference> {
    volume.spec.as_ref()?.claim_ref.as_ref()
}

fn handle(volume: &PersistentVolume) -> Option<&str> {
    Some(volume.spec.as_ref()?.csi.as_ref()?.volume_handle.as_str())
}
