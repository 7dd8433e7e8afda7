//! One claim of which something is deleted.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, Resource};
use populator_crd::VMDiskImage;
use serde::de::DeserializeOwned;
use vmdisk_e2e::servers::Fault;
use vmdisk_e2e::testing::objects;
use vmdisk_e2e::testing::traces::{Remembered, uid};
use vmdisk_e2e::testing::{Scene, until};

use super::stage::Held;
use super::{GONE, Object, Outcome};
use crate::disk::Disk;

/// A claim with an image of its own.
pub(super) struct Case {
    /// What is deleted of it.
    pub(super) object: Object,
    /// The claim.
    pub(super) claim: Remembered,
    /// What its image offers.
    pub(super) disk: Disk,
    outcome: Outcome,
    scene: Scene,
}

impl Case {
    /// Creates image and claim, such that the claim gets to the stage.
    pub(super) async fn create(scene: &Scene, object: Object, outcome: Outcome, held: &Held) -> Result<Self> {
        let name = format!("{object:?}").to_lowercase();
        let disk = Disk::publish(scene, &name, held.fault()).await?;
        let claim = Remembered::new(&scene.create(&held.claim(object, &name)?).await?)?;
        Ok(Self { object, claim, disk, outcome, scene: scene.clone() })
    }

    /// Deletes the object, and gives its UID. Fails when it is not there, or going already.
    pub(super) async fn delete(&self) -> Result<String> {
        let deleted = match self.object {
            Object::Claim => delete(&self.claims(), &self.claim.name).await,
            Object::Image => delete(&self.scene.api::<VMDiskImage>(), &self.claim.name).await,
            Object::Namespace => delete(&self.namespaces(), &self.scene.namespace).await,
            Object::Worker => delete(&self.scene.api::<Pod>(), &self.claim.worker()).await,
            Object::Prime => delete(&self.claims(), &self.claim.prime()).await,
        };
        deleted.with_context(|| format!("cannot delete the {:?}", self.object))
    }

    /// Waits until what was deleted is gone, and what was made for a claim that wants nothing now.
    pub(super) async fn until_gone(&self, deleted: &str, deadline: Duration) -> Result<()> {
        if self.outcome != Outcome::Filled {
            self.claim.until_gone(&self.scene.bed, deadline).await?;
        }
        until::probed("what was deleted is gone", deadline, async || {
            Ok((self.uid().await?.as_deref() != Some(deleted)).then_some(()))
        })
        .await
    }

    /// Whether the claim came to the end that it must.
    pub(super) async fn judge(&self) -> Result<()> {
        let judged = match self.outcome {
            // What was seen to be gone did not come back.
            Outcome::Gone => self.claim.until_gone(&self.scene.bed, GONE).await,
            Outcome::Waits => self.filled_again().await,
            Outcome::Filled => self.filled(&self.disk).await,
        };
        judged.with_context(|| format!("the claim whose {:?} was deleted", self.object))
    }

    /// Another image of the same name fills the claim, and with nothing of the former.
    async fn filled_again(&self) -> Result<()> {
        let claim = self.claims().get(&self.claim.name).await?;
        ensure!(!objects::is_bound(&claim), "the claim is bound, and its image was deleted before it was filled");
        let name = &self.claim.name;
        let other = Disk::publish(&self.scene, &format!("{name}-again"), Fault::default()).await?;
        self.scene.create(&objects::image(name, &other.published.url)).await?;
        self.filled(&other.of_claim(name)).await
    }

    async fn filled(&self, disk: &Disk) -> Result<()> {
        disk.judge(&self.scene).await?;
        self.claim.until_settled(&self.scene.bed, GONE).await
    }

    /// The UID of the object that is there under the name of the one that is deleted.
    async fn uid(&self) -> Result<Option<String>> {
        match self.object {
            Object::Claim => uid(&self.claims(), &self.claim.name).await,
            Object::Image => uid(&self.scene.api::<VMDiskImage>(), &self.claim.name).await,
            Object::Namespace => uid(&self.namespaces(), &self.scene.namespace).await,
            Object::Worker => uid(&self.scene.api::<Pod>(), &self.claim.worker()).await,
            Object::Prime => uid(&self.claims(), &self.claim.prime()).await,
        }
    }

    fn claims(&self) -> Api<PersistentVolumeClaim> {
        self.scene.api()
    }

    fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.scene.bed.client.clone())
    }
}

async fn delete<K>(api: &Api<K>, name: &str) -> Result<String>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let found = api.get_metadata(name).await?.metadata;
    ensure!(found.deletion_timestamp.is_none(), "it is going already: {found:?}");
    let preconditions = Some(Preconditions { uid: found.uid.clone(), resource_version: None });
    api.delete(name, &DeleteParams { preconditions, ..DeleteParams::default() }).await?;
    found.uid.context("a stored object has a UID")
}
