//! Great numbers of objects: images, claims that were filled long ago, and claims that wait.
//!
//! One claim is really filled, and all others are made in its likeness, so that they look as the controller leaves them.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use populator_crd::v1alpha1::SyncPhase;
use populator_crd::{VMDiskImage, VMDiskImageSpec, VMDiskSync, names};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use vmdisk_e2e::stage::actor::persist;
use vmdisk_e2e::stage::{IMMEDIATE, LONG, Stage};
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::until;

/// How many images there are, and in how many namespaces.
pub(crate) const IMAGES: usize = 1_000;
const NAMESPACES: usize = 50;

/// How many requests are under way at once.
const AT_ONCE: usize = 64;

/// Names that nothing else has, so that they can be replaced in the text of an object.
const MODEL: &str = "stage-model";

/// An image as claims refer to it.
#[derive(Clone, Debug)]
struct Image {
    namespace: String,
    name: String,
    uid: String,
}

/// What there is on the stage.
pub(crate) struct Stock {
    client: Client,
    /// For syncs, which nobody else may write.
    controllers: Client,
    images: Vec<Image>,
    model: Model,
    filled: usize,
    next: AtomicUsize,
}

/// A claim that was really filled, with everything that stayed of it, as text.
struct Model {
    uid: String,
    image_uid: String,
    volume_name: String,
    claim: Value,
    volume: Value,
    sync: Value,
}

impl Stock {
    /// Makes the images, and fills the model.
    pub(crate) async fn new(stage: &Stage) -> Result<Self> {
        let client = stage.client.clone();
        for number in 0..NAMESPACES {
            stage.namespace(&namespace(number)).await?;
        }
        stage.namespace(MODEL).await?;
        let images = stream::iter(0..IMAGES).map(|number| image(&client, number)).buffered(AT_ONCE);
        let images = images.try_collect().await.context("cannot make the images")?;
        let model = Model::fill(stage).await?;
        let controllers = stage.as_controller().await?;
        Ok(Self { client, controllers, images, model, filled: 0, next: AtomicUsize::new(0) })
    }

    /// Adds filled claims until there are so many, `already` of them filled by a controller.
    pub(crate) async fn fill_up_to(&mut self, filled: usize, already: usize) -> Result<()> {
        let missing = filled.saturating_sub(self.filled + already);
        let all = stream::iter(0..missing).map(|_| self.add_filled()).buffer_unordered(AT_ONCE);
        all.try_collect::<()>().await.context("cannot make filled claims")?;
        self.filled += missing + already;
        Ok(())
    }

    /// Adds claims that are to be filled.
    pub(crate) async fn add_waiting(&self, count: usize) -> Result<()> {
        let all = stream::iter(0..count).map(|_| async {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let image = &self.images[number % self.images.len()];
            let claim =
                objects::claim_of(&format!("waiting-{number}"), &image.name, "1Gi", Mode::Filesystem, IMMEDIATE)?;
            let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &image.namespace);
            let post = PostParams::default();
            match persist(|| api.create(&post, &claim)).await {
                // The answer was lost.
                Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                answer => drop(answer?),
            }
            anyhow::Ok(())
        });
        all.buffer_unordered(AT_ONCE).try_collect::<()>().await.context("cannot make waiting claims")
    }

    /// How many syncs are in a phase.
    pub(crate) async fn syncs(&self, phase: SyncPhase) -> Result<usize> {
        let api: Api<VMDiskSync> = Api::all(self.client.clone());
        let fields = ListParams::default().fields(&format!("status.phase={phase:?}"));
        Ok(api.list_metadata(&fields).await?.items.len())
    }

    async fn add_filled(&self) -> Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let image = &self.images[number % self.images.len()];
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &image.namespace);
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let syncs: Api<VMDiskSync> = Api::namespaced(self.controllers.clone(), &image.namespace);
        let claim = format!("filled-{number}");
        let volume = format!("filled-{number}");
        let likeness = |object: &Value, uid: &str| {
            with_names(
                object,
                &[
                    (&self.model.volume_name, &volume),
                    (&self.model.uid, uid),
                    (&self.model.image_uid, &image.uid),
                    ("stage-model-claim", &claim),
                    ("stage-model-image", &image.name),
                    // Last: the others begin with it.
                    (MODEL, &image.namespace),
                ],
            )
        };
        let stored = store(&claims, &likeness(&self.model.claim, "")?).await?;
        let uid = stored.uid().context("a stored claim has a UID")?;
        store(&volumes, &likeness(&self.model.volume, &uid)?).await?;
        let mut sync = likeness(&self.model.sync, &uid)?;
        sync["metadata"]["name"] = json!(names::sync(&claim, &uid));
        store(&syncs, &sync).await?;
        Ok(())
    }
}

