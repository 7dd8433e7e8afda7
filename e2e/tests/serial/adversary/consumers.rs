//! Pods that use the prime before it is handed over: who had it mounted would keep the volume.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::DeleteParams;
use populator_crd::names;
use vmdisk_e2e::testing::objects::Mode;
use vmdisk_e2e::testing::tenant::Tenant;
use vmdisk_e2e::testing::victim::Victim;
use vmdisk_e2e::testing::{Consumer, Scene, scenario, until};

use super::{bystander, in_short, waits};

const SOON: Duration = Duration::from_mins(1);

#[tokio::test]
async fn of_the_prime_are_no_consumers_of_the_claim() {
    scenario("consumers", async |scene| {
        let tenant = Tenant::enter(&scene.bed, &scene.namespace).await?;
        in_short(scene, async || {
            let mounted = used(scene, &tenant, "mounted", None).await?;
            let nowhere = used(scene, &tenant, "nowhere", Some("no-such-node")).await?;
            let mut victims = [mounted, nowhere];
            for (victim, consumer) in &mut victims {
                victim.release().await?;
                victim.told_of(consumer).await?;
                waits(victim).await?;
            }
            // Neither of the two keeps a place.
            bystander(scene).await?;
            for (victim, consumer) in &mut victims {
                let pods = tenant.api::<Pod>();
                pods.delete(consumer, &DeleteParams::default().grace_period(0)).await?;
                until::gone(&pods, consumer, SOON).await?;
                victim.filled_in_the_end().await?.within(2)?;
            }
            Ok(())
        })
        .await
    })
    .await;
}

/// A claim that is being filled, and a pod that uses its prime.
async fn used(scene: &Scene, tenant: &Tenant, name: &str, node: Option<&str>) -> Result<(Victim, String)> {
    let victim = Victim::filling(scene, name).await?;
    let prime = names::prime(&victim.mark().await?.claim_uid);
    // The volume has one node, and the prime says which.
    scene.api::<PersistentVolumeClaim>().get(&prime).await?;
    let pod = Consumer { claim: &prime, mode: Mode::Filesystem, node };
    let as_tenant = Scene { bed: vmdisk_e2e::testing::Bed { client: tenant.client.clone() }, ..scene.clone() };
    pod.create(&as_tenant).await?;
    if node.is_none() {
        pod.runs(scene, SOON).await?;
    }
    Ok((victim, prime))
}
