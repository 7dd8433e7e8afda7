//! The stage's control plane: etcd, API server and controller manager on ports of their own, and what is installed there.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::{CSIDriver, StorageClass};
use kube::api::{Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;

use super::actor::{DRIVER, NODES};
use super::nursery::{Nursery, Process};
use super::tap::{GROUPS, IDENTITY};
use crate::command::cmd;
use crate::instance::Instance;
use crate::launcher::{self, pki::Pki};
use crate::testing::until;

/// Against hanging.
const READY: Duration = Duration::from_mins(3);

/// What of the controller manager the stage needs: volumes are bound and protected, owners are followed, namespaces go.
const CONTROLLERS: &str = "persistentvolume-binder-controller,persistentvolumeclaim-protection-controller,\
                           persistentvolume-protection-controller,garbage-collector-controller,namespace-controller";

/// The class that binds at once.
pub const IMMEDIATE: &str = "stage-immediate";
/// The class that waits for a consumer.
pub const WAITING: &str = "stage-waiting";
/// The class that keeps its volumes.
pub const RETAINING: &str = "stage-retaining";
/// The class whose volumes never come.
pub const STUCK: &str = "stage-stuck";

/// The administrator's credentials.
const KUBECONFIG: &str = "admin.kubeconfig";

/// A running control plane.
pub(crate) struct Plane {
    pub(crate) client: Client,
    /// The API server's address.
    pub(crate) server: String,
    pub(crate) pki: Pki,
    processes: Vec<Process>,
}

impl Plane {
    /// Starts it in an empty directory, with our manifests on it.
    pub(crate) async fn start(nursery: &Nursery, dir: &Path, bind_resync: &str) -> Result<Self> {
        let instance = Instance::current()?;
        let tools = launcher::tools(&instance)?;
        fs::create_dir_all(dir.join("pki")).with_context(|| format!("cannot create {}", dir.display()))?;
        let pki = Pki::ensure(&instance, dir.join("pki"))?;
        let [etcd, peer, secure] = free_ports()?;
        let mut plane = Self {
            client: client(&kubeconfig(dir, &pki, &format!("https://127.0.0.1:{secure}"))?).await?,
            server: format!("https://127.0.0.1:{secure}"),
            pki,
            processes: Vec::new(),
        };
        let start = |program: &str, args: Vec<String>| {
            nursery.start(&tools.join(program), &args, &[], &dir.join(format!("{program}.log")))
        };
        plane.processes.push(start("server", etcd_args(dir, etcd, peer))?);
        plane.processes.push(start("kube-apiserver", plane.api_server_args(dir, etcd, secure))?);
        plane.ready().await?;
        plane.install(&instance, &tools, dir).await?;
        // After our types: the collector looks for new ones every half a minute alone.
        let manager = [
            format!("--kubeconfig={}", dir.join(KUBECONFIG).display()),
            format!("--controllers={CONTROLLERS}"),
            format!("--pvclaimbinder-sync-period={bind_resync}"),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
            "--kube-api-qps=1000".to_owned(),
            "--kube-api-burst=2000".to_owned(),
        ];
        plane.processes.push(start("kube-controller-manager", manager.into())?);
        Ok(plane)
    }

    fn api_server_args(&self, dir: &Path, etcd: u16, secure: u16) -> Vec<String> {
        let pki = &self.pki;
        vec![
            format!("--etcd-servers=http://127.0.0.1:{etcd}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--secure-port={secure}"),
            format!("--cert-dir={}", dir.join("apiserver").display()),
            format!("--tls-cert-file={}", pki.cert("apiserver").display()),
            format!("--tls-private-key-file={}", pki.key("apiserver").display()),
            format!("--client-ca-file={}", pki.ca().display()),
            format!("--service-account-key-file={}", pki.service_account_public().display()),
            format!("--service-account-signing-key-file={}", pki.service_account_key().display()),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            // Nobody makes service accounts here, and a pod would wait for its namespace's.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
        ]
    }

    async fn ready(&mut self) -> Result<()> {
        let client = self.client.clone();
        let processes = &mut self.processes;
        until::probed("the stage's API server is ready", READY, async || {
            processes.iter_mut().try_for_each(Process::check)?;
            let request = http_get("/readyz")?;
            Ok(client.request_text(request).await.is_ok().then_some(()))
        })
        .await
    }

    /// Our manifests, the types of others that we use, and the storage and nodes that the actor plays.
    async fn install(&self, instance: &Instance, tools: &Path, dir: &Path) -> Result<()> {
        let kubectl = || {
            cmd(tools.join("kubectl"))
                .env("KUBECONFIG", dir.join(KUBECONFIG))
                .env("KUBECACHEDIR", dir.join("kubectl-cache"))
        };
        let apply = ["apply", "--server-side", "--force-conflicts", "--field-manager=vmdisk-stage"];
        kubectl().args(apply).arg("-f").arg(instance.checkout().join("hack/cluster/manifests")).run()?;
        let manifests = instance.checkout().join("manifests/default");
        // The definitions come first, and what is of their kinds may meet a server that does not know them yet.
        until::probed("our manifests are applied", READY, async || {
            kubectl().args(apply).arg("-k").arg(&manifests).run().map(Some)
        })
        .await?;
        kubectl().args(["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]).run()?;
        self.storage().await
    }

    async fn storage(&self) -> Result<()> {
        let params = PatchParams::apply("vmdisk-stage").force();
        let drivers: Api<CSIDriver> = Api::all(self.client.clone());
        let driver = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER},
            "spec": {"attachRequired": false, "podInfoOnMount": false, "volumeLifecycleModes": ["Persistent"]},
        });
        drivers.patch(DRIVER, &params, &Patch::Apply(&driver)).await?;
        let classes: Api<StorageClass> = Api::all(self.client.clone());
        for (name, mode, reclaim) in [
            (IMMEDIATE, "Immediate", "Delete"),
            (WAITING, "WaitForFirstConsumer", "Delete"),
            (RETAINING, "Immediate", "Retain"),
            (STUCK, "Immediate", "Delete"),
        ] {
            let class = json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
                "provisioner": DRIVER, "volumeBindingMode": mode, "reclaimPolicy": reclaim,
            });
            classes.patch(name, &params, &Patch::Apply(&class)).await?;
        }
        let nodes: Api<Node> = Api::all(self.client.clone());
        for name in NODES {
            let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
            nodes.patch(name, &params, &Patch::Apply(&node)).await?;
        }
        Ok(())
    }
}

