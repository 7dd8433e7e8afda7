//! Images of every kind of source whose server counts what it sends, each with bytes of its own.

use std::path::Path;

use anyhow::{Context as _, Result};
use populator_crd::v1alpha1::SourceType;
use populator_crd::{VMDiskImage, VMDiskImageSpec};
use vmdisk_e2e::command::cmd;
use vmdisk_e2e::servers::{Count, Fault};
use vmdisk_e2e::testing::files::{self, Server};
use vmdisk_e2e::testing::reader::Expected;
use vmdisk_e2e::testing::registry::Repository;
use vmdisk_e2e::testing::{Scene, bed, objects, random::Random, s3};

const KEYS: &str = "s3-keys";
/// Of all runs: an object's key begins with the namespace.
const BUCKET: &str = "chaos";

/// Where an image lies, and in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Http,
    Https,
    Gzip,
    Qcow2,
    Artifact,
    S3,
}

impl Source {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [Self::Http, Self::Https, Self::Gzip, Self::Qcow2, Self::Artifact, Self::S3];
}

/// An image that is served.
pub(crate) struct Image {
    /// As its user writes it.
    pub(crate) object: VMDiskImage,
    /// The disk in it.
    pub(crate) disk: Expected,
    /// What is sent for it at least.
    pub(crate) bytes: u64,
    server: Server,
    path: String,
}

impl Image {
    /// What was asked for of it.
    pub(crate) async fn count(&self) -> Result<Count> {
        self.server.count(&self.path).await
    }
}

/// Creates what images refer to.
pub(crate) async fn prepare(scene: &Scene) -> Result<()> {
    scene.create(&objects::ca()?).await?;
    let (key, secret) = (bed::variable("S3_ACCESS_KEY")?, bed::variable("S3_SECRET_KEY")?);
    scene.create(&objects::secret(KEYS, &[("accessKeyId", &key), ("secretKey", &secret)])).await.map(drop)
}

/// Publishes a disk of random bytes, from a server that takes one to twelve seconds for it: long enough to be met by a
/// kill.
pub(crate) async fn publish(scene: &Scene, name: &str, source: Source, random: &Random, dir: &Path) -> Result<Image> {
    let size = (4 << 20) + usize::try_from(random.next() % (8 << 11))? * 512;
    let (raw, disk) = files::publish_random(scene, &format!("{name}.img"), size)?;
    let packed = dir.join(name);
    let (server, path, object) = match source {
        Source::Http => (Server::files()?, raw.path, objects::image(name, &raw.url)),
        Source::Https => (Server::files()?, raw.path, objects::tls_image(name, &raw.tls_url)),
        Source::Gzip => {
            cmd("gzip").arg("-1k").arg(&raw.file).run()?;
            (Server::files()?, format!("{}.gz", raw.path), objects::image(name, &format!("{}.gz", raw.url)))
        }
        Source::Qcow2 => {
            cmd("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).arg(&raw.file).arg(&packed).run()?;
            let published = files::publish_file(scene, &format!("{name}.qcow2"), &packed)?;
            (Server::files()?, published.path, objects::image(name, &published.url))
        }
        Source::Artifact => {
            let repository = Repository::new(&format!("{BUCKET}/{}", scene.namespace))?;
            let path = repository.artifact(name, &raw.file, "application/octet-stream").await?;
            (Server::registry()?, path, objects::tls_image(name, &repository.url(name)))
        }
        Source::S3 => {
            let path = format!("/{BUCKET}/{}/{name}", scene.namespace);
            s3::put(BUCKET, &format!("{}/{name}", scene.namespace), std::fs::read(&raw.file)?).await?;
            let url = format!("{}{path}", bed::variable("S3_ENDPOINT")?.trim_end_matches('/'));
            let spec = VMDiskImageSpec {
                source_type: Some(SourceType::S3),
                region: Some(s3::REGION.to_owned()),
                secret_ref: Some(KEYS.to_owned()),
                ..objects::tls_image(name, &url).spec
            };
            (Server::s3()?, path, VMDiskImage::new(name, spec))
        }
    };
    let rate = (1 << 20) << (random.next() % 4);
    server.set(&path, &Fault { bytes_per_second: Some(rate), ..Fault::default() }).await?;
    let bytes = match source {
        Source::Qcow2 => std::fs::metadata(&packed)?.len(),
        _ => disk.bytes,
    };
    Ok(Image { object, disk, bytes, server, path })
}

/// Removes the files: those of a long run are more than a cluster that stays up should keep.
pub(crate) fn withdraw(scene: &Scene) -> Result<()> {
    let files = bed::path("HTTP_ROOT")?.join(&scene.namespace);
    std::fs::remove_dir_all(&files).with_context(|| format!("cannot remove {}", files.display()))
}
