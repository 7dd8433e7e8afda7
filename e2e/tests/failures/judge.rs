//! How an attempt failed and what was said of it; or that it did not fail after all.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams};
use populator_crd::v1alpha1::{FailureClass, LastFailure};
use populator_crd::{VMDiskImage, VMDiskSync};
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::reader::{self, Expected};
use vmdisk_e2e::testing::{Scene, syncs, until};

pub(crate) const SOON: Duration = Duration::from_mins(2);

/// What a failure must look like.
pub(crate) struct Told<'a> {
    /// What follows from it.
    pub(crate) class: FailureClass,
    /// The cause, in one word.
    pub(crate) reason: &'a str,
    /// The reason of the event on the claim.
    pub(crate) event: &'a str,
    /// What the message holds: what was found, what was expected, what to do.
    pub(crate) names: &'a [&'a str],
}

/// Content that looks like no disk format.
pub(crate) fn raw(bytes: usize) -> Vec<u8> {
    vec![7; bytes]
}

/// Creates an image and a claim of 64 MiB for it, both of the image's name, and judges the failure that follows.
pub(crate) async fn fails(scene: &Scene, image: VMDiskImage, told: &Told<'_>) -> Result<LastFailure> {
    let name = image.name_any();
    scene.create(&image).await?;
    scene.create(&objects::claim(&name, &name, "64Mi", Mode::Filesystem)?).await?;
    failed(scene, &name, told).await
}

/// As [`fails`], where the reason is no matter: only its class, the event, and what both name.
pub(crate) async fn fails_for(
    scene: &Scene,
    image: VMDiskImage,
    class: FailureClass,
    event: &str,
    names: &[&str],
) -> Result<()> {
    let name = image.name_any();
    scene.create(&image).await?;
    scene.create(&objects::claim(&name, &name, "64Mi", Mode::Filesystem)?).await?;
    let failure = failure(scene, &name).await?;
    let told = Told { class, reason: &failure.reason, event, names };
    failed(scene, &name, &told).await.map(drop)
}

/// How the attempt for a claim failed.
async fn failure(scene: &Scene, claim: &str) -> Result<LastFailure> {
    until::probed(&format!("the attempt for {claim} fails"), SOON, async || {
        Ok(syncs::status_of(scene, claim).await?.and_then(|status| status.last_failure))
    })
    .await
}

/// Judges the failure of a claim.
pub(crate) async fn failed(scene: &Scene, claim: &str, told: &Told<'_>) -> Result<LastFailure> {
    let failure = failure(scene, claim).await?;
    ensure!(failure.class == told.class && failure.reason == told.reason, "{claim}: expected another: {failure:?}");
    for name in told.names {
        ensure!(failure.message.contains(name), "{claim}: the message does not name {name}: {failure:?}");
    }
    let event = warned(scene, claim, told.event, told.names).await?;
    ensure!(event.contains(&failure.reason), "{claim}: the event does not name the reason: {event}");
    let object = scene.api::<PersistentVolumeClaim>().get(claim).await?;
    ensure!(!objects::is_bound(&object), "{claim} was bound although its attempt failed");
    Ok(failure)
}

/// Waits for a warning on the claim that names all of these, and gives its words.
pub(crate) async fn warned(scene: &Scene, claim: &str, reason: &str, names: &[&str]) -> Result<String> {
    let mut heard = Vec::new();
    let what = format!("{claim} is warned of {reason} with {names:?}");
    let found = until::probed(&what, SOON, async || {
        heard = warnings(scene, claim).await?;
        let messages = heard.iter().filter(|event| event.reason.as_deref() == Some(reason));
        let mut messages = messages.filter_map(|event| event.message.clone());
        Ok(messages.find(|message| names.iter().all(|name| message.contains(name))))
    })
    .await;
    let said = || heard.iter().map(|event| format!("{:?}: {:?}", event.reason, event.message)).collect::<Vec<_>>();
    found.with_context(|| format!("the warnings were {:?}", said()))
}

/// All warnings on the claim.
pub(crate) async fn warnings(scene: &Scene, claim: &str) -> Result<Vec<Event>> {
    let which = format!("involvedObject.kind=PersistentVolumeClaim,involvedObject.name={claim},type=Warning");
    Ok(scene.api::<Event>().list(&ListParams::default().fields(&which)).await?.items)
}

/// The claim is bound and holds `disk`, after one attempt.
pub(crate) async fn heals(scene: &Scene, claim: &str, disk: &[u8]) -> Result<()> {
    reader::holds(scene, claim, Mode::Filesystem, &Expected::of(disk), SOON).await?;
    let status = syncs::status_of(scene, claim).await?.context("there is a sync")?;
    ensure!(status.attempt == 1, "{claim}: one attempt was enough, not {}: {status:?}", status.attempt);
    Ok(())
}

/// Deletes the record of a claim's sync, which is how a person says "now".
pub(crate) async fn start_again(scene: &Scene, claim: &str) -> Result<()> {
    let sync = syncs::of(scene, claim).await?.context("there is a sync")?.name_any();
    scene.api::<VMDiskSync>().delete(&sync, &DeleteParams::default()).await?;
    Ok(())
}
