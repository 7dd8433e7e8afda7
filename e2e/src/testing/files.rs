//! Files on the HTTP server: publishing them, making their requests fail, and reading what was asked for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::reader::Expected;
use super::{Scene, bed, until};
use crate::servers::{Count, Fault};

/// The control endpoint of one of the servers.
#[derive(Clone)]
pub struct Server {
    control: String,
    http: reqwest::Client,
}

impl Server {
    /// The file server, HTTP and HTTPS.
    ///
    /// # Errors
    /// When the environment does not name it.
    pub fn files() -> Result<Self> {
        Self::named("files")
    }

    /// The relay before the registry.
    ///
    /// # Errors
    /// When the environment does not name it.
    pub fn registry() -> Result<Self> {
        Self::named("registry")
    }

    /// The relay before the S3 server.
    ///
    /// # Errors
    /// When the environment does not name it.
    pub fn s3() -> Result<Self> {
        Self::named("s3")
    }

    fn named(name: &str) -> Result<Self> {
        let control = format!("{}/{name}", bed::variable("CONTROL_URL")?.trim_end_matches('/'));
        Ok(Self { control, http: reqwest::Client::builder().no_proxy().build()? })
    }

    /// What was asked for below this path, by path.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn counts(&self, prefix: &str) -> Result<BTreeMap<String, Count>> {
        let request = self.http.get(format!("{}/counts", self.control)).query(&[("prefix", prefix)]);
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    /// What was asked for of one path.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn count(&self, path: &str) -> Result<Count> {
        Ok(self.counts(path).await?.remove(path).unwrap_or_default())
    }

    /// Makes requests for this path fail.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn set(&self, path: &str, fault: &Fault) -> Result<()> {
        let request = self.http.put(format!("{}/fault", self.control)).query(&[("path", path)]);
        request.json(fault).send().await?.error_for_status()?;
        Ok(())
    }

    /// Lets held requests for this path go on.
    ///
    /// # Errors
    /// When no fault is set for it.
    pub async fn release(&self, path: &str) -> Result<()> {
        let request = self.http.post(format!("{}/release", self.control)).query(&[("path", path)]);
        request.send().await?.error_for_status().with_context(|| format!("no fault is set for {path}"))?;
        Ok(())
    }

    /// Ends the fault of this path.
    ///
    /// # Errors
    /// When no fault is set for it.
    pub async fn heal(&self, path: &str) -> Result<()> {
        let request = self.http.delete(format!("{}/fault", self.control)).query(&[("path", path)]);
        request.send().await?.error_for_status().with_context(|| format!("no fault is set for {path}"))?;
        Ok(())
    }

    /// Waits until a request for this path is held by its fault.
    ///
    /// # Errors
    /// When none is within the deadline.
    pub async fn until_held(&self, path: &str, deadline: Duration) -> Result<()> {
        until::probed(&format!("a request for {path} is held"), deadline, async || {
            Ok((self.count(path).await?.held > 0).then_some(()))
        })
        .await
    }
}

/// A file that a test published.
#[derive(Clone, Debug)]
pub struct Published {
    /// Its path on the server, for [`Server`].
    pub path: String,
    /// Its URL without TLS.
    pub url: String,
    /// Its URL with TLS.
    pub tls_url: String,
    /// Where it lies.
    pub file: PathBuf,
}

/// Publishes a file below the test's own directory of the server.
///
/// # Errors
/// When it cannot be written.
pub fn publish(scene: &Scene, name: &str, contents: &[u8]) -> Result<Published> {
    let published = place(scene, name)?;
    // Renamed into place, so that no request meets half a file.
    let draft = published.file.with_extension("draft");
    std::fs::write(&draft, contents).with_context(|| format!("cannot write {}", draft.display()))?;
    std::fs::rename(&draft, &published.file)?;
    Ok(published)
}

/// Publishes random bytes, which look like no disk format; gives beside it what a claim must hold.
///
/// # Errors
/// When they cannot be written.
pub fn publish_random(scene: &Scene, name: &str, bytes: usize) -> Result<(Published, Expected)> {
    let mut contents = vec![0; bytes];
    rustls::crypto::ring::default_provider().secure_random.fill(&mut contents).ok().context("no random bytes")?;
    Ok((publish(scene, name, &contents)?, Expected::of(&contents)))
}

/// Publishes a file by copying it.
///
/// # Errors
/// When it cannot be copied.
pub fn publish_file(scene: &Scene, name: &str, from: &std::path::Path) -> Result<Published> {
    let published = place(scene, name)?;
    let draft = published.file.with_extension("draft");
    std::fs::copy(from, &draft).with_context(|| format!("cannot copy {}", from.display()))?;
    std::fs::rename(&draft, &published.file)?;
    Ok(published)
}

/// Where a file of this name would be; it does not exist yet.
///
/// # Errors
/// When the directory cannot be made.
pub fn place(scene: &Scene, name: &str) -> Result<Published> {
    ensure!(!name.contains('/'), "{name:?}: one file name is expected");
    let directory = bed::path("HTTP_ROOT")?.join(&scene.namespace);
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let path = format!("/{}/{name}", scene.namespace);
    Ok(Published {
        url: format!("{}{path}", bed::variable("HTTP_URL")?.trim_end_matches('/')),
        tls_url: format!("{}{path}", bed::variable("HTTPS_URL")?.trim_end_matches('/')),
        file: directory.join(name),
        path,
    })
}
