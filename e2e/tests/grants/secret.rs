//! The Secret of an image is used where it is, and nowhere else.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::{ConfigMap, Event, PersistentVolume, PersistentVolumeClaim, Pod, Secret};
use kube::api::{ListParams, LogParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use populator_crd::v1alpha1::FailureClass;
use populator_crd::{VMDiskImage, VMDiskSync};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use vmdisk_e2e::cache;
use vmdisk_e2e::servers::{Auth, Fault};
use vmdisk_e2e::testing::audit::CONTROLLER;
use vmdisk_e2e::testing::files::{self, Published, Server};
use vmdisk_e2e::testing::reader::Expected;
use vmdisk_e2e::testing::tape::Tape;
use vmdisk_e2e::testing::{Scene, objects, until};

use crate::lab::{DISK_BYTES, Lab, SOON, across};

const SECRET: &str = "credentials";

#[tokio::test]
async fn the_images_own_secret_is_used_and_stays_where_it_is() {
    across(async |lab| {
        let (disk, expected, password) = private_disk(lab).await?;
        lab.images.create(&objects::ca()?).await?;
        lab.images.create(&objects::secret(SECRET, &[("username", "user"), ("password", &password)])).await?;
        // One of the same name beside the claim, which would be refused.
        lab.claims.create(&objects::secret(SECRET, &[("username", "user"), ("password", "another")])).await?;
        let tapes = Tapes::start(&lab.claims).await?;
        lab.grant().await?;

        lab.images.create(&image(&disk)).await?;
        lab.claim("claim", "image").await?;
        lab.until_filled("claim", &expected).await?;

        let count = Server::files()?.count(&disk.path).await?;
        let refused: Vec<_> =
            count.log.iter().filter(|seen| seen.authorized && matches!(seen.status, 401 | 403)).collect();
        ensure!(refused.is_empty(), "credentials were tried that are not the image's: {refused:?}");
        tapes.judge().await?;
        assert_untold(lab, &password).await
    })
    .await;
}

#[tokio::test]
async fn a_secret_of_the_claims_namespace_is_not_used() {
    across(async |lab| {
        let (disk, _, password) = private_disk(lab).await?;
        lab.images.create(&objects::ca()?).await?;
        lab.claims.create(&objects::secret(SECRET, &[("username", "user"), ("password", &password)])).await?;
        lab.grant().await?;

        lab.images.create(&image(&disk)).await?;
        lab.claim("claim", "image").await?;
        let failure = until::probed("the attempt fails", SOON, async || {
            let syncs = lab.images.api::<VMDiskSync>().list(&ListParams::default()).await?;
            Ok(syncs.items.into_iter().find_map(|sync| sync.status?.last_failure))
        })
        .await?;
        ensure!(
            failure.class == FailureClass::Denied && failure.message.contains("Secret"),
            "it failed with {failure:?}"
        );
        let count = Server::files()?.count(&disk.path).await?;
        ensure!(count.bytes == 0, "the disk was given out: {count:?}");
        Ok(())
    })
    .await;
}

/// The controller cannot read a Secret anywhere, so it cannot carry one.
#[tokio::test]
async fn the_controller_may_not_read_secrets() {
    across(async |lab| {
        let reviews = Api::<SubjectAccessReview>::all(lab.images.bed.client.clone());
        let may = async |verb: &str, group: &str, resource: &str| -> Result<bool> {
            let review = serde_json::from_value(json!({"metadata": {}, "spec": {
                "user": CONTROLLER,
                "groups": ["system:serviceaccounts", "system:serviceaccounts:sync-operator", "system:authenticated"],
                "resourceAttributes": {"verb": verb, "group": group, "resource": resource, "namespace": lab.images.namespace},
            }}))?;
            let review = reviews.create(&PostParams::default(), &review).await?;
            Ok(review.status.context("an access review is answered")?.allowed)
        };
        // That the account is the right one.
        ensure!(may("list", "", "persistentvolumeclaims").await?, "{CONTROLLER} may not even list claims");
        for verb in ["get", "list", "watch", "create", "update", "patch", "delete"] {
            ensure!(!may(verb, "", "secrets").await?, "{CONTROLLER} may {verb} Secrets");
        }
        Ok(())
    })
    .await;
}

/// A disk behind a password that nobody else has.
async fn private_disk(lab: &Lab<'_>) -> Result<(Published, Expected, String)> {
    let (disk, expected) = files::publish_random(lab.images, "disk.img", DISK_BYTES)?;
    let password = cache::key(&[expected.sha256.as_bytes(), b"password"]);
    let auth = Auth::Basic { username: "user".to_owned(), password: password.clone() };
    Server::files()?.set(&disk.path, &Fault { auth: Some(auth), ..Fault::default() }).await?;
    Ok((disk, expected, password))
}

fn image(disk: &Published) -> VMDiskImage {
    let mut image = objects::tls_image("image", &disk.tls_url);
    image.spec.secret_ref = Some(SECRET.to_owned());
    image
}

/// What comes into the claim's namespace.
struct Tapes {
    scene: Scene,
    secrets: Tape<Secret>,
    maps: Tape<ConfigMap>,
    pods: Tape<Pod>,
    syncs: Tape<VMDiskSync>,
}

impl Tapes {
    async fn start(scene: &Scene) -> Result<Self> {
        let all = ListParams::default;
        Ok(Self {
            scene: scene.clone(),
            secrets: Tape::start(scene.api(), all()).await?,
            maps: Tape::start(scene.api(), all()).await?,
            pods: Tape::start(scene.api(), all()).await?,
            syncs: Tape::start(scene.api(), all()).await?,
        })
    }

    /// There was never anything but what the test and the cluster put there.
    async fn judge(self) -> Result<()> {
        assert_only(self.secrets, |name| name == SECRET).await?;
        assert_only(self.maps, |name| name == "kube-root-ca.crt").await?;
        assert_only(self.pods, |name| name.starts_with("reader-")).await?;
        assert_only(self.syncs, |_| false).await?;
        let claims = self.scene.api::<PersistentVolumeClaim>().list(&ListParams::default()).await?;
        let names: Vec<_> = claims.iter().map(ResourceExt::name_any).collect();
        ensure!(names == ["claim"], "the claims are {names:?}");
        Ok(())
    }
}

async fn assert_only<K>(tape: Tape<K>, expected: impl Fn(&str) -> bool) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    for (object, _) in tape.stop().await? {
        let name = object.name_any();
        ensure!(expected(&name), "{} {name} was in the claim's namespace", K::kind(&()));
    }
    Ok(())
}

