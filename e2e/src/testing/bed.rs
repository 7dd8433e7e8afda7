//! The running cluster as a test sees it.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use kube::Client;

/// The running cluster: a client with all rights, and the names of what stands beside it.
#[derive(Clone)]
pub struct Bed {
    /// Speaks as cluster-admin.
    pub client: Client,
}

impl Bed {
    /// Attaches to the cluster that the environment describes: `cargo xtask test` sets it, and so does
    /// `. target/cluster/env` in a shell.
    ///
    /// # Errors
    /// When there is no such environment, or its kubeconfig cannot be used.
    pub async fn attach() -> Result<Self> {
        // Another test of this process may have been first; it is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        variable("KUBECONFIG")?;
        let client = Client::try_default().await.context("the cluster's kubeconfig cannot be used")?;
        Ok(Self { client })
    }
}

/// A variable of the cluster's environment.
///
/// # Errors
/// When it is not set.
pub fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| {
        format!("{name} is not set: run `cargo xtask test`, or `. target/cluster/env` after `cargo xtask cluster up`")
    })
}

/// A variable that holds a path.
///
/// # Errors
/// When it is not set.
pub fn path(name: &str) -> Result<PathBuf> {
    variable(name).map(PathBuf::from)
}
