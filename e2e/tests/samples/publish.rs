//! Puts a small disk where a sample expects its image.

use std::path::Path;
use std::sync::LazyLock;

use anyhow::{Context as _, Result};
use vmdisk_e2e::command::cmd;
use vmdisk_e2e::servers::{Auth, Fault};
use vmdisk_e2e::testing::files::Server;
use vmdisk_e2e::testing::{Scene, bed, s3};
use vmdisk_e2e::vm::container_disk;

/// Who may read `images.example.org`.
pub(crate) const WEB_USER: &str = "lab";
pub(crate) const WEB_PASSWORD: &str = "open sesame";

const MEBIBYTE: usize = 1 << 20;

/// A repository's tag and a bucket's key are the same in every run and in several samples.
static ONE_AT_A_TIME: LazyLock<tokio::sync::Mutex<()>> = LazyLock::new(Default::default);

/// Publishes a disk where this test bed has what the sample calls `url`, in the form that its name promises.
pub(crate) async fn content_of(scene: &Scene, url: &str) -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let work = tempfile::tempdir()?;
    let (scheme, rest) = url.split_once("://").context("a URL has a scheme")?;
    let (host, path) = rest.split_once('/').context("a URL has a path")?;
    let file = disk(work.path(), path)?;
    match scheme {
        "docker" | "oci" => {
            let reference = format!("{}/{path}", bed::variable("REGISTRY")?);
            let layout = work.path().join("layout");
            container_disk::pack(&file, &layout)?.push(&reference, &bed::path("CA_FILE")?)
        }
        "s3" => s3::put(host, path, std::fs::read(file)?).await,
        "https" if host.starts_with("s3.") => {
            let (bucket, key) = path.split_once('/').context("a path-style address has bucket and key")?;
            s3::put(bucket, key, std::fs::read(file)?).await
        }
        "https" => {
            let target = bed::path("HTTP_ROOT")?.join(path);
            std::fs::create_dir_all(target.parent().context("a file lies in a directory")?)?;
            std::fs::copy(file, target)?;
            if host.starts_with("images.") {
                let auth = Auth::Basic { username: WEB_USER.to_owned(), password: WEB_PASSWORD.to_owned() };
                Server::files()?.set(&format!("/{path}"), &Fault { auth: Some(auth), ..Fault::default() }).await?;
            }
            Ok(())
        }
        other => anyhow::bail!("{} has a sample with the scheme {other}", scene.namespace),
    }
}

/// A disk of 8 MiB with something at both ends, in the format that the file's name says.
fn disk(directory: &Path, path: &str) -> Result<std::path::PathBuf> {
    let raw = directory.join("appliance.raw");
    let mut bytes = vec![0; 8 * MEBIBYTE];
    bytes[..MEBIBYTE].fill(0xA5);
    bytes[7 * MEBIBYTE..].fill(0x5A);
    std::fs::write(&raw, bytes)?;
    if path.ends_with(".raw.xz") {
        cmd("xz").arg(&raw).run()?;
        return Ok(raw.with_extension("raw.xz"));
    }
    // What the containerDisk sample calls its disk; elsewhere the URL is the name.
    let image = directory.join("appliance.qcow2");
    cmd("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).arg(&raw).arg(&image).run()?;
    Ok(image)
}
