//! A disk that a test serves, and the judge of the claim that it ends in.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::ListParams;
use populator_crd::VMDiskSync;
use sha2::{Digest as _, Sha256};

use super::files::{self, Published, Server};
use super::objects::{self, Mode};
use super::{Scene, reader, until};
use crate::cache::hex;
use crate::servers::{Count, Fault};

const SIZE: usize = 8 << 20;
/// What a worker may read beside the disk: its first bytes, to see what it is.
const PROBES: u64 = 1 << 20;
const DEADLINE: Duration = Duration::from_mins(2);

/// A disk on the HTTP server, with an image that names it.
pub struct Disk {
    /// The name of the claim, and of the image unless it says otherwise.
    pub name: String,
    /// Where it is served.
    pub published: Published,
    /// Who serves it.
    pub server: Server,
    sha256: String,
}

impl Disk {
    /// Publishes random bytes under a fault, and creates the image.
    ///
    /// # Errors
    /// When they cannot be written, or the API server refuses the image.
    pub async fn publish(scene: &Scene, name: &str, fault: Fault) -> Result<Self> {
        let mut bytes = vec![0; SIZE];
        rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes).ok().context("random bytes")?;
        let published = files::publish(scene, &format!("{name}.img"), &bytes)?;
        let server = Server::files()?;
        if fault != Fault::default() {
            server.set(&published.path, &fault).await?;
        }
        scene.create(&objects::image(name, &published.url)).await?;
        Ok(Self { name: name.to_owned(), sha256: hex(&Sha256::digest(&bytes)), published, server })
    }

    /// The same disk, for a claim of another name.
    #[must_use]
    pub fn of_claim(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// What was asked for of it.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn count(&self) -> Result<Count> {
        self.server.count(&self.published.path).await
    }

    /// The claim ends Bound with the right bytes, which were fetched as often as its sync says, and no more.
    ///
    /// # Errors
    /// When it does not, and how.
    pub async fn judge(&self, scene: &Scene) -> Result<()> {
        self.judge_as(scene, Mode::Filesystem).await
    }

    /// The same of a claim of any volume mode.
    ///
    /// # Errors
    /// When it does not, and how.
    pub async fn judge_as(&self, scene: &Scene, mode: Mode) -> Result<()> {
        let claims = scene.api::<PersistentVolumeClaim>();
        let claim = until::holds(&claims, &self.name, "is bound", DEADLINE, objects::is_bound).await?;
        let contents = reader::read(scene, &self.name, mode, SIZE as u64, DEADLINE).await?;
        ensure!(contents.sha256 == self.sha256, "the claim holds other bytes: {contents:?}");
        ensure!(contents.dirt == 0, "there are bytes behind the disk: {contents:?}");
        let syncs = scene.api::<VMDiskSync>().list(&ListParams::default()).await?;
        let ours: Vec<_> =
            syncs.iter().filter(|sync| Some(&sync.spec.claim.uid) == claim.metadata.uid.as_ref()).collect();
        ensure!(ours.len() == 1, "one claim has {} syncs", ours.len());
        let attempts = ours[0].status.as_ref().map_or(0, |status| status.attempt);
        let paid = u64::try_from(attempts)? * (SIZE as u64 + PROBES);
        let count = self.count().await?;
        ensure!(count.bytes <= paid, "{attempts} attempts fetched {} bytes: {:?}", count.bytes, count.log);
        Ok(())
    }
}
