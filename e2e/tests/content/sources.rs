//! Every place that an image can lie at.

use std::path::Path;

use anyhow::{Context as _, Result};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use populator_crd::VMDiskImageSpec;
use populator_crd::v1alpha1::SourceType;
use serde_json::json;
use vmdisk_e2e::testing::objects::{self, CA_CONFIG_MAP};
use vmdisk_e2e::testing::reader::Expected;
use vmdisk_e2e::testing::registry::Repository;
use vmdisk_e2e::testing::{Scene, bed, files, s3};

use crate::disk::Image;

/// Of all tests: an object's key begins with the namespace.
const BUCKET: &str = "content";

const LOGIN: &str = "registry-login";
const AWS_KEYS: &str = "aws-keys";
const PLAIN_KEYS: &str = "plain-keys";

/// Creates the CA and the Secrets that the images of [`publish`] name.
pub(crate) async fn prepare(scene: &Scene) -> Result<()> {
    scene.create(&objects::ca()?).await?;
    let (key, secret) = (bed::variable("S3_ACCESS_KEY")?, bed::variable("S3_SECRET_KEY")?);
    scene.create(&objects::secret(PLAIN_KEYS, &[("accessKeyId", &key), ("secretKey", &secret)])).await?;
    // An s3:// URL has no place for the host of a server of one's own.
    let endpoint = bed::variable("S3_ENDPOINT")?;
    let keys = [("AWS_ACCESS_KEY_ID", &*key), ("AWS_SECRET_ACCESS_KEY", &*secret), ("AWS_ENDPOINT_URL", &*endpoint)];
    scene.create(&objects::secret(AWS_KEYS, &keys)).await?;
    let login = json!({"auths": {bed::variable("PRIVATE_REGISTRY")?: {
        "username": bed::variable("PRIVATE_REGISTRY_USERNAME")?,
        "password": bed::variable("PRIVATE_REGISTRY_PASSWORD")?,
    }}});
    let mut secret = objects::secret(LOGIN, &[(".dockerconfigjson", &login.to_string())]);
    secret.type_ = Some("kubernetes.io/dockerconfigjson".to_owned());
    scene.create(&secret).await.map(drop)
}

/// An empty disk, and what it holds.
pub(crate) fn blank() -> (VMDiskImageSpec, Expected) {
    let spec = VMDiskImageSpec {
        source_type: Some(SourceType::Blank),
        disk_size: Some(Quantity("32Mi".to_owned())),
        ..VMDiskImageSpec::default()
    };
    (spec, Expected::of(&vec![0; 32 << 20]))
}

/// Puts an image wherever there is a place for it; gives each place's name, and how it is written.
pub(crate) async fn publish(
    scene: &Scene,
    image: &Image,
    name: &str,
    scratch: &Path,
) -> Result<Vec<(&'static str, VMDiskImageSpec)>> {
    let mut places = vec![("https", spec(&files::publish_file(scene, name, &image.file)?.tls_url))];
    places.extend(on_registry(scene, image, name, scratch).await?);
    places.extend(on_s3(scene, image, name).await?);
    Ok(places)
}

async fn on_registry(
    scene: &Scene,
    image: &Image,
    name: &str,
    scratch: &Path,
) -> Result<Vec<(&'static str, VMDiskImageSpec)>> {
    let repository = Repository::new(&format!("content/{}", scene.namespace))?;
    let tag = |kind: &str| format!("{name}-{kind}");
    let digest = repository.container_disk(&tag("oci"), &image.file, scratch)?;
    repository.docker(&tag("docker"), &tag("oci")).await?;
    repository.artifact(&tag("artifact"), &image.file, "application/octet-stream").await?;
    // Whoever takes the first of the index gets another disk.
    let foreign = scratch.join(format!("{name}-foreign.img"));
    std::fs::write(&foreign, vec![0xEE; 1 << 20])?;
    repository.container_disk(&tag("foreign"), &foreign, scratch)?;
    repository.index(&tag("index"), &tag("foreign"), &tag("oci")).await?;

    // The tag has moved; the digest is what counts.
    let pinned = format!("{}@{digest}", repository.url(&tag("foreign")));
    let private = repository.url(&tag("oci")).replacen("docker://", "oci://", 1);
    let private = private.replacen(&bed::variable("REGISTRY")?, &bed::variable("PRIVATE_REGISTRY")?, 1);
    Ok(vec![
        ("container-disk", spec(&repository.url(&tag("oci")))),
        ("docker", spec(&repository.url(&tag("docker")))),
        ("artifact", spec(&repository.url(&tag("artifact")))),
        ("index", spec(&repository.url(&tag("index")))),
        ("pinned", spec(&pinned)),
        ("private", with_secret(spec(&private), LOGIN)),
    ])
}

async fn on_s3(scene: &Scene, image: &Image, name: &str) -> Result<Vec<(&'static str, VMDiskImageSpec)>> {
    let key = format!("{}/{name}", scene.namespace);
    let contents = std::fs::read(&image.file).with_context(|| format!("cannot read {}", image.file.display()))?;
    s3::put(BUCKET, &key, contents).await?;
    let region = Some(s3::REGION.to_owned());
    let by_path = format!("{}/{BUCKET}/{key}", bed::variable("S3_ENDPOINT")?.trim_end_matches('/'));
    let by_path = VMDiskImageSpec { source_type: Some(SourceType::S3), region: region.clone(), ..spec(&by_path) };
    let by_name = VMDiskImageSpec { region, ..spec(&format!("s3://{BUCKET}/{key}")) };
    Ok(vec![("s3-https", with_secret(by_path, PLAIN_KEYS)), ("s3", with_secret(by_name, AWS_KEYS))])
}

fn spec(url: &str) -> VMDiskImageSpec {
    VMDiskImageSpec {
        url: Some(url.to_owned()),
        cert_config_map: Some(CA_CONFIG_MAP.to_owned()),
        ..VMDiskImageSpec::default()
    }
}

fn with_secret(spec: VMDiskImageSpec, name: &str) -> VMDiskImageSpec {
    VMDiskImageSpec { secret_ref: Some(name.to_owned()), ..spec }
}
