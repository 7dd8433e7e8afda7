//! One cluster's identity: everything that must differ between two clusters on one machine derives from its name.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::cache;

/// Where clusters keep their state. Short, because socket paths end at 108 bytes, and on a real disk, because
/// containerd's snapshots need one.
const STATE_ROOT: &str = "/var/lib/vmdisk";

/// The nodes of a cluster, by their place in the address range.
pub const NODES: [Node; 2] = [Node { index: 1, name: "node-1" }, Node { index: 2, name: "node-2" }];

/// One node.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// 1 or 2.
    pub index: u8,
    /// The Kubernetes name.
    pub name: &'static str,
}

/// The identity of one cluster: its name, its checkout, and the private /16 that it uses.
///
/// The cluster lives in a network namespace of its own, so ports and iptables rules need not differ between instances.
#[derive(Clone, Debug)]
pub struct Instance {
    name: String,
    checkout: PathBuf,
    octet: u8,
}

impl Instance {
    /// The instance of this checkout: `VMDISK_INSTANCE`, or a hash of the checkout's path.
    ///
    /// # Errors
    /// When the checkout cannot be found, or `VMDISK_INSTANCE` is no usable name.
    pub fn current() -> Result<Self> {
        let checkout = checkout()?;
        match std::env::var("VMDISK_INSTANCE") {
            Ok(name) if !name.is_empty() => Self::new(&name, checkout),
            _ => {
                let name = cache::key(&[checkout.as_os_str().as_encoded_bytes()])[..6].to_owned();
                Self::new(&name, checkout)
            }
        }
    }

    fn new(name: &str, checkout: PathBuf) -> Result<Self> {
        // Ten characters: the host's end of the cable is called vmd-NAME, and link names end at 15.
        ensure!(
            !name.is_empty()
                && name.len() <= 10
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
            "VMDISK_INSTANCE is {name:?}; expected 1 to 10 of a-z, 0-9 and '-'"
        );
        let sum = cache::key(&[name.as_bytes()]);
        let byte = u8::from_str_radix(&sum[..2], 16).context("a key is hexadecimal")?;
        // 10.128.0.0 to 10.239.0.0: away from what home and office networks use most.
        Ok(Self { name: name.to_owned(), checkout, octet: 128 + byte % 112 })
    }

    /// The instance's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The root of the checkout.
    #[must_use]
    pub fn checkout(&self) -> &Path {
        &self.checkout
    }

    /// The directory of everything the cluster writes, but for [`Instance::env_link`].
    #[must_use]
    pub fn state(&self) -> PathBuf {
        Path::new(STATE_ROOT).join(&self.name)
    }

    /// The lock that `up` and `down` take; it must outlive the state directory.
    #[must_use]
    pub fn lock_file(&self) -> PathBuf {
        Path::new(STATE_ROOT).join(format!("{}.lock", self.name))
    }

    /// Shell lines that describe the cluster, there while it is up.
    #[must_use]
    pub fn env_file(&self) -> PathBuf {
        self.state().join("env")
    }

    /// The same where people look for it: of the checkout's cluster that came up last.
    #[must_use]
    pub fn env_link(&self) -> PathBuf {
        self.checkout.join("target/cluster/env")
    }

    /// Where each component logs.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.state().join("log")
    }

    /// The network namespace.
    #[must_use]
    pub fn netns(&self) -> String {
        format!("vmdisk-{}", self.name)
    }

    /// The host's end of the cable into the network namespace.
    #[must_use]
    pub fn link(&self) -> String {
        format!("vmd-{}", self.name)
    }

    /// The cgroup that holds every process of the cluster, without a leading slash.
    #[must_use]
    pub fn cgroup(&self) -> String {
        format!("vmdisk-{}", self.name)
    }

    /// The cluster's whole range.
    #[must_use]
    pub fn range(&self) -> String {
        format!("10.{}.0.0/16", self.octet)
    }

    /// The host's address on the cable.
    #[must_use]
    pub fn host_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.octet, 0, 254)
    }

    /// A node's address.
    #[must_use]
    pub fn node_address(&self, node: Node) -> Ipv4Addr {
        Ipv4Addr::new(10, self.octet, 0, node.index)
    }

    /// The address of everything that is there once: API server, DNS, registry, S3 and HTTP server.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.node_address(NODES[0])
    }

    /// The range of Services.
    #[must_use]
    pub fn service_range(&self) -> String {
        format!("10.{}.16.0/20", self.octet)
    }

    /// The Service `kubernetes`: the range's first address.
    #[must_use]
    pub fn kubernetes_service(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.octet, 16, 1)
    }

    /// The Service `kube-dns`.
    #[must_use]
    pub fn dns_service(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.octet, 16, 10)
    }

    /// The range of all pods.
    #[must_use]
    pub fn pod_range(&self) -> String {
        format!("10.{}.64.0/18", self.octet)
    }

    /// The range of one node's pods.
    #[must_use]
    pub fn node_pod_range(&self, node: Node) -> String {
        format!("10.{}.{}.0/24", self.octet, 64 + node.index)
    }
}

/// The root of the checkout: the nearest directory upwards that holds the embedded cluster's sources.
fn checkout() -> Result<PathBuf> {
    // Cargo sets the variable for `cargo run` and `cargo test`: it follows the checkout, while a path compiled in would
    // follow a shared target directory.
    let start = match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => std::env::current_dir().context("the current directory cannot be read")?,
    };
    let start = start.canonicalize().with_context(|| format!("{} does not exist", start.display()))?;
    start.ancestors().find(|dir| dir.join("hack/cluster/tools/go.mod").is_file()).map(Path::to_path_buf).with_context(
        || format!("{} is not inside a checkout (no hack/cluster/tools/go.mod upwards of it)", start.display()),
    )
}

#[cfg(test)]
#[path = "instance_tests.rs"]
mod tests;
