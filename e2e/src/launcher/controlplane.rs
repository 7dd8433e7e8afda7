//! etcd, API server, controller manager, scheduler, kube-proxy and DNS.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Launcher;
use super::pki::DOMAIN;
use super::process::Component;
use crate::command::{Cmd, cmd};
use crate::poll;

/// How long a component may take to answer; generous, because a machine may be busy with a build.
const READY: Duration = Duration::from_mins(4);

/// Every request is noted with its user, verb, object and answer, so that tests can count the writes of one account and
/// find what was forbidden. Only probes and the chatter of watches on the API server's own health stay out.
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  nonResourceURLs: [/healthz*, /livez*, /readyz*, /openapi*, /version, /metrics]
- level: Metadata
";

impl Launcher {
    /// A kubectl of the administrator.
    pub(super) fn kubectl(&self) -> Cmd {
        cmd(self.tool("kubectl"))
            .env("KUBECONFIG", self.pki.kubeconfig("admin"))
            .env("KUBECACHEDIR", self.state.join("kubectl-cache"))
    }

    /// Applies manifests given as text (YAML or JSON).
    pub(super) fn apply(&self, manifests: &str) -> Result<()> {
        let args = ["apply", "--server-side", "--force-conflicts", "--field-manager=vmdisk-cluster", "-f", "-"];
        self.kubectl().args(args).stdin(manifests).run()
    }

    /// Brings the control plane up, as far as the API server says that it is ready.
    pub(super) fn control_plane(&self) -> Result<()> {
        self.etcd()?;
        self.api_server()?;
        self.clients()?;
        self.supervisor.ready("kube-apiserver", READY, || self.kubectl().args(["get", "--raw", "/readyz"]).succeeds())
    }

    fn etcd(&self) -> Result<()> {
        let data = self.state.join("etcd");
        self.supervisor.ensure(&Component::new("etcd", self.tool("server")).args([
            format!("--data-dir={}", data.display()),
            // The cluster does not outlive the machine, so nothing is lost with the machine.
            "--unsafe-no-fsync".to_owned(),
            "--listen-client-urls=http://127.0.0.1:2379".to_owned(),
            "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
            "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
            "--log-level=warn".to_owned(),
        ]))
    }

    fn api_server(&self) -> Result<()> {
        let policy = self.state.join("audit-policy.yaml");
        fs::write(&policy, AUDIT_POLICY).context("cannot write the audit policy")?;
        let pki = &self.pki;
        let component = Component::new("kube-apiserver", self.tool("kube-apiserver")).config(AUDIT_POLICY).args([
            "--etcd-servers=http://127.0.0.1:2379".to_owned(),
            format!("--advertise-address={}", self.instance.address()),
            "--secure-port=6443".to_owned(),
            format!("--tls-cert-file={}", pki.cert("apiserver").display()),
            format!("--tls-private-key-file={}", pki.key("apiserver").display()),
            format!("--client-ca-file={}", pki.ca().display()),
            format!("--kubelet-client-certificate={}", pki.cert("apiserver-kubelet").display()),
            format!("--kubelet-client-key={}", pki.key("apiserver-kubelet").display()),
            format!("--kubelet-certificate-authority={}", pki.ca().display()),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            format!("--service-account-key-file={}", pki.service_account_public().display()),
            format!("--service-account-signing-key-file={}", pki.service_account_key().display()),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-cluster-ip-range={}", self.instance.service_range()),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--allow-privileged=true".to_owned(),
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", self.audit_log().display()),
            // One file for the cluster's life: tests read it from a place they noted before.
            "--audit-log-maxsize=4096".to_owned(),
        ]);
        self.supervisor.ensure(&component)
    }

