//! The servers beside the cluster: registry, S3, and HTTP, each behind a counting relay that can be made to fail.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::Launcher;
use super::pki::DOMAIN;
use super::process::Component;
use crate::instance::Instance;
use crate::servers::{Auth, Config, SOURCES, ServerConfig};

const READY: Duration = Duration::from_mins(2);

/// Access key of the S3 server's one account.
pub(crate) const S3_ACCESS_KEY: &str = "VMDISKTESTACCESS";
/// Its secret key. Nobody but this machine reaches the server.
pub(crate) const S3_SECRET_KEY: &str = "vmdisk-test-secret-key";
/// The user of the registry that asks for credentials.
pub(crate) const PRIVATE_USER: &str = "puller";
/// That user's password.
pub(crate) const PRIVATE_PASSWORD: &str = "vmdisk-test-password";

/// Where the servers listen, at the cluster's address.
pub(crate) mod ports {
    /// The registry.
    pub(crate) const REGISTRY: u16 = 5000;
    /// The same registry, for those with credentials only.
    pub(crate) const PRIVATE_REGISTRY: u16 = 5500;
    /// S3.
    pub(crate) const S3: u16 = 9000;
    /// HTTP.
    pub(crate) const HTTP: u16 = 8080;
    /// HTTPS.
    pub(crate) const HTTPS: u16 = 8443;
    /// The endpoint that counts and breaks.
    pub(crate) const CONTROL: u16 = 8090;
    /// The registry behind its relay, on the namespace's loopback.
    pub(super) const REGISTRY_BACKEND: u16 = 5001;
    /// The S3 server behind its relay, on the namespace's loopback.
    pub(super) const S3_BACKEND: u16 = 9001;
}

/// A server's address and port as part of a URL or an image's name.
pub(crate) fn authority(instance: &Instance, port: u16) -> String {
    format!("{}:{port}", instance.address())
}

impl Launcher {
    /// Starts all servers, and waits until they answer.
    pub(super) fn services(&self) -> Result<()> {
        self.trust()?;
        self.registry()?;
        self.s3()?;
        self.front()?;
        let address = SocketAddr::new(IpAddr::V4(self.instance.address()), ports::CONTROL);
        self.supervisor
            .ready("servers", READY, || TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok())?;
        // The relays listen at once, whether there is anything behind them or not.
        for (name, port) in [("registry", ports::REGISTRY_BACKEND), ("s3", ports::S3_BACKEND)] {
            self.supervisor.ready(name, READY, || self.listens(port))?;
        }
        Ok(())
    }

    /// The directory that the HTTP server serves.
    pub(super) fn http_root(&self) -> PathBuf {
        self.state.join("http")
    }

    /// The directory with the CA's certificate alone, as container tools want it.
    pub(super) fn trust_dir(&self) -> PathBuf {
        self.state.join("trust")
    }

    /// Makes the CA known to those who read it from a place of their own.
    fn trust(&self) -> Result<()> {
        let ca = fs::read_to_string(self.pki.ca()).context("cannot read the CA's certificate")?;
        super::write(&self.trust_dir().join("ca.crt"), &ca)?;
        let registry = authority(&self.instance, ports::REGISTRY);
        let hosts = format!(
            "server = \"https://{registry}\"\n[host.\"https://{registry}\"]\n  ca = \"{}\"\n",
            self.trust_dir().join("ca.crt").display()
        );
        super::write(&self.registry_hosts().join(&registry).join("hosts.toml"), &hosts)
    }

    fn registry(&self) -> Result<()> {
        let config = json!({
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": true}},
            "storage": {
                "filesystem": {"rootdirectory": self.state.join("registry")},
                "delete": {"enabled": true},
            },
            "http": {"addr": format!("127.0.0.1:{}", ports::REGISTRY_BACKEND), "relativeurls": true},
        })
        .to_string();
        let path = self.state.join("registry.yaml");
        super::write(&path, &config)?;
        let component = Component::new("registry", self.tool("registry"));
        // Without it the registry looks for a collector of traces.
        let component = component.env("OTEL_TRACES_EXPORTER", "none").config(&config);
        self.supervisor.ensure(&component.args(["serve".to_owned(), path.display().to_string()]))
    }

    fn s3(&self) -> Result<()> {
        let root = self.state.join("s3");
        fs::create_dir_all(&root).with_context(|| format!("cannot create {}", root.display()))?;
        let component = Component::new("s3", self.tool("versitygw"));
        self.supervisor.ensure(
            &component.env("ROOT_ACCESS_KEY", S3_ACCESS_KEY).env("ROOT_SECRET_KEY", S3_SECRET_KEY).args([
                format!("--port=127.0.0.1:{}", ports::S3_BACKEND),
                format!("--virtual-domain=s3.{DOMAIN}:{}", ports::S3),
                "--keep-alive".to_owned(),
                "--quiet".to_owned(),
                "posix".to_owned(),
                root.display().to_string(),
            ]),
        )
    }

    /// The HTTP server and the relays: one process, which is this program under another name, so that building the
    /// program anew does not restart it.
    fn front(&self) -> Result<()> {
        let http_root = self.http_root();
        fs::create_dir_all(&http_root).with_context(|| format!("cannot create {}", http_root.display()))?;
        let program = self.state.join("vmdisk-servers");
        let sources = SOURCES.concat();
        let config = serde_json::to_string(&self.front_config(http_root))?;
        let path = self.state.join("servers.json");
        super::write(&path, &config)?;
        let component = Component::new("servers", program.clone())
            .config(&format!("{config}{sources}"))
            .args(["serve".to_owned(), path.display().to_string()]);
        if !self.supervisor.runs(&component) {
            let this = std::env::current_exe().context("this program's path is unknown")?;
            let copy = self.state.join("vmdisk-servers.partial");
            fs::copy(&this, &copy).with_context(|| format!("cannot copy {}", this.display()))?;
            fs::rename(&copy, &program).context("cannot put the servers' program in its place")?;
        }
        self.supervisor.ensure(&component)
    }

    fn front_config(&self, http_root: PathBuf) -> Config {
        let at = |port| SocketAddr::new(IpAddr::V4(self.instance.address()), port);
        let relay = |port, backend: u16, auth| ServerConfig {
            plain: None,
            tls: at(port),
            root: None,
            backend: Some(format!("127.0.0.1:{backend}")),
            auth,
        };
        let private = Auth::Basic { username: PRIVATE_USER.to_owned(), password: PRIVATE_PASSWORD.to_owned() };
        let files = ServerConfig {
            plain: Some(at(ports::HTTP)),
            tls: at(ports::HTTPS),
            root: Some(http_root),
            backend: None,
            auth: None,
        };
        let servers = HashMap::from([
            ("files".to_owned(), files),
            ("registry".to_owned(), relay(ports::REGISTRY, ports::REGISTRY_BACKEND, None)),
            ("private-registry".to_owned(), relay(ports::PRIVATE_REGISTRY, ports::REGISTRY_BACKEND, Some(private))),
            ("s3".to_owned(), relay(ports::S3, ports::S3_BACKEND, None)),
        ]);
        Config {
            certificate: self.pki.cert("server"),
            key: self.pki.key("server"),
            control: at(ports::CONTROL),
            servers,
        }
    }

    /// Whether something listens on this port of the namespace's loopback.
    fn listens(&self, port: u16) -> bool {
        let filter = format!("sport = :{port}");
        let listing = super::network::inside(&self.instance).args(["ss", "-Hltn", &filter]).output();
        listing.is_ok_and(|listing| !listing.trim().is_empty())
    }
}
