//! What a test of a fault begins with: a claim that is bound, and classes that ask for the fault.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use vmdisk_e2e::testing::class::Class;
use vmdisk_e2e::testing::objects::{self, Mode, is_bound};
use vmdisk_e2e::testing::snapshots::{self, SnapshotClass, VolumeSnapshot};
use vmdisk_e2e::testing::{Scene, scenario, until};

use crate::source::{DEADLINE, SOURCE};

/// The volume mode of all claims.
pub(crate) const MODE: Mode = Mode::Filesystem;
/// The value of a parameter that stands for the name of the test's namespace.
pub(crate) const OWN: &str = "$namespace";

/// The claim and the classes.
pub(crate) struct Ground<'a> {
    /// Where they are.
    pub(crate) scene: &'a Scene,
    /// The class of the claim, which binds at once.
    pub(crate) class: Class,
    /// The class of its snapshots.
    pub(crate) snapshots: SnapshotClass,
}

/// What the classes ask for.
#[derive(Clone, Copy, Default)]
pub(crate) struct Asked<'a> {
    /// Parameters of the class of claims.
    pub(crate) of_claims: &'a [(&'a str, &'a str)],
    /// Parameters of the class of snapshots.
    pub(crate) of_snapshots: &'a [(&'a str, &'a str)],
}

/// Runs a test with a claim and classes of its own.
pub(crate) async fn on_ground(asked: Asked<'_>, test: impl AsyncFnOnce(&Ground<'_>) -> Result<()>) {
    scenario("fault", async |scene| {
        let class = Class::immediate(scene, &named(scene, asked.of_claims)).await?;
        let snapshots = SnapshotClass::create(scene, &named(scene, asked.of_snapshots)).await?;
        let ground = Ground { scene, class, snapshots };
        let outcome = async {
            scene.create(&objects::empty_claim(SOURCE, "64Mi", MODE, &ground.class.name)).await?;
            test(&ground).await
        }
        .await;
        ground.class.delete().await?;
        ground.snapshots.delete().await?;
        outcome
    })
    .await;
}

fn named<'a>(scene: &'a Scene, parameters: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let value = |value| if value == OWN { scene.namespace.as_str() } else { value };
    parameters.iter().map(|(key, text)| (*key, value(*text))).collect()
}

impl Ground<'_> {
    /// The snapshot of the claim, not yet created.
    pub(crate) fn snapshot(&self) -> VolumeSnapshot {
        VolumeSnapshot::of_claim_in("snapshot", SOURCE, &self.snapshots.name)
    }

    /// Takes the snapshot and waits until it is ready.
    pub(crate) async fn take(&self) -> Result<VolumeSnapshot> {
        snapshots::take(self.scene, &self.snapshot(), DEADLINE).await
    }

    /// Creates a claim from the snapshot, in the class of the source.
    pub(crate) async fn restore(&self, size: &str) -> Result<PersistentVolumeClaim> {
        self.scene.create(&objects::restored_claim("restored", "snapshot", size, MODE, &self.class.name)).await
    }

    /// Waits until a claim is bound, and gives its volume.
    pub(crate) async fn volume_of(&self, claim: &str) -> Result<String> {
        let claims = self.scene.api::<PersistentVolumeClaim>();
        let claim = until::holds(&claims, claim, "is bound", DEADLINE, is_bound).await?;
        claim.spec.and_then(|spec| spec.volume_name).context("a bound claim has a volume")
    }
}
