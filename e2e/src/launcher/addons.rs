//! What a cluster of this kind has beside Kubernetes itself: definitions of others' types, and classes of storage.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Launcher;
use crate::poll;

/// Directories of manifests in the checkout.
const MANIFESTS: [&str; 2] = ["hack/cluster/manifests", "hack/cluster/csi/manifests"];

impl Launcher {
    /// Applies the manifests of the checkout.
    pub(super) fn addons(&self) -> Result<()> {
        for dir in MANIFESTS {
            self.apply_all(&self.instance.checkout().join(dir))?;
        }
        self.types_established()
    }

    /// Applies all manifests of a directory.
    pub(super) fn apply_all(&self, dir: &Path) -> Result<()> {
        let manifests = read_all(dir)?;
        if manifests.is_empty() {
            return Ok(());
        }
        // The first ones meet an API server that is still making its own objects.
        poll::until(&format!("the manifests of {} to be applied", dir.display()), Duration::from_mins(2), || {
            self.apply(&manifests).map(Some)
        })?;
        Ok(())
    }

    /// Waits until every type that was defined is served.
    pub(super) fn types_established(&self) -> Result<()> {
        let established = ["wait", "--for=condition=Established", "--timeout=2m", "customresourcedefinitions", "--all"];
        self.kubectl().args(established).run()
    }
}

/// All manifests of a directory as one stream.
fn read_all(dir: &Path) -> Result<String> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files.iter().try_fold(String::new(), |mut stream, file| {
        stream.push_str(&fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?);
        stream.push_str("\n---\n");
        Ok(stream)
    })
}
