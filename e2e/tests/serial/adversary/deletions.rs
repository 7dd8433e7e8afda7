//! Worker, prime and record taken away, or changed beyond recognition, while the claim is filled: each costs one attempt
//! at most, which is counted, and the claim is filled in the end.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::future::join_all;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Resource, ResourceExt as _};
use populator_crd::v1alpha1::SyncPhase;
use populator_crd::{VMDiskSync, names};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use vmdisk_e2e::testing::tenant::{FINALIZER, Tenant};
use vmdisk_e2e::testing::victim::Victim;
use vmdisk_e2e::testing::{scenario, until};

use crate::policy::Policy;

const SOON: Duration = Duration::from_mins(1);

/// What is done to a claim that is being filled.
#[derive(Clone, Debug)]
enum Deed {
    DeleteWorker,
    DeletePrime,
    DeleteSync,
    PatchWorker(Value),
    PatchPrime(Value),
}

impl Deed {
    async fn play(&self, tenant: &Tenant, victim: &Victim) -> Result<()> {
        let mark = victim.mark().await?;
        let (worker, prime) = (names::worker(&mark.claim_uid), names::prime(&mark.claim_uid));
        match self {
            Self::DeleteWorker => delete(&tenant.api::<Pod>(), &worker, true).await,
            // The worker that uses it keeps it for a while.
            Self::DeletePrime => delete(&tenant.api::<PersistentVolumeClaim>(), &prime, false).await,
            Self::DeleteSync => {
                delete(&tenant.api::<VMDiskSync>(), &names::sync(&mark.name, &mark.claim_uid), true).await
            }
            Self::PatchWorker(patch) => {
                tenant.forged::<Pod>().patch(&worker, &PatchParams::default(), &Patch::Merge(patch)).await?;
                Ok(())
            }
            Self::PatchPrime(patch) => {
                let api = tenant.forged::<PersistentVolumeClaim>();
                api.patch(&prime, &PatchParams::default(), &Patch::Merge(patch)).await?;
                Ok(())
            }
        }
    }
}

/// Deletes an object, and waits until it is gone, whatever has its name then.
async fn delete<K>(api: &Api<K>, name: &str, gone: bool) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let uid = api.get_metadata(name).await?.uid();
    api.delete(name, &DeleteParams::default()).await.with_context(|| format!("cannot delete {name}"))?;
    until::probed(&format!("{name} is deleted"), SOON, async || {
        let now = api.get_metadata_opt(name).await?;
        let is_old = |going: bool| {
            now.as_ref().is_some_and(|now| now.uid() == uid && (!going || now.metadata.deletion_timestamp.is_none()))
        };
        Ok((!is_old(!gone)).then_some(()))
    })
    .await
}

#[tokio::test]
async fn cost_one_attempt_at_most() {
    let off = |keys: &[&str]| json!({"metadata": {"labels": keys.iter().map(|key| ((*key).to_owned(), Value::Null)).collect::<serde_json::Map<_, _>>()}});
    let labels = off(&[names::CLAIM_UID_LABEL, names::CLAIM_NAMESPACE_LABEL, names::COMPONENT_LABEL]);
    let orphaned = json!({"metadata": {"ownerReferences": []}});
    let held = json!({"metadata": {"finalizers": [FINALIZER]}});
    let held_prime = json!({"metadata": {"finalizers": ["kubernetes.io/pvc-protection", FINALIZER]}});
    let rows = [
        ("worker", Deed::DeleteWorker),
        ("prime", Deed::DeletePrime),
        ("sync", Deed::DeleteSync),
        ("worker-labels", Deed::PatchWorker(labels.clone())),
        ("worker-owner", Deed::PatchWorker(orphaned.clone())),
        ("worker-held", Deed::PatchWorker(held)),
        ("prime-labels", Deed::PatchPrime(labels)),
        ("prime-owner", Deed::PatchPrime(orphaned)),
        ("prime-held", Deed::PatchPrime(held_prime)),
    ];
    scenario("deletions", async |scene| {
        let tenant = Tenant::enter(&scene.bed, &scene.namespace).await?;
        let wide = [("concurrency", "4"), ("retryBackoffDuration", "1s"), ("retryBackoffMax", "2s")];
        let outcome = Policy::during(&scene.bed.client, &wide, async |_| {
            let outcomes = join_all(rows.iter().map(async |(name, deed)| {
                let mut victim = Victim::filling(scene, name).await?;
                deed.play(&tenant, &victim).await?;
                victim.noticed().await?;
                victim.filled_in_the_end().await?.within(2)?;
                // The place is free also where something of it is held.
                until::probed(&format!("the record of {name} says that it succeeded"), SOON, async || {
                    let phase = victim.status().await?.and_then(|status| status.phase);
                    Ok((phase == Some(SyncPhase::Succeeded)).then_some(()))
                })
                .await
            }))
            .await;
            let wrong: Vec<String> = rows
                .iter()
                .zip(outcomes)
                .filter_map(|((name, _), outcome)| outcome.err().map(|error| format!("{name}: {error:#}")))
                .collect();
            if !wrong.is_empty() {
                bail!("{}", wrong.join("\n"));
            }
            Ok(())
        })
        .await;
        tenant.leave().await?;
        outcome
    })
    .await;
}
