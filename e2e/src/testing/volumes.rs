//! Every volume that there ever was for a claim: one that was made and thrown away counts like one that stayed.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use populator_crd::names;

use super::Bed;
use super::tape::Tape;

/// Watches the volumes of the cluster, until it is asked what it saw.
pub struct Volumes(Tape<PersistentVolume>);

impl Volumes {
    /// Begins to watch; no volume that is made from now on is missed.
    ///
    /// # Errors
    /// When volumes cannot be listed.
    pub async fn watch(bed: &Bed) -> Result<Self> {
        Ok(Self(Tape::start(Api::all(bed.client.clone()), ListParams::default()).await?))
    }

    /// Ends the watch.
    ///
    /// # Errors
    /// When it broke.
    pub async fn stop(self) -> Result<Seen> {
        Ok(Seen(self.0.stop().await?.into_iter().map(|(volume, _)| volume).collect()))
    }
}

/// The volumes that were seen, each as often as it changed.
pub struct Seen(Vec<PersistentVolume>);

impl Seen {
    /// The names of the volumes that were ever reserved for the claim or its prime, wherever the prime is.
    ///
    /// # Errors
    /// When the API server has not stored the claim.
    pub fn of(&self, claim: &PersistentVolumeClaim) -> Result<BTreeSet<String>> {
        let uid = claim.uid().context("a stored claim has a UID")?;
        let prime = names::prime(&uid);
        let of_claim = |volume: &&PersistentVolume| {
            let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            reference.is_some_and(|named| named.uid.as_ref() == Some(&uid) || named.name.as_ref() == Some(&prime))
        };
        Ok(self.0.iter().filter(of_claim).map(ResourceExt::name_any).collect())
    }

    /// Fails unless there was never a volume for the claim but the one that it is bound to, or none if it is unbound.
    ///
    /// # Errors
    /// When there was another.
    pub fn assert_only_its_own(&self, claim: &PersistentVolumeClaim) -> Result<()> {
        let bound = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone());
        let (seen, own) = (self.of(claim)?, BTreeSet::from_iter(bound));
        ensure!(seen == own, "claim {}: the volumes {seen:?} were made, and it has {own:?}", claim.name_any());
        Ok(())
    }

    /// Fails when there was ever more than one volume for the claim.
    ///
    /// # Errors
    /// When there was.
    pub fn assert_at_most_one(&self, claim: &PersistentVolumeClaim) -> Result<()> {
        let seen = self.of(claim)?;
        ensure!(seen.len() <= 1, "claim {}: the volumes {seen:?} were made", claim.name_any());
        Ok(())
    }
}
