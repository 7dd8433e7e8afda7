//! A share of the hostile corpus through the whole operator: the claim is told what is wrong, and nothing remains.

use anyhow::{Context as _, Result, bail};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use populator_crd::v1alpha1::FailureClass;
use vmdisk_corpus::{Case, Class, Expected};
use vmdisk_e2e::testing::traces::Remembered;
use vmdisk_e2e::testing::{Scene, files, objects, scenario};

use crate::judge::{SOON, fails_for};

#[tokio::test]
async fn hostile_images_are_refused_by_name_and_leave_nothing() {
    scenario("failures", async |scene| {
        // One of each class for each format and wrapping: the worker's own tests take all of the corpus.
        let cases = vmdisk_corpus::sample();
        assert!(cases.len() > 10, "only {} cases", cases.len());
        try_join_all(cases.iter().map(|case| refused(scene, case))).await.map(drop)
    })
    .await;
}

async fn refused(scene: &Scene, case: &Case) -> Result<()> {
    let Expected::Refused { class, names } = case.expected else { bail!("{case:?} is a disk") };
    let published = files::publish(scene, &case.name, &case.bytes())?;
    let name = case.name.to_lowercase().replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    let event = match class {
        Class::DoesNotFit => "DoesNotFit",
        Class::Malformed => "ImageRefused",
    };
    fails_for(scene, objects::image(&name, &published.url), FailureClass::Final, event, &[names])
        .await
        .with_context(|| format!("{case:?}"))?;
    let claim = scene.api::<PersistentVolumeClaim>().get(&name).await?;
    Remembered::new(&claim)?.until_gone(&scene.bed, SOON).await
}
