//! A namespace of victims (the test's own), and beside it the adversary's.

use std::time::Duration;

use anyhow::{Result, bail};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use vmdisk_e2e::testing::scene::delete_namespace;
use vmdisk_e2e::testing::tenant::Tenant;
use vmdisk_e2e::testing::{Scene, diagnostics, scenario, until};

/// Other tests may hold all permits for a while.
pub(crate) const SOON: Duration = Duration::from_mins(2);

/// Runs one test with both namespaces.
pub(crate) async fn beside(name: &str, body: impl AsyncFnOnce(&Scene, &Tenant) -> Result<()>) {
    scenario(name, async |scene| {
        let namespace = scene.another_namespace("adversary").await?;
        let tenant = Tenant::enter(&scene.bed, &namespace).await?;
        let outcome = body(scene, &tenant).await;
        if outcome.is_err() {
            diagnostics::tell(&Scene { namespace: namespace.clone(), ..scene.clone() }).await;
        }
        tenant.leave().await?;
        delete_namespace(&scene.bed, &namespace).await?;
        outcome
    })
    .await;
}

/// Runs every row of a table beside the others, and tells of all that fail.
pub(crate) async fn all<T>(rows: &[(&str, T)], run: impl AsyncFn(&str, &T) -> Result<()>) -> Result<()> {
    let outcomes = join_all(rows.iter().map(|(name, row)| run(name, row))).await;
    let failed: Vec<String> = rows
        .iter()
        .zip(outcomes)
        .filter_map(|((name, _), outcome)| outcome.err().map(|error| format!("{name}: {error:#}")))
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    bail!("{} of {} attacks did harm:\n{}", failed.len(), rows.len(), failed.join("\n"))
}

/// Waits until the pod of this name runs, or is there no more: what becomes of the forgery is not what is judged.
pub(crate) async fn runs(tenant: &Tenant, pod: &str) -> Result<()> {
    comes_to(tenant, pod, &["Running", "Succeeded", "Failed"]).await
}

/// Waits until the pod of this name has ended, or is there no more.
pub(crate) async fn ends(tenant: &Tenant, pod: &str) -> Result<()> {
    comes_to(tenant, pod, &["Succeeded", "Failed"]).await
}

async fn comes_to(tenant: &Tenant, pod: &str, phases: &[&str]) -> Result<()> {
    let api = tenant.forged::<Pod>();
    until::probed(&format!("the forged pod {pod} is {phases:?}"), SOON, async || {
        let Some(pod) = api.get_opt(pod).await? else { return Ok(Some(())) };
        let phase = pod.status.and_then(|status| status.phase).unwrap_or_default();
        Ok(phases.contains(&phase.as_str()).then_some(()))
    })
    .await
}
