//! The two nodes: a containerd and a kubelet each, on one machine.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::Launcher;
use super::cgroup::Cgroup;
use super::process::Component;
use crate::command::cmd;
use crate::instance::{NODES, Node};

const READY: Duration = Duration::from_mins(4);

/// The first path under which this machine may have the CNI plugins.
const CNI_PLUGINS: &str = "/usr/lib/cni";

/// Directories that containerd, its shims and the kubelet use whatever they are told. Each node sees directories of its
/// own there, so that two nodes, or a kubelet that this machine has already, do not meet.
pub(super) const PRIVATE_DIRS: &[&str] = &[
    "/opt/containerd",
    "/run/containerd",
    "/usr/libexec/kubernetes",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log/containers",
];

impl Launcher {
    /// Starts both nodes; does not wait for them.
    pub(super) fn nodes(&self) -> Result<()> {
        for node in NODES {
            self.containerd(node)?;
        }
        for node in NODES {
            self.kubelet(node)?;
        }
        Ok(())
    }

    /// Waits until the API server calls both nodes Ready.
    pub(super) fn nodes_ready(&self) -> Result<()> {
        for node in NODES {
            self.supervisor.ready(&format!("{}-kubelet", node.name), READY, || {
                let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
                let status = self.kubectl().args(["get", "node", node.name, "-o", path]).output();
                status.is_ok_and(|status| status == "True")
            })?;
        }
        Ok(())
    }

    /// A node's directory.
    pub(super) fn node_dir(&self, node: Node) -> PathBuf {
        self.state.join(node.name)
    }

    /// A kubelet's root directory.
    pub(super) fn kubelet_dir(&self, node: Node) -> PathBuf {
        self.node_dir(node).join("kubelet")
    }

    fn containerd_socket(&self, node: Node) -> PathBuf {
        self.node_dir(node).join("containerd.sock")
    }

    fn containerd(&self, node: Node) -> Result<()> {
        let dir = self.node_dir(node);
        let cni = dir.join("cni");
        fs::create_dir_all(&cni).with_context(|| format!("cannot create {}", cni.display()))?;
        fs::write(cni.join("10-pods.conflist"), self.cni(node)).context("cannot write the CNI configuration")?;
        let config = self.containerd_config(node);
        let path = dir.join("containerd.toml");
        fs::write(&path, &config).context("cannot write containerd's configuration")?;
        let name = format!("{}-containerd", node.name);
        let component = Component::new(&name, self.tool("containerd"))
            .config(&config)
            .env("PATH", self.path_variable())
            .private(&dir.join("private"), PRIVATE_DIRS)
            .args([format!("--config={}", path.display())]);
        self.supervisor.ensure(&component)?;
        self.supervisor.ready(&name, READY, || {
            cmd(self.tool("ctr")).arg("--address").arg(self.containerd_socket(node)).arg("version").succeeds()
        })
    }

    fn containerd_config(&self, node: Node) -> String {
        let dir = self.node_dir(node);
        let dir = dir.display();
        format!(
            r#"version = 3
root = "{dir}/containerd"
state = "{dir}/run"
[grpc]
  address = "{dir}/containerd.sock"
[ttrpc]
  address = "{dir}/containerd.ttrpc"
[plugins.'io.containerd.cri.v1.runtime']
  # The machine may lack CAP_SYS_RESOURCE, and no sandbox starts with a score below its parent's then.
  restrict_oom_score_adj = true
  # Block volumes belong to the pod's user.
  device_ownership_from_security_context = true
  # Below the state directory, so that what is left after a crash can be found.
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["{CNI_PLUGINS}"]
    conf_dir = "{dir}/cni"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = "{runc}"
      Root = "{dir}/runc"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{pause}"
[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = "{certs}"
[plugins.'io.containerd.nri.v1.nri']
  disable = true
"#,
            runc = self.tool("runc").display(),
            pause = self.pause_image(),
            certs = self.registry_hosts().display(),
        )
    }

    fn cni(&self, node: Node) -> String {
        // Point to point: every packet between pods passes the host's rules, so Services work without a bridge's help.
        json!({
            "cniVersion": "1.0.0",
            "name": "pods",
            "plugins": [{
                "type": "ptp",
                "ipam": {
                    "type": "host-local",
                    "dataDir": self.node_dir(node).join("addresses"),
                    "ranges": [[{"subnet": self.instance.node_pod_range(node)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }],
        })
        .to_string()
    }

    fn kubelet(&self, node: Node) -> Result<()> {
        let dir = self.node_dir(node);
        let resolv = dir.join("resolv.conf");
        fs::write(&resolv, format!("nameserver {}\n", self.instance.address())).context("cannot write resolv.conf")?;
        let config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.instance.node_address(node),
            "healthzPort": 10248 + 10 * u32::from(node.index - 1),
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": self.pki.ca()},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": self.pki.cert(node.name),
            "tlsPrivateKeyFile": self.pki.key(node.name),
            "containerRuntimeEndpoint": format!("unix://{}", self.containerd_socket(node).display()),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": Cgroup::node_root(&self.instance, node.name),
            "failCgroupV1": false,
            "failSwapOn": false,
            "resolvConf": resolv,
            "clusterDNS": [self.instance.dns_service()],
            "clusterDomain": "cluster.local",
            // Both nodes see the whole machine, and share it with builds.
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "podLogsDir": dir.join("pod-logs"),
            "volumePluginDir": dir.join("flex"),
            // Tests that kill a container need not wait for its back-off.
            "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
            "serializeImagePulls": false,
        });
        let config = serde_json::to_string_pretty(&config)?;
        let path = dir.join("kubelet.json");
        fs::write(&path, &config).context("cannot write the kubelet's configuration")?;
        let component = Component::new(&format!("{}-kubelet", node.name), self.tool("kubelet"))
            .config(&config)
            .env("PATH", self.path_variable())
            .private(&dir.join("private"), PRIVATE_DIRS)
            .args([
                format!("--config={}", path.display()),
                format!("--kubeconfig={}", self.pki.kubeconfig(node.name).display()),
                format!("--hostname-override={}", node.name),
                format!("--node-ip={}", self.instance.node_address(node)),
                format!("--root-dir={}", self.kubelet_dir(node).display()),
            ]);
        self.supervisor.ensure(&component)
    }
}
