//! Records of syncs that the controller did not write. No role of ours lets anybody write one; a cluster's administrator
//! may have given somebody a role with every verb.

use anyhow::{Context as _, Result, ensure};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams, PostParams};
use populator_crd::v1alpha1::SyncPhase;
use populator_crd::{VMDiskSync, names};
use serde_json::json;
use vmdisk_e2e::testing::forgery::{Mark, uuid};
use vmdisk_e2e::testing::objects;
use vmdisk_e2e::testing::tenant::Tenant;
use vmdisk_e2e::testing::until;
use vmdisk_e2e::testing::victim::Victim;

use crate::lair::{SOON, all, beside};

const PHASES: [(&str, SyncPhase); 4] = [
    ("succeeded", SyncPhase::Succeeded),
    ("syncing", SyncPhase::Syncing),
    ("failed", SyncPhase::Failed),
    ("queued", SyncPhase::Queued),
];

/// Writes a record of the victim into the adversary's namespace.
async fn forge(tenant: &Tenant, mark: &Mark, phase: SyncPhase) -> Result<String> {
    let name = names::sync(&mark.name, &mark.claim_uid);
    let sync: VMDiskSync = serde_json::from_value(json!({
        "apiVersion": "pelotech.ot/v1alpha1",
        "kind": "VMDiskSync",
        "metadata": {"name": name, "labels": mark.labels(), "annotations": mark.annotations()},
        "spec": {
            "claim": {"namespace": mark.namespace, "name": mark.name, "uid": mark.claim_uid},
            "image": {"name": mark.name, "uid": uuid(1), "generation": 1},
        },
    }))?;
    let api = tenant.forged::<VMDiskSync>();
    let made = api.create(&PostParams::default(), &sync).await.context("cannot forge a record")?;
    let status = json!({"status": {
        "phase": phase, "attempt": 1, "interruptions": 0,
        "prime": names::prime(&mark.claim_uid), "pod": names::worker(&mark.claim_uid),
    }});
    api.patch_status(&made.name_any(), &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(name)
}

#[tokio::test]
async fn of_another_namespace_change_nothing_while_the_worker_runs() {
    beside("records", async |scene, tenant| {
        all(&PHASES, async |name, phase| {
            let victim = Victim::filling(scene, name).await?;
            forge(tenant, &victim.mark().await?, *phase).await?;
            victim.noticed().await?;
            let forged = tenant.forged::<VMDiskSync>();
            let harmless = one_record(victim, &forged).await;
            harmless.map(drop)
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn of_another_namespace_change_nothing_before_there_is_a_sync() {
    beside("records", async |scene, tenant| {
        all(&PHASES, async |name, phase| {
            let victim = Victim::plan(scene, name, false).await?;
            victim.claim().await?;
            forge(tenant, &victim.mark_of_claim().await?, *phase).await?;
            victim.noticed().await?;
            victim.image().await?;
            one_record(victim, &tenant.forged::<VMDiskSync>()).await
        })
        .await
    })
    .await;
}

/// The victim is filled, and its true record is not the forged one, which is out of the way first: the judge wants one.
async fn one_record(mut victim: Victim, forged: &kube::Api<VMDiskSync>) -> Result<()> {
    victim.release().await?;
    victim.holds().await?;
    let mark = victim.mark().await?;
    let name = names::sync(&mark.name, &mark.claim_uid);
    if forged.get_opt(&name).await?.is_some() {
        forged.delete(&name, &kube::api::DeleteParams::default()).await?;
        until::gone(forged, &name, SOON).await?;
    }
    victim.unharmed().await
}

/// Where the adversary may write records beside the image, a forged one keeps its claim from being filled, as any
/// deletion of the image would. It must not say that the claim is filled, and go when it is deleted.
#[tokio::test]
async fn of_the_same_namespace_are_no_success_and_go_when_they_are_deleted() {
    beside("records", async |scene, _| {
        let beside_them = Tenant::enter(&scene.bed, &scene.namespace).await?;
        all(&PHASES, async |name, phase| {
            let mut victim = Victim::plan(scene, name, false).await?;
            victim.claim().await?;
            let record = forge(&beside_them, &victim.mark_of_claim().await?, *phase).await?;
            victim.noticed().await?;
            victim.image().await?;
            victim.noticed().await?;
            if objects::is_bound(&victim.object().await?) {
                return victim.holds().await.context("filled in spite of it");
            }
            let api = beside_them.api::<VMDiskSync>();
            if api.get_opt(&record).await?.is_some() {
                // The way to retry by hand.
                api.delete(&record, &kube::api::DeleteParams::default()).await?;
            }
            let status = victim.filled_in_the_end().await?.status;
            ensure!(status.phase != Some(SyncPhase::Failed), "it is filled, and its record says {status:?}");
            Ok(())
        })
        .await
    })
    .await;
}