    /// The components that work through the API server; each waits for it by itself.
    fn clients(&self) -> Result<()> {
        let kubeconfig = |user: &str| format!("--kubeconfig={}", self.pki.kubeconfig(user).display());
        let pki = &self.pki;
        let manager = Component::new("kube-controller-manager", self.tool("kube-controller-manager"));
        self.supervisor.ensure(&manager.args([
            kubeconfig("controller-manager"),
            format!("--service-account-private-key-file={}", pki.service_account_key().display()),
            // Where it would look for plugins that this cluster does not have; it makes the directory.
            format!("--flex-volume-plugin-dir={}", self.state.join("flex").display()),
            format!("--root-ca-file={}", pki.ca().display()),
            "--use-service-account-credentials".to_owned(),
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            "--controllers=*,-nodeipam".to_owned(),
            // At the defaults it, not the populator, would be what a burst of claims measures.
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
        ]))?;
        let scheduler = Component::new("kube-scheduler", self.tool("kube-scheduler"));
        self.supervisor.ensure(&scheduler.args([
            kubeconfig("scheduler"),
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
        ]))?;
        let proxy = Component::new("kube-proxy", self.tool("kube-proxy"));
        self.supervisor.ensure(&proxy.args([
            kubeconfig("proxy"),
            "--proxy-mode=iptables".to_owned(),
            "--hostname-override=node-1".to_owned(),
            format!("--cluster-cidr={}", self.instance.pod_range()),
            // Connection tracking is the host's to size.
            "--conntrack-max-per-core=0".to_owned(),
            "--healthz-bind-address=127.0.0.1".to_owned(),
            "--metrics-bind-address=127.0.0.1".to_owned(),
        ]))
    }

    /// DNS for pods: a process beside the control plane, behind the Service that every kubelet names.
    pub(super) fn dns(&self) -> Result<()> {
        let corefile = corefile(&self.instance.address().to_string(), &self.pki.kubeconfig("coredns"));
        let path = self.state.join("Corefile");
        fs::write(&path, &corefile).context("cannot write the Corefile")?;
        let component = Component::new("coredns", self.tool("coredns"));
        self.supervisor.ensure(&component.config(&corefile).args([format!("-conf={}", path.display())]))?;
        let address = self.instance.address().to_string();
        let port = |name, protocol| serde_json::json!({"name": name, "port": 53, "protocol": protocol});
        let ports = [port("dns", "UDP"), port("dns-tcp", "TCP")];
        let service = serde_json::json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
            "spec": {"clusterIP": self.instance.dns_service().to_string(), "ports": ports},
        });
        let slice = serde_json::json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": "kube-dns", "namespace": "kube-system",
                "labels": {
                    "kubernetes.io/service-name": "kube-dns",
                    "endpointslice.kubernetes.io/managed-by": "vmdisk-cluster",
                },
            },
            "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
            "ports": ports,
        });
        self.apply(&format!("{service}\n---\n{slice}\n"))
    }

    /// The API server's account of every request, one JSON object a line.
    pub(super) fn audit_log(&self) -> std::path::PathBuf {
        self.instance.logs().join("audit.jsonl")
    }

    /// Waits for what the first pod needs: a default service account appears some seconds after the API server.
    pub(super) fn accounts(&self) -> Result<()> {
        poll::until_true("the default service account to appear", READY, || {
            self.kubectl().args(["get", "serviceaccount", "default"]).succeeds()
        })
    }
}

/// The DNS configuration. Beside the cluster's own names, all names below [`DOMAIN`] lead to the servers beside the
/// cluster, so that a test has as many host names as it likes for one server.
fn corefile(address: &str, kubeconfig: &Path) -> String {
    format!(
        "cluster.local in-addr.arpa {{\n\
         \x20   bind {address}\n\
         \x20   errors\n\
         \x20   kubernetes cluster.local in-addr.arpa {{\n\
         \x20       kubeconfig {} vmdisk\n\
         \x20   }}\n\
         }}\n\
         {DOMAIN} {{\n\
         \x20   bind {address}\n\
         \x20   template IN A {{\n\
         \x20       answer \"{{{{ .Name }}}} 60 IN A {address}\"\n\
         \x20   }}\n\
         \x20   template IN AAAA {{\n\
         \x20       rcode NOERROR\n\
         \x20   }}\n\
         }}\n",
        kubeconfig.display()
    )
}
