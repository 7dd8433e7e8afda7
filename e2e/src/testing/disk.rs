//! A disk that a test serves, and the judge of the claim that it ends in.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::ListParams;
use populator_crd::VMDiskSync;

use super::Scene;
use super::files::{self, Published, Server};
use super::objects::{self, Mode};
use super::reader::{self, Contents, Expected};
use crate::servers::{Count, Fault};

const SIZE: usize = 8 << 20;
/// What a worker may read beside the disk: its first bytes, to see what it is.
pub const PROBES: u64 = 1 << 20;
const DEADLINE: Duration = Duration::from_mins(2);

/// A disk on the HTTP server, with an image that names it.
pub struct Disk {
    /// The name of the claim, and of the image unless it says otherwise.
    pub name: String,
    /// Where it is served.
    pub published: Published,
    /// Who serves it.
    pub server: Server,
    expected: Expected,
}

impl Disk {
    /// Publishes random bytes under a fault, and creates the image.
    ///
    /// # Errors
    /// When they cannot be written, or the API server refuses the image.
    pub async fn publish(scene: &Scene, name: &str, fault: Fault) -> Result<Self> {
        let (published, expected) = files::publish_random(scene, &format!("{name}.img"), SIZE)?;
        let server = Server::files()?;
        if fault != Fault::default() {
            server.set(&published.path, &fault).await?;
        }
        scene.create(&objects::image(name, &published.url)).await?;
        Ok(Self { name: name.to_owned(), published, server, expected })
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

    /// A claim of any name ends Bound with the right bytes.
    ///
    /// # Errors
    /// When it does not, and how.
    pub async fn holds(&self, scene: &Scene, claim: &str, mode: Mode) -> Result<Contents> {
        reader::holds(scene, claim, mode, &self.expected, DEADLINE).await
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
        self.holds(scene, &self.name, mode).await?;
        let claim = scene.api::<PersistentVolumeClaim>().get(&self.name).await?;
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
