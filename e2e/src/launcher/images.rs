//! Images of the cluster itself.

use std::path::PathBuf;

use super::Launcher;

impl Launcher {
    /// The image of every pod's sandbox.
    pub(super) fn pause_image(&self) -> String {
        format!("{}:5000/pause:1", self.instance.address())
    }

    /// Where containerd finds how to reach a registry.
    pub(super) fn registry_hosts(&self) -> PathBuf {
        self.state.join("registries")
    }
}
