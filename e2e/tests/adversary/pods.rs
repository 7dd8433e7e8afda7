//! Pods that look like the victim's worker, in the adversary's own namespace.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use populator_crd::names;
use populator_crd::v1alpha1::SyncPhase;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::machine::Hold;
use vmdisk_e2e::servers::Fault;
use vmdisk_e2e::testing::class::Class;
use vmdisk_e2e::testing::files::Server;
use vmdisk_e2e::testing::forgery::{Deed, Mark, Owner, malformed_report, perfect_report};
use vmdisk_e2e::testing::tenant::Tenant;
use vmdisk_e2e::testing::until;
use vmdisk_e2e::testing::victim::Victim;

use crate::lair::{SOON, all, beside, ends, runs};

/// What becomes of a forged worker before the operator is asked what it makes of it.
#[derive(Clone, Copy, Debug)]
enum Trick {
    Runs,
    EndsMalformed,
    EndsPerfect,
    /// It names an owner that is not there, and the garbage collector takes it.
    Collected,
    /// It is deleted and does not go.
    HeldByFinalizer,
    /// It ends as an ordinary pod, and gets our names and labels later.
    DressedUp,
    /// It says that the victim's UID is that of a claim of the adversary's.
    Lies,
}

impl Trick {
    async fn play(self, tenant: &Tenant, mark: &Mark) -> Result<()> {
        let pod = names::worker(&mark.claim_uid);
        let malformed = Deed::Ends(15, malformed_report());
        match self {
            Self::Runs => {
                tenant.forge(&mark.worker(Owner::Unresolved, &Deed::Runs)?).await?;
                runs(tenant, &pod).await
            }
            Self::EndsMalformed => {
                tenant.forge(&mark.worker(Owner::Unresolved, &malformed)?).await?;
                ends(tenant, &pod).await
            }
            Self::EndsPerfect => {
                let perfect = Deed::Ends(0, perfect_report());
                tenant.forge(&mark.worker(Owner::Unresolved, &perfect)?).await?;
                ends(tenant, &pod).await
            }
            Self::Lies => {
                let lies = mark.lying(&tenant.namespace);
                tenant.forge(&lies.worker(Owner::Unresolved, &malformed)?).await?;
                ends(tenant, &pod).await
            }
            Self::Collected => {
                tenant.forge(&mark.worker(Owner::Sync, &Deed::Runs)?).await?;
                until::gone(&tenant.forged::<Pod>(), &pod, SOON).await
            }
            Self::HeldByFinalizer => {
                tenant.forge(&mark.held_worker(Owner::Unresolved, &Deed::Runs)?).await?;
                runs(tenant, &pod).await?;
                tenant.api::<Pod>().delete(&pod, &DeleteParams::default()).await?;
                ends(tenant, &pod).await
            }
            Self::DressedUp => {
                tenant.forge(&mark.naked_worker(&malformed)?).await?;
                ends(tenant, &pod).await?;
                let dress = Patch::Merge(mark.dress(Owner::Unresolved));
                tenant.forged::<Pod>().patch(&pod, &PatchParams::default(), &dress).await?;
                Ok(())
            }
        }
    }
}

#[tokio::test]
async fn while_the_worker_runs() {
    let rows = [
        ("runs", Trick::Runs),
        ("malformed", Trick::EndsMalformed),
        ("perfect", Trick::EndsPerfect),
        ("collected", Trick::Collected),
        ("held", Trick::HeldByFinalizer),
        ("dressed", Trick::DressedUp),
        ("lies", Trick::Lies),
    ];
    beside("pods", async |scene, tenant| {
        all(&rows, async |name, trick| {
            let victim = Victim::filling(scene, name).await?;
            trick.play(tenant, &victim.mark().await?).await?;
            victim.noticed().await?;
            victim.unharmed().await
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn before_there_is_a_worker() {
    let rows = [
        ("runs", Trick::Runs),
        ("malformed", Trick::EndsMalformed),
        ("perfect", Trick::EndsPerfect),
        ("collected", Trick::Collected),
    ];
    beside("pods", async |scene, tenant| {
        let class = Class::held(scene).await?;
        let outcome = async {
            let hold = Hold::new(&Instance::current()?, &scene.namespace)?;
            let released = std::sync::Mutex::new(Some(hold));
            let ready = tokio::sync::Barrier::new(rows.len());
            all(&rows, async |name, trick| {
                let attacked = async {
                    let victim = Victim::plan(scene, name, false).await?;
                    victim.image().await?;
                    victim.claim_in(&class.name).await?;
                    trick.play(tenant, &victim.mark().await?).await?;
                    victim.noticed().await?;
                    anyhow::Ok(victim)
                }
                .await;
                // The driver's hold is one for all of them; the last lets it go.
                ready.wait().await;
                released.lock().ok().and_then(|mut hold| hold.take());
                attacked?.unharmed().await
            })
            .await
        }
        .await;
        class.delete().await?;
        outcome
    })
    .await;
}

#[tokio::test]
async fn before_there_is_a_sync() {
    let rows = [
        ("runs", Trick::Runs),
        ("perfect", Trick::EndsPerfect),
        ("held", Trick::HeldByFinalizer),
        ("lies", Trick::Lies),
    ];
    beside("pods", async |scene, tenant| {
        all(&rows, async |name, trick| {
            let victim = Victim::plan(scene, name, false).await?;
            victim.claim().await?;
            trick.play(tenant, &victim.mark_of_claim().await?).await?;
            victim.noticed().await?;
            victim.image().await?;
            victim.unharmed().await
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn after_the_worker_is_gone() {
    let rows = [
        ("malformed", Trick::EndsMalformed),
        ("perfect", Trick::EndsPerfect),
        ("collected", Trick::Collected),
        ("held", Trick::HeldByFinalizer),
    ];
    beside("pods", async |scene, tenant| {
        all(&rows, async |name, trick| {
            let victim = Victim::filled(scene, name).await?;
            let before = victim.status().await?;
            trick.play(tenant, &victim.mark().await?).await?;
            victim.noticed().await?;
            let after = victim.status().await?;
            ensure!(before == after, "the record of what happened changed from {before:?} to {after:?}");
            victim.unharmed().await
        })
        .await
    })
    .await;
}

/// What a forged pod prints is no progress of anybody's.
#[tokio::test]
async fn what_they_print_is_not_written_down() {
    const SCRIPT: &str = r#"while :; do
  echo '{"stage":"Finalizing","bytesFetched":123456789012,"bytesWritten":123456789012,"percent":99}'; sleep 0.2
done"#;
    beside("pods", async |scene, tenant| {
        let victim = Victim::plan(scene, "told", false).await?;
        // So slowly that the operator reads both logs meanwhile.
        let slow = Fault { bytes_per_second: Some(400 << 10), ..Fault::default() };
        Server::files()?.set(&victim.published.path, &slow).await?;
        victim.image().await?;
        victim.claim().await?;
        let mark = victim.mark().await?;
        tenant.forge(&mark.worker(Owner::Unresolved, &Deed::Script(SCRIPT))?).await?;
        runs(tenant, &names::worker(&mark.claim_uid)).await?;
        let mut seen = BTreeSet::new();
        until::probed("progress is written three times", SOON, async || {
            let status = victim.status().await?.unwrap_or_default();
            seen.extend(status.progress.map(|progress| progress.bytes_fetched));
            Ok((seen.len() > 3 || status.phase == Some(SyncPhase::Succeeded)).then_some(()))
        })
        .await?;
        // Which judges every word that its record ever said.
        victim.unharmed().await
    })
    .await;
}
