//! The floor of a round: bare claims, and bare pods that mount them and end at once, as many beside each other as syncs
//! may run. What the cluster itself takes for the same objects: no populator of this kind can be faster.

use std::collections::BTreeSet;
use std::future::ready;
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::DeleteParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use tokio::sync::watch;
use vmdisk_e2e::testing::likeness::Likeness;
use vmdisk_e2e::testing::objects::is_bound;
use vmdisk_e2e::testing::{Scene, until};

use crate::measure::long;

/// Measures from the first create request to the sight of the last pod whose container has ended.
///
/// As ours: a next pair is made when a pod has ended, and that pod is deleted meanwhile. The claims stay.
pub(crate) async fn of(
    scene: &Scene,
    likeness: &Likeness,
    name: &str,
    count: usize,
    at_once: usize,
) -> Result<Duration> {
    let (tell, ended) = watch::channel(BTreeSet::new());
    let pods: Api<Pod> = scene.api();
    let start = Instant::now();
    let pairs = stream::iter(0..count)
        .map(|number| pair(scene, likeness, format!("{name}-{number}"), ended.clone()))
        .buffer_unordered(at_once)
        .map_ok(async |(name, end)| {
            pods.delete(&name, &DeleteParams::default()).await.context("cannot delete a bare pod")?;
            Ok(end)
        })
        .try_buffer_unordered(count)
        .try_fold(start, |last, end| ready(Ok(last.max(end))));
    let last = tokio::time::timeout(long(count), async {
        tokio::select! {
            last = pairs => last,
            failed = tell_ends(pods.clone(), &tell) => Err(failed.err().context("the watch of bare pods ended")?),
        }
    });
    let last = last.await.context("the bare pods have not ended")??;
    // None of the pods could have begun otherwise.
    let claims: Api<PersistentVolumeClaim> = scene.api();
    let names = (0..count).map(|number| format!("{name}-{number}"));
    until::all_hold(&claims, names, "is bound", long(1), is_bound).await?;
    Ok(last - start)
}

/// Makes a claim and its pod, and waits for the pod's end; gives their name, and when that was.
async fn pair(
    scene: &Scene,
    likeness: &Likeness,
    name: String,
    mut ended: watch::Receiver<BTreeSet<String>>,
) -> Result<(String, Instant)> {
    scene.create(&likeness.claim(&name)).await?;
    scene.create(&likeness.pod(&name)).await?;
    ended.wait_for(|ended| ended.contains(&name)).await.context("nobody watches the bare pods")?;
    Ok((name, Instant::now()))
}

/// Tells the names of pods whose container has ended, by the same sign as the controller: the phase says so a moment
/// later. Ends only with an error.
async fn tell_ends(pods: Api<Pod>, tell: &watch::Sender<BTreeSet<String>>) -> Result<()> {
    let mut seen = pin!(watcher(pods, watcher::Config::default()).default_backoff().applied_objects());
    while let Some(pod) = seen.try_next().await.context("the watch of bare pods broke off")? {
        match exit_code(&pod) {
            Some(0) => drop(tell.send_if_modified(|ended| ended.insert(pod.name_any()))),
            Some(code) => bail!("the bare pod {} ended with {code}", pod.name_any()),
            None => {}
        }
    }
    Ok(())
}

fn exit_code(pod: &Pod) -> Option<i32> {
    let container = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    Some(container.state.as_ref()?.terminated.as_ref()?.exit_code)
}
