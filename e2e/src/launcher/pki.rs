//! The cluster's certificates: one CA, a certificate for each server, one for each user, and the keys of service account
//! tokens. Made once for a cluster's life; the CA's key is never written.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use crate::instance::{Instance, NODES};

/// Names under which pods reach the servers beside the cluster, resolved by its DNS.
pub(crate) const DOMAIN: &str = "vmdisk.test";

/// A user of the API server: file name, common name, organization.
const USERS: &[(&str, &str, &str)] = &[
    ("admin", "admin", "system:masters"),
    ("apiserver-kubelet", "kube-apiserver-kubelet-client", "system:masters"),
    ("controller-manager", "system:kube-controller-manager", ""),
    ("scheduler", "system:kube-scheduler", ""),
    ("proxy", "system:kube-proxy", ""),
    ("coredns", "coredns", "system:masters"),
    // Names of their own, so that the audit log tells the sidecars' writes from everybody else's.
    ("csi-provisioner", "csi-provisioner", "system:masters"),
    ("csi-resizer", "csi-resizer", "system:masters"),
    ("csi-snapshotter", "csi-snapshotter", "system:masters"),
    ("snapshot-controller", "snapshot-controller", "system:masters"),
];

/// Where the certificates lie.
pub(crate) struct Pki {
    dir: PathBuf,
}

impl Pki {
    /// The certificates in `dir`, made when they are not there yet.
    ///
    /// # Errors
    /// When they cannot be made or written.
    pub(crate) fn ensure(instance: &Instance, dir: PathBuf) -> Result<Self> {
        let pki = Self { dir };
        if !pki.complete().exists() {
            pki.make(instance)?;
        }
        for (user, ..) in USERS {
            // The key that could sign another certificate was never written.
            ensure!(
                pki.kubeconfig(user).exists(),
                "the cluster was brought up by a checkout that knew no user {user}: take it down first"
            );
        }
        Ok(pki)
    }

    /// The CA's certificate.
    #[must_use]
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// A certificate by name.
    #[must_use]
    pub(crate) fn cert(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.crt"))
    }

    /// The key of [`Pki::cert`].
    #[must_use]
    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.key"))
    }

    /// The key that signs service account tokens.
    #[must_use]
    pub(crate) fn service_account_key(&self) -> PathBuf {
        self.dir.join("service-account.key")
    }

    /// Its public half.
    #[must_use]
    pub(crate) fn service_account_public(&self) -> PathBuf {
        self.dir.join("service-account.pub")
    }

    /// A kubeconfig by user name.
    #[must_use]
    pub(crate) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.dir.join(format!("{user}.kubeconfig"))
    }

    /// Written last, so that a half made directory is made again.
    fn complete(&self) -> PathBuf {
        self.dir.join("complete")
    }

    fn make(&self, instance: &Instance) -> Result<()> {
        fs::create_dir_all(&self.dir).with_context(|| format!("cannot create {}", self.dir.display()))?;
        let ca_key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, format!("vmdisk-{}", instance.name()));
        write(&self.ca(), &params.self_signed(&ca_key)?.pem())?;
        let issuer = Issuer::new(params, ca_key);

        let address = instance.address().to_string();
        let apiserver =
            ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", "127.0.0.1", &address];
        let service = instance.kubernetes_service().to_string();
        self.issue(&issuer, "apiserver", "kube-apiserver", "", apiserver.iter().copied().chain([service.as_str()]))?;
        // One certificate for every server that tests talk to, also under names that only pods can resolve.
        let wildcards = [format!("*.{DOMAIN}"), format!("*.s3.{DOMAIN}")];
        let servers = ["localhost", "127.0.0.1", &address].into_iter().chain(wildcards.iter().map(String::as_str));
        self.issue(&issuer, "server", "server", "", servers)?;

        for (name, common_name, organization) in USERS {
            self.issue(&issuer, name, common_name, organization, [])?;
            self.write_kubeconfig(instance, name)?;
        }
        for node in NODES {
            let address = instance.node_address(node).to_string();
            let user = format!("system:node:{}", node.name);
            self.issue(&issuer, node.name, &user, "system:nodes", [node.name, &address])?;
            self.write_kubeconfig(instance, node.name)?;
        }

        let tokens = KeyPair::generate()?;
        write(&self.service_account_key(), &tokens.serialize_pem())?;
        write(&self.service_account_public(), &tokens.public_key_pem())?;
        write(&self.complete(), "")
    }

    fn issue<'a>(
        &self,
        issuer: &Issuer<'_, KeyPair>,
        name: &str,
        common_name: &str,
        organization: &str,
        hosts: impl IntoIterator<Item = &'a str>,
    ) -> Result<()> {
        let hosts: Vec<String> = hosts.into_iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        if !organization.is_empty() {
            params.distinguished_name.push(DnType::OrganizationName, organization);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        write(&self.cert(name), &params.signed_by(&key, issuer)?.pem())?;
        write(&self.key(name), &key.serialize_pem())
    }

    fn write_kubeconfig(&self, instance: &Instance, user: &str) -> Result<()> {
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "vmdisk", "cluster": {
                "server": format!("https://{}:6443", instance.address()),
                "certificate-authority": self.ca(),
            }}],
            "users": [{"name": user, "user": {
                "client-certificate": self.cert(user),
                "client-key": self.key(user),
            }}],
            "contexts": [{"name": "vmdisk", "context": {"cluster": "vmdisk", "user": user}}],
            "current-context": "vmdisk",
        });
        // JSON is YAML.
        write(&self.kubeconfig(user), &serde_json::to_string_pretty(&config)?)
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
