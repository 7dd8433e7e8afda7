//! An image with a preload, and what its tests ask of it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{Patch, PatchParams};
use populator_crd::VMDiskImage;
use populator_crd::v1alpha1::{GoldenData, Origin, RouteKind, VolumeMode};
use serde_json::json;
use vmdisk_e2e::testing::files::{self, Published, Server};
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::reader::{self, Expected};
use vmdisk_e2e::testing::snapshots::VolumeSnapshot;
use vmdisk_e2e::testing::{Scene, bed, syncs, until};

/// For everything that these tests wait for; a busy machine is slow.
pub(crate) const LONG: Duration = Duration::from_mins(6);

const SIZE: usize = 32 << 20;

/// What may be read beside the disk: a look at the source takes its first bytes, and ranges that double (1, 2, 4 MiB …) are
/// on their way by the time that it ends. How many is a matter of speed; a second fetch is twice this.
const LOOKS: u64 = SIZE as u64 / 2;

/// What golden claims request.
const DISK_SIZE: &str = "64Mi";

/// How the volumes of an image are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Snapshot,
    Clone,
    Not,
}

/// An image with a preload, and the bytes that it is made of.
pub(crate) struct Lab<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) name: &'static str,
    pub(crate) mode: Mode,
    published: Published,
    expected: Expected,
}

impl<'a> Lab<'a> {
    /// Publishes a disk and the image that preloads it.
    pub(crate) async fn open(scene: &'a Scene, name: &'static str, class: &str, cut: Cut, mode: Mode) -> Result<Self> {
        let (published, expected) = files::publish_random(scene, &format!("{name}.img"), SIZE)?;
        let mut image = objects::image(name, &published.url);
        image.spec.storage_class = Some(bed::variable(class)?);
        image.spec.snapshot_class = if cut == Cut::Snapshot { Some(bed::variable("SNAPSHOT_CLASS")?) } else { None };
        image.spec.disk_size = Some(Quantity(DISK_SIZE.to_owned()));
        image.spec.volume_mode = match mode {
            Mode::Filesystem => VolumeMode::Filesystem,
            Mode::Block => VolumeMode::Block,
        };
        scene.create(&image).await?;
        Ok(Self { scene, name, mode, published, expected })
    }

    /// Waits for the condition Preloaded of the image as it is now, as a pipeline does.
    pub(crate) async fn preloaded(&self) -> Result<Option<GoldenData>> {
        let preloaded = |image: &VMDiskImage| {
            let conditions = image.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            conditions.iter().any(|condition| {
                condition.type_ == "Preloaded"
                    && condition.status == "True"
                    && condition.observed_generation == image.metadata.generation
            })
        };
        let image = until::holds(&self.scene.api(), self.name, "is preloaded", LONG, preloaded).await?;
        Ok(image.status.and_then(|status| status.golden))
    }

    /// Another disk takes the place of the one that the image names. Gives the lab of the old one.
    pub(crate) async fn moves_on(&mut self) -> Result<Self> {
        let (published, expected) = files::publish_random(self.scene, &format!("{}-2.img", self.name), SIZE)?;
        let edit = Patch::Merge(json!({"spec": {"url": published.url}}));
        self.scene.api::<VMDiskImage>().patch(self.name, &PatchParams::default(), &edit).await?;
        let before = Self {
            published: std::mem::replace(&mut self.published, published),
            expected: std::mem::replace(&mut self.expected, expected),
            ..*self
        };
        Ok(before)
    }

    /// Creates a claim for the image.
    pub(crate) async fn claim(&self, name: &str, class: &str, size: &str) -> Result<()> {
        self.scene.create(&objects::claim_of(name, self.name, size, self.mode, &bed::variable(class)?)?).await?;
        Ok(())
    }

    /// Waits until a claim is bound and holds exactly the disk.
    pub(crate) async fn holds_the_disk(&self, claim: &str) -> Result<()> {
        reader::holds(self.scene, claim, self.mode, &self.expected, LONG).await.map(drop)
    }

    /// The image was fetched this many times, and beside that looked at.
    pub(crate) async fn was_fetched(&self, times: u64) -> Result<()> {
        let count = Server::files()?.count(&self.published.path).await?;
        let size = SIZE as u64;
        let fetched = times * size..=times * size + LOOKS;
        ensure!(
            fetched.contains(&count.bytes),
            "{} bytes were sent, expected {fetched:?}: {:?}",
            count.bytes,
            count.log
        );
        Ok(())
    }

    /// How a claim was filled, and from what.
    pub(crate) async fn route(&self, claim: &str) -> Result<(RouteKind, Option<Origin>)> {
        let status = syncs::status_of(self.scene, claim).await?;
        let route = status.and_then(|status| status.route).with_context(|| format!("{claim} has no route"))?;
        Ok((route.kind, route.from))
    }

    /// The snapshot that bears the golden name, for the users' own templates.
    pub(crate) async fn users_snapshot(&self) -> Result<VolumeSnapshot> {
        self.scene.api().get(self.name).await.context("there is no snapshot for the users' own templates")
    }
}
