//! TLS: who is trusted, and what is never left.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;
use vmdisk_wire::ExitClass;

use crate::server::{Fault, Resource, Server};
use crate::support::{Bench, assert_disk, patterned};

/// A listener that speaks TLS; who fails to, is left waiting.
struct Secure {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Secure {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A server with a certificate of its own CA, and that CA's certificate.
fn secure() -> (Server, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &ca).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    (Server::run("https", |listener| Secure { listener, acceptor }), ca.pem())
}

#[test]
fn a_ca_of_ones_own_is_trusted_when_it_is_named_and_only_then() {
    let (bench, (server, ca)) = (Bench::new(), secure());
    let disk = patterned(5 << 20);
    let faults = [Fault::Cut(1_000_000)].into();
    let etag = Some("\"a\"".to_owned());
    server.put("/d", Resource { body: disk.clone().into(), etag, ..Resource::default() });
    let url = server.url("/d");
    bench.fetch(&url, &[]).failed(ExitClass::Denied, "Untrusted", "name the CA that signed it in certConfigMap");
    assert!(server.seen("/d").is_empty());
    let directory = bench.path("certs");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("ca.crt"), ca).unwrap();
    server.change("/d", |resource| resource.faults = faults);
    let certs = directory.to_str().unwrap();
    let run = bench.fetch(&url, &["--ca-dir", certs]).done();
    assert_disk(&bench.output(), &disk);
    assert_eq!(run.report.bytes_fetched, disk.len() as u64);
    std::fs::write(directory.join("ca.crt"), "no PEM").unwrap();
    bench.fetch(&url, &["--ca-dir", certs]).failed(ExitClass::BadJob, "InvalidSecret", "ca.crt");
}

#[test]
fn a_redirect_never_leaves_tls() {
    let (bench, (server, ca), plain) = (Bench::new(), secure(), Server::start());
    let to = plain.serve("/d", patterned(1 << 20));
    let faults = [Fault::Answer(302, vec![("location", to)], String::new())].into();
    server.put("/d", Resource { faults, ..Resource::default() });
    let directory = bench.path("certs");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("ca.crt"), ca).unwrap();
    let run = bench.fetch(&server.url("/d"), &["--ca-dir", directory.to_str().unwrap()]);
    run.failed(ExitClass::Denied, "BadRedirect", "from https to plain http");
    assert!(plain.seen("/d").is_empty());
}