/// Creates an object with its status.
async fn store<K>(api: &Api<K>, object: &Value) -> Result<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let typed: K = serde_json::from_value(object.clone()).context("the likeness of an object is one")?;
    let name = typed.meta().name.clone().unwrap_or_default();
    let (post, params) = (PostParams::default(), PatchParams::default());
    match persist(|| api.create(&post, &typed)).await {
        // The answer was lost.
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        answer => drop(answer?),
    }
    let status = Patch::Merge(json!({"status": object["status"]}));
    Ok(persist(|| api.patch_status(&name, &params, &status)).await?)
}

impl Model {
    /// Lets a controller fill a claim, and takes what stays.
    async fn fill(stage: &Stage) -> Result<Self> {
        let mut controller = stage.controller().await?;
        controller.ready().await?;
        let post = PostParams::default();
        let images: Api<VMDiskImage> = Api::namespaced(stage.client.clone(), MODEL);
        let image = images.create(&post, &VMDiskImage::new("stage-model-image", spec("stage-model-image"))).await?;
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(stage.client.clone(), MODEL);
        let claim = objects::claim_of("stage-model-claim", "stage-model-image", "1Gi", Mode::Filesystem, IMMEDIATE)?;
        claims.create(&post, &claim).await?;
        let syncs: Api<VMDiskSync> = Api::namespaced(stage.client.clone(), MODEL);
        let sync = until::probed("the model is filled", LONG, async || {
            let syncs = syncs.list(&ListParams::default()).await?.items;
            let succeeded =
                |sync: &VMDiskSync| sync.status.as_ref().and_then(|status| status.phase) == Some(SyncPhase::Succeeded);
            Ok(syncs.into_iter().find(succeeded))
        })
        .await?;
        until::probed("the model's prime is gone", LONG, async || {
            Ok((claims.list_metadata(&ListParams::default()).await?.items.len() == 1).then_some(()))
        })
        .await?;
        controller.stop().await?;
        let claim = claims.get("stage-model-claim").await?;
        let volume_name = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone());
        let volume_name = volume_name.context("a filled claim has a volume")?;
        let volume = Api::<PersistentVolume>::all(stage.client.clone()).get(&volume_name).await?;
        Ok(Self {
            uid: claim.uid().context("a stored claim has a UID")?,
            image_uid: image.uid().context("a stored image has a UID")?,
            volume_name,
            claim: bare(claim)?,
            volume: bare(volume)?,
            sync: bare(sync)?,
        })
    }
}

/// An object with other names in it.
fn with_names(object: &Value, replaced: &[(&str, &str)]) -> Result<Value> {
    let mut text = object.to_string();
    for (from, to) in replaced {
        text = text.replace(from, to);
    }
    serde_json::from_str(&text).context("names can be replaced in an object")
}

/// An object without what the API server gives it.
fn bare(object: impl Serialize) -> Result<Value> {
    let mut object = serde_json::to_value(object).context("an object has a JSON form")?;
    let metadata = object["metadata"].as_object_mut().context("an object has metadata")?;
    for given in ["uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"] {
        metadata.remove(given);
    }
    Ok(object)
}

fn namespace(number: usize) -> String {
    format!("lab-{number}")
}

async fn image(client: &Client, number: usize) -> Result<Image> {
    let (namespace, name) = (namespace(number % NAMESPACES), format!("image-{number}"));
    let api: Api<VMDiskImage> = Api::namespaced(client.clone(), &namespace);
    let stored = api.create(&PostParams::default(), &VMDiskImage::new(&name, spec(&name))).await?;
    Ok(Image { namespace, name, uid: stored.uid().context("a stored image has a UID")? })
}

fn spec(name: &str) -> VMDiskImageSpec {
    VMDiskImageSpec { url: Some(format!("http://images.stage.invalid/{name}")), ..VMDiskImageSpec::default() }
}