/// Nothing that anybody may read who may not read the Secret holds the password.
async fn assert_untold(lab: &Lab<'_>, password: &str) -> Result<()> {
    let mut told = String::new();
    for scene in [lab.images, &lab.claims] {
        write_all::<VMDiskImage>(&mut told, &scene.api()).await?;
        write_all::<VMDiskSync>(&mut told, &scene.api()).await?;
        write_all::<PersistentVolumeClaim>(&mut told, &scene.api()).await?;
        write_all::<Pod>(&mut told, &scene.api()).await?;
        write_all::<ConfigMap>(&mut told, &scene.api()).await?;
        write_all::<Event>(&mut told, &scene.api()).await?;
    }
    write_all::<PersistentVolume>(&mut told, &Api::all(lab.images.bed.client.clone())).await?;
    let controllers = lab.images.api_in::<Pod>("sync-operator");
    for pod in controllers.list(&ListParams::default()).await? {
        told.push_str(&controllers.logs(&pod.name_any(), &LogParams::default()).await?);
    }
    ensure!(told.contains(&lab.claims.namespace), "nothing was looked through");
    ensure!(!told.contains(password), "the password got out of its Secret");
    Ok(())
}

async fn write_all<K>(text: &mut String, api: &Api<K>) -> Result<()>
where
    K: Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let all = api.list(&ListParams::default()).await?;
    writeln!(text, "{}", serde_json::to_string(&all.items)?)?;
    Ok(())
}
