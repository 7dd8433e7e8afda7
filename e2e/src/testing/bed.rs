//! The running cluster as a test sees it.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::environment::Environment;
use crate::instance::Instance;

/// The running cluster: a client with all rights, and the names of what stands beside it.
#[derive(Clone)]
pub struct Bed {
    /// Speaks as cluster-admin.
    pub client: Client,
}

impl Bed {
    /// Attaches to the cluster that runs for this checkout.
    ///
    /// # Errors
    /// When none is up, or its kubeconfig cannot be used.
    pub async fn attach() -> Result<Self> {
        let client = Client::try_from(config().await?).context("the cluster's kubeconfig cannot be used")?;
        Ok(Self { client })
    }
}

/// How to reach the cluster that runs for this checkout, as cluster-admin.
///
/// # Errors
/// When none is up, or its kubeconfig cannot be read.
pub async fn config() -> Result<Config> {
    // Another test of this process may have been first; it is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let kubeconfig = Kubeconfig::read_from(path("KUBECONFIG")?).context("the cluster's kubeconfig cannot be read")?;
    Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}

/// A variable of the running cluster's environment. Not of this process's: its KUBECONFIG may be anybody's.
///
/// # Errors
/// When no cluster is up.
pub fn variable(name: &str) -> Result<String> {
    Environment::load(&Instance::current()?)?.get(name).map(str::to_owned)
}

/// A variable that holds a path.
///
/// # Errors
/// When no cluster is up.
pub fn path(name: &str) -> Result<PathBuf> {
    variable(name).map(PathBuf::from)
}
