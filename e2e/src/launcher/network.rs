//! The cluster's network: a namespace of its own, joined to the host by one cable.
//!
//! Everything runs inside the namespace, so that kube-proxy's rules and the pods' links are gone with it, and a second
//! cluster on this machine has its own. The host reaches nodes, pods and Services by a route; nothing of the cluster is
//! forwarded to the outside.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::command::{Cmd, cmd};
use crate::instance::{Instance, NODES};

/// The file that stands for the namespace.
#[must_use]
pub(crate) fn netns_file(instance: &Instance) -> PathBuf {
    Path::new("/run/netns").join(instance.netns())
}

/// A command that runs inside the namespace. (`ip netns exec` would also change the mount namespace, and hide cgroups.)
#[must_use]
pub(crate) fn inside(instance: &Instance) -> Cmd {
    cmd("nsenter").arg(format!("--net={}", netns_file(instance).display())).arg("--")
}

/// Makes what is missing of the network.
///
/// # Errors
/// When a command fails.
pub(crate) fn ensure(instance: &Instance) -> Result<()> {
    let ip = |args: &[&str]| cmd("ip").args(args).run();
    let (netns, link) = (instance.netns(), instance.link());
    if !netns_file(instance).exists() {
        ip(&["netns", "add", &netns])?;
    }
    if !Path::new("/sys/class/net").join(&link).exists() {
        ip(&["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &netns])?;
    }
    ip(&["address", "replace", &format!("{}/24", instance.host_address()), "dev", &link])?;
    ip(&["link", "set", &link, "up"])?;
    ip(&["route", "replace", &instance.range(), "via", &instance.address().to_string()])?;

    let within = |args: &[&str]| inside(instance).args(args).run();
    within(&["ip", "link", "set", "lo", "up"])?;
    for node in NODES {
        let address = format!("{}/24", instance.node_address(node));
        within(&["ip", "address", "replace", &address, "dev", "eth0"])?;
    }
    within(&["ip", "link", "set", "eth0", "up"])?;
    // Components look for a default route to find their own address; the host does not forward what it gets.
    within(&["ip", "route", "replace", "default", "via", &instance.host_address().to_string()])?;
    within(&["sysctl", "-qw", "net.ipv4.ip_forward=1"])
}

/// Removes the network, and with it every link and rule inside.
///
/// # Errors
/// When a command fails.
pub(crate) fn remove(instance: &Instance) -> Result<()> {
    let link = instance.link();
    if Path::new("/sys/class/net").join(&link).exists() {
        cmd("ip").args(["link", "delete", &link]).run()?;
    }
    if netns_file(instance).exists() {
        cmd("ip").args(["netns", "delete", &instance.netns()]).run()?;
    }
    Ok(())
}
