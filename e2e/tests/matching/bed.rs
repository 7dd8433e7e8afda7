//! What each of these tests needs: classes of its own, claims with a twist, and the judges of what came of them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use populator_crd::names::CLAIM_UID_LABEL;
use serde_json::{Value, json};
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::machine::Storage;
use vmdisk_e2e::testing::files::{self, Published};
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::reader::{self, Expected};
use vmdisk_e2e::testing::traces::primes_and_workers;
use vmdisk_e2e::testing::volumes::Volumes;
use vmdisk_e2e::testing::{Scene, bed, scenario, until};

/// Other tests may hold all permits for a while.
pub(crate) const SOON: Duration = Duration::from_mins(2);

const DISK_BYTES: usize = 4 << 20;
const CLAIM_BYTES: &str = "64Mi";

/// What a test works on, beside its namespace.
pub(crate) struct Bed<'a> {
    pub(crate) scene: &'a Scene,
    disk: Published,
    expected: Expected,
    volumes: Volumes,
    /// Every claim that the test made.
    claims: Mutex<Vec<PersistentVolumeClaim>>,
}

/// Runs one test with an image named `image`. Its classes go afterwards, and for no claim of it was there ever a second
/// volume, or one for a claim that is not bound.
pub(crate) async fn matching(body: impl AsyncFnOnce(&Bed<'_>) -> Result<()>) {
    scenario("matching", async |scene| {
        let (disk, expected) = files::publish_random(scene, "disk.img", DISK_BYTES)?;
        scene.create(&objects::image("image", &disk.url)).await?;
        let volumes = Volumes::watch(&scene.bed).await?;
        let bed = Bed { scene, disk, expected, volumes, claims: Mutex::default() };
        let outcome = body(&bed).await;
        let counted = match outcome {
            Ok(()) => bed.count_volumes().await,
            Err(error) => Err(error),
        };
        delete_classes(scene).await?;
        counted
    })
    .await;
}

impl Bed<'_> {
    /// Creates a class of the test's own, and gives its name.
    pub(crate) async fn class(&self, name: &str, provisioner: &str, parameters: Value) -> Result<String> {
        let name = self.class_name(name);
        let class = json!({
            "metadata": {"name": name, "labels": {LABEL: self.scene.namespace}},
            "provisioner": provisioner,
            "parameters": parameters,
            "volumeBindingMode": "Immediate",
            "reclaimPolicy": "Delete",
        });
        let class: StorageClass = serde_json::from_value(class).context("a class")?;
        let api = Api::<StorageClass>::all(self.scene.bed.client.clone());
        api.create(&PostParams::default(), &class).await.with_context(|| format!("cannot create the class {name}"))?;
        Ok(name)
    }

    /// The name of a class of the test's own: no other test has it.
    pub(crate) fn class_name(&self, name: &str) -> String {
        format!("{}-{name}", self.scene.namespace)
    }

    /// Creates a claim for the image, in the cluster's class that binds at once, with these fields of its spec replaced.
    pub(crate) async fn claim(&self, name: &str, spec: Value) -> Result<PersistentVolumeClaim> {
        let claim = objects::claim(name, "image", CLAIM_BYTES, Mode::Filesystem)?;
        let mut claim = serde_json::to_value(claim)?;
        for (field, value) in spec.as_object().into_iter().flatten() {
            claim["spec"][field] = value.clone();
        }
        let claim: PersistentVolumeClaim = serde_json::from_value(claim).context("a claim")?;
        let claim = self.scene.create(&claim).await?;
        self.claims.lock().unwrap_or_else(PoisonError::into_inner).push(claim.clone());
        Ok(claim)
    }

    /// The disk's path on the server.
    pub(crate) fn disk_path(&self) -> &str {
        &self.disk.path
    }

    /// Waits until the claim is bound.
    pub(crate) async fn until_bound(&self, name: &str) -> Result<PersistentVolumeClaim> {
        let claims = self.scene.api::<PersistentVolumeClaim>();
        until::holds(&claims, name, "is bound", SOON, objects::is_bound).await
    }

    /// Waits until the claim is bound, and reads it.
    pub(crate) async fn until_filled(&self, name: &str) -> Result<PersistentVolumeClaim> {
        let claim = self.until_bound(name).await?;
        let block = claim.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref()) == Some("Block");
        let mode = if block { Mode::Block } else { Mode::Filesystem };
        reader::holds(self.scene, name, mode, &self.expected, SOON).await?;
        Ok(claim)
    }

    /// Nothing was made or fetched for claims that were refused before the first byte.
    pub(crate) async fn assert_untouched(&self) -> Result<()> {
        let made = primes_and_workers(self.scene, CLAIM_UID_LABEL).await?;
        ensure!(made.is_empty(), "{made:?} were made for claims that cannot be filled");
        let count = files::Server::files()?.count(&self.disk.path).await?;
        ensure!(count.requests == 0, "the disk was fetched for claims that cannot be filled: {count:?}");
        Ok(())
    }

    /// No claim ever had a second volume, and those that exist have exactly the one that they are bound to.
    async fn count_volumes(self) -> Result<()> {
        let api = self.scene.api::<PersistentVolumeClaim>();
        let (mut bound, seen) = (0, self.volumes.stop().await?);
        for claim in self.claims.into_inner().unwrap_or_else(PoisonError::into_inner) {
            match api.get_opt(&claim.name_any()).await? {
                Some(claim) => {
                    bound += usize::from(objects::is_bound(&claim));
                    seen.assert_only_its_own(&claim)?;
                }
                None => seen.assert_at_most_one(&claim)?,
            }
        }
        let disks = Storage::read(&Instance::current()?)?.of_namespace(&self.scene.namespace).len();
        ensure!(disks == bound, "the driver has {disks} volumes for {bound} bound claims");
        Ok(())
    }
}

/// On each class of a test: its namespace.
const LABEL: &str = "vmdisk-e2e/namespace";

async fn delete_classes(scene: &Scene) -> Result<()> {
    let which = ListParams::default().labels(&format!("{LABEL}={}", scene.namespace));
    let api = Api::<StorageClass>::all(scene.bed.client.clone());
    api.delete_collection(&DeleteParams::default(), &which).await.context("cannot delete the test's classes")?;
    Ok(())
}

/// The provisioner of the test bed.
pub(crate) fn driver() -> Result<String> {
    bed::variable("CSI_DRIVER")
}
