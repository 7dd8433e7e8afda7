//! `kubectl`, run as it is shown.

use std::path::{Path, PathBuf};

use anyhow::Result;
use vmdisk_e2e::command::cmd;
use vmdisk_e2e::environment::Environment;

use super::story::Story;

/// The cluster's own `kubectl`.
pub(super) struct Kubectl {
    path: String,
    kubeconfig: PathBuf,
    checkout: PathBuf,
}

impl Kubectl {
    /// The one of the cluster that `environment` describes, run in the checkout.
    pub(super) fn new(environment: &Environment, checkout: &Path) -> Result<Self> {
        let path = std::env::var("PATH").unwrap_or_default();
        Ok(Self {
            path: format!("{}:{path}", environment.get("PATH")?),
            kubeconfig: environment.path("KUBECONFIG")?,
            checkout: checkout.to_owned(),
        })
    }

    /// Runs it, and gives what it printed.
    pub(super) fn run(&self, line: &str) -> Result<String> {
        cmd("kubectl")
            .dir(&self.checkout)
            .env("PATH", &self.path)
            .env("KUBECONFIG", &self.kubeconfig)
            .args(line.split(' '))
            .output()
    }

    /// Shows the command, runs it, and shows what it printed.
    pub(super) fn show(&self, story: &Story, line: &str) -> Result<()> {
        story.command(&format!("kubectl {line}"))?;
        story.quote(&self.run(line)?);
        Ok(())
    }
}
