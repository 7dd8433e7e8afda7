//! What a namespace does not let be: the prime or the worker, by its quota or its limits.

use std::collections::BTreeMap;

use anyhow::Result;
use k8s_openapi::api::core::v1::{
    LimitRange, LimitRangeItem, LimitRangeSpec, PersistentVolumeClaim, ResourceQuota, ResourceQuotaSpec,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{ObjectMeta, PostParams};
use populator_crd::v1alpha1::FailureClass;
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::{Scene, files, scenario, until};

use crate::judge::{SOON, Told, failed, heals, raw, start_again};

/// The name of the quota and of the limits.
const BOUND: &str = "bound";

const PRIME_REFUSED: Told<'_> = Told {
    class: FailureClass::Transient,
    reason: "VolumeRefused",
    event: "VolumeRefused",
    names: &["correct the quota or policy of the image's namespace"],
};

const WORKER_REFUSED: Told<'_> = Told {
    class: FailureClass::Transient,
    reason: "WorkerRefused",
    event: "WorkerRefused",
    names: &["correct the quota, the Pod Security level or the policy of namespace"],
};

#[tokio::test]
async fn a_quota_that_refuses_prime_or_worker_is_named_and_can_be_lifted() {
    scenario("failures", async |scene| {
        // Room for both claims and the smaller one's prime, and for no pod.
        quota(scene, &[("requests.storage", "100Mi"), ("pods", "0")]).await?;
        let disk = image(scene).await?;
        for (name, size) in [("large", "64Mi"), ("small", "16Mi")] {
            scene.create(&objects::claim(name, "disk", size, Mode::Filesystem)?).await?;
        }
        let names = &[PRIME_REFUSED.names[0], "exceeded quota: bound", "limited: requests.storage=100Mi"];
        failed(scene, "large", &Told { names, ..PRIME_REFUSED }).await?;
        let names = &[WORKER_REFUSED.names[0], &scene.namespace, "exceeded quota: bound", "limited: pods=0"];
        failed(scene, "small", &Told { names, ..WORKER_REFUSED }).await?;
        scene.delete::<ResourceQuota>(BOUND, SOON).await?;
        for name in ["large", "small"] {
            start_again(scene, name).await?;
        }
        tokio::try_join!(heals(scene, "large", &disk), heals(scene, "small", &disk))?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn limits_that_refuse_prime_or_worker_are_named() {
    scenario("failures", async |scene| {
        // The claim was there before the limit, and waits for its image.
        let large = objects::claim("large", "disk", "64Mi", Mode::Filesystem)?;
        scene.create(&large).await?;
        limit(scene, &[("PersistentVolumeClaim", "storage", "32Mi"), ("Container", "memory", "64Mi")]).await?;
        let (claims, dry_run) = (scene.api(), PostParams { dry_run: true, ..PostParams::default() });
        let another = objects::claim("another", "disk", "64Mi", Mode::Filesystem)?;
        until::probed("the limit is in force", SOON, async || {
            let answer: Result<PersistentVolumeClaim, _> = claims.create(&dry_run, &another).await;
            Ok(matches!(answer, Err(kube::Error::Api(status)) if status.code == 403).then_some(()))
        })
        .await?;
        image(scene).await?;
        scene.create(&objects::claim("small", "disk", "16Mi", Mode::Filesystem)?).await?;
        let names = &[PRIME_REFUSED.names[0], "maximum storage usage per PersistentVolumeClaim is 32Mi"];
        failed(scene, "large", &Told { names, ..PRIME_REFUSED }).await?;
        let names = &[WORKER_REFUSED.names[0], "maximum memory usage per Container is 64Mi"];
        failed(scene, "small", &Told { names, ..WORKER_REFUSED }).await?;
        Ok(())
    })
    .await;
}

/// Serves a disk, with an image of that name.
async fn image(scene: &Scene) -> Result<Vec<u8>> {
    let disk = raw(1 << 20);
    let published = files::publish(scene, "disk.img", &disk)?;
    scene.create(&objects::image("disk", &published.url)).await?;
    Ok(disk)
}

/// Bounds what the namespace may hold, and waits until that is in force.
async fn quota(scene: &Scene, most: &[(&str, &str)]) -> Result<()> {
    let hard = most.iter().map(|(resource, most)| quantity(resource, most)).collect();
    let quota = ResourceQuota {
        metadata: named(BOUND),
        spec: Some(ResourceQuotaSpec { hard: Some(hard), ..ResourceQuotaSpec::default() }),
        ..ResourceQuota::default()
    };
    scene.create(&quota).await?;
    let counted = |quota: &ResourceQuota| quota.status.as_ref().is_some_and(|status| status.used.is_some());
    until::holds(&scene.api::<ResourceQuota>(), BOUND, "is counted", SOON, counted).await.map(drop)
}

/// Bounds what one object of the namespace may ask for.
async fn limit(scene: &Scene, most: &[(&str, &str, &str)]) -> Result<()> {
    let item = |(of, resource, most): &(&str, &str, &str)| LimitRangeItem {
        type_: (*of).to_owned(),
        max: Some(BTreeMap::from([quantity(resource, most)])),
        ..LimitRangeItem::default()
    };
    let spec = LimitRangeSpec { limits: most.iter().map(item).collect() };
    scene.create(&LimitRange { metadata: named(BOUND), spec: Some(spec) }).await.map(drop)
}

fn quantity(resource: &str, most: &str) -> (String, Quantity) {
    (resource.to_owned(), Quantity(most.to_owned()))
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}