fn etcd_args(dir: &Path, client: u16, peer: u16) -> Vec<String> {
    vec![
        format!("--data-dir={}", dir.join("etcd").display()),
        "--unsafe-no-fsync".to_owned(),
        format!("--listen-client-urls=http://127.0.0.1:{client}"),
        format!("--advertise-client-urls=http://127.0.0.1:{client}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
        "--log-level=warn".to_owned(),
    ]
}

/// Speaks for the controller, as an administrator may.
pub(crate) async fn controllers_client(dir: &Path) -> Result<Client> {
    let mut config = config(&dir.join(KUBECONFIG)).await?;
    config.auth_info.impersonate = Some(IDENTITY.to_owned());
    config.auth_info.impersonate_groups = Some(GROUPS.map(str::to_owned).into());
    Client::try_from(config).context("the stage's kubeconfig cannot be used to impersonate")
}

/// The administrator's.
fn kubeconfig(dir: &Path, pki: &Pki, server: &str) -> Result<PathBuf> {
    let config = json!({
        "apiVersion": "v1", "kind": "Config",
        "clusters": [{"name": "stage", "cluster": {"server": server, "certificate-authority": pki.ca()}}],
        "users": [{"name": "admin", "user": {
            "client-certificate": pki.cert("admin"), "client-key": pki.key("admin"),
        }}],
        "contexts": [{"name": "stage", "context": {"cluster": "stage", "user": "admin"}}],
        "current-context": "stage",
    });
    let path = dir.join(KUBECONFIG);
    fs::write(&path, config.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

async fn client(kubeconfig: &Path) -> Result<Client> {
    Client::try_from(config(kubeconfig).await?).context("the stage's kubeconfig cannot be used")
}

async fn config(kubeconfig: &Path) -> Result<Config> {
    // Another part of this process may have been first; it is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = Kubeconfig::read_from(kubeconfig).context("the stage's kubeconfig cannot be read")?;
    Ok(Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?)
}

fn http_get(path: &str) -> Result<axum::http::Request<Vec<u8>>> {
    axum::http::Request::get(path).body(Vec::new()).context("a path makes a request")
}

/// Ports that nobody listens on now. All are held before any is given back, so they differ.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot find a free port")?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}
