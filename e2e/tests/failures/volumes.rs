//! Storage that does not give a volume at once, or gives less than it promised.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use populator_crd::v1alpha1::FailureClass;
use vmdisk_e2e::testing::class::Class;
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::{Scene, bed, files, scenario, syncs, until};

use crate::judge::{SOON, Told, failed, heals, raw, warned};

#[tokio::test]
async fn a_provisioner_that_fails_is_quoted_and_heals_by_itself() {
    scenario("failures", async |scene| tokio::try_join!(failing(scene), exhausted(scene)).map(drop)).await;
}

async fn failing(scene: &Scene) -> Result<()> {
    // Enough failures for somebody to look: the first seconds belong to a provisioner that is well.
    let parameters = [("failCreate", "8"), ("failCode", "Internal"), ("failStage", "1")];
    let class = Class::immediate(scene, &parameters).await?;
    let disk = served(scene, "failing", &class).await?;
    warned(scene, "failing", "ProvisioningFailed", &["Internal", "Mend what it names"]).await?;
    heals(scene, "failing", &disk).await?;
    never_failed(scene, "failing").await?;
    class.delete().await
}

async fn exhausted(scene: &Scene) -> Result<()> {
    let pool = Pool::without_room(scene).await?;
    let class = Class::immediate(scene, &[("capacityGroup", &scene.namespace)]).await?;
    let disk = served(scene, "exhausted", &class).await?;
    warned(scene, "exhausted", "ProvisioningFailed", &["ResourceExhausted", "Mend what it names"]).await?;
    pool.offer("1Gi")?;
    heals(scene, "exhausted", &disk).await?;
    never_failed(scene, "exhausted").await?;
    pool.forget()?;
    class.delete().await
}

#[tokio::test]
async fn a_volume_that_is_full_before_its_time_is_given_up() {
    scenario("failures", async |scene| {
        let class = Class::immediate(scene, &[("outOfSpace", "8Mi")]).await?;
        served(scene, "full", &class).await?;
        let told = Told {
            class: FailureClass::Transient,
            reason: "TargetIo",
            event: "SyncRetrying",
            names: &["No space left on device", "make room in the pool"],
        };
        failed(scene, "full", &told).await?;
        // Another volume may lie where there is room; this one holds part of a disk.
        let claims = scene.api::<PersistentVolumeClaim>();
        let uid = claims.get("full").await?.uid().unwrap_or_default();
        until::gone(&claims, &format!("prime-{uid}"), SOON).await?;
        class.delete().await
    })
    .await;
}

/// Serves a disk of 16 MiB, with an image and a claim of this class for it, both of this name.
async fn served(scene: &Scene, name: &str, class: &Class) -> Result<Vec<u8>> {
    let disk = raw(16 << 20);
    let published = files::publish(scene, &format!("{name}.img"), &disk)?;
    scene.create(&objects::image(name, &published.url)).await?;
    scene.create(&objects::claim_of(name, name, "64Mi", Mode::Filesystem, &class.name)?).await?;
    Ok(disk)
}

/// What the provisioner mends is no failure of the sync.
async fn never_failed(scene: &Scene, claim: &str) -> Result<()> {
    let failure = syncs::status_of(scene, claim).await?.and_then(|status| status.last_failure);
    ensure!(failure.is_none(), "the sync was failed for what the provisioner mended: {failure:?}");
    Ok(())
}

/// The budget of a class of its own, on each node.
struct Pool(Vec<PathBuf>);

impl Pool {
    async fn without_room(scene: &Scene) -> Result<Self> {
        let dir = bed::path("CSI_STATE")?.join("capacity").join(&scene.namespace);
        std::fs::create_dir_all(&dir)?;
        let nodes = Api::<Node>::all(scene.bed.client.clone()).list(&ListParams::default()).await?;
        let pool = Self(nodes.iter().map(|node| dir.join(node.name_any())).collect());
        pool.offer("1Mi")?;
        Ok(pool)
    }

    fn offer(&self, room: &str) -> Result<()> {
        Ok(self.0.iter().try_for_each(|node| std::fs::write(node, room))?)
    }

    fn forget(&self) -> Result<()> {
        let dir = self.0.first().and_then(|node| node.parent());
        Ok(dir.map_or(Ok(()), std::fs::remove_dir_all)?)
    }
}
