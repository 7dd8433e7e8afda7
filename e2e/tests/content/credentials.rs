//! Who may have an image, and from whom we take one. (Registry and S3 have their credentials among the sources.)

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;
use populator_crd::v1alpha1::FailureClass;
use vmdisk_e2e::servers::{Auth, Fault};
use vmdisk_e2e::testing::files::{self, Server};
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::{Scene, scenario};

use crate::claims::{Row, fill, refusal};
use crate::disk::{self, QCOW2};

#[tokio::test]
async fn credentials_and_redirects_lead_to_the_disk() {
    scenario("content", async |scene| {
        let (server, work) = (Server::files()?, tempfile::tempdir()?);
        let disk = disk::make(work.path(), QCOW2, 200)?;
        scene.create(&objects::ca()?).await?;
        scene.create(&objects::secret("basic", &[("username", "lab"), ("password", "open: sesame")])).await?;
        scene.create(&objects::secret("bearer", &[("token", "eyJhbGciOiJub25lIn0.e30.")])).await?;
        let basic = Auth::Basic { username: "lab".to_owned(), password: "open: sesame".to_owned() };
        let bearer = Auth::Bearer("eyJhbGciOiJub25lIn0.e30.".to_owned());

        let mut rows = Vec::new();
        for (name, auth) in [("basic", basic), ("bearer", bearer)] {
            let file = files::publish_file(scene, name, &disk.file)?;
            server.set(&file.path, &Fault { auth: Some(auth), ..Fault::default() }).await?;
            // Once directly, and once by way of a redirect of the same server.
            let moved = files::place(scene, &format!("{name}-moved"))?;
            server.set(&moved.path, &Fault { redirect: Some(file.tls_url.clone()), ..Fault::default() }).await?;
            for (image, url) in [(name.to_owned(), file.tls_url), (format!("{name}-redirected"), moved.tls_url)] {
                let mut image = objects::tls_image(&image, &url);
                image.spec.secret_ref = Some(name.to_owned());
                rows.push(Row { image, expected: disk.expected.clone(), modes: &[Mode::Filesystem] });
            }
        }
        fill(scene, rows).await
    })
    .await;
}

#[tokio::test]
async fn a_redirect_to_another_server_does_not_take_the_credentials_along() {
    scenario("content", async |scene| {
        let (server, work) = (Server::files()?, tempfile::tempdir()?);
        let disk = disk::make(work.path(), QCOW2, 201)?;
        scene.create(&objects::ca()?).await?;
        scene.create(&objects::secret("bearer", &[("token", "of-the-first-server")])).await?;
        let file = files::publish_file(scene, "public", &disk.file)?;
        // The port without TLS is another origin.
        let moved = files::place(scene, "moved")?;
        let auth = Some(Auth::Bearer("of-the-first-server".to_owned()));
        server.set(&moved.path, &Fault { auth, redirect: Some(file.tls_url.clone()), ..Fault::default() }).await?;

        let mut image = objects::image("elsewhere", &moved.url);
        image.spec.secret_ref = Some("bearer".to_owned());
        image.spec.cert_config_map = Some(objects::CA_CONFIG_MAP.to_owned());
        fill(scene, vec![Row { image, expected: disk.expected, modes: &[Mode::Filesystem] }]).await?;

        let asked = server.count(&moved.path).await?;
        ensure!(asked.log.iter().any(|seen| seen.authorized), "the first server was asked without a token: {asked:?}");
        let told = server.count(&file.path).await?;
        ensure!(!told.log.is_empty(), "the other server was never asked");
        ensure!(!told.log.iter().any(|seen| seen.authorized), "the other server was told the token: {told:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_server_whose_certificate_is_of_another_ca_is_refused() {
    scenario("content", async |scene| {
        let file = files::publish(scene, "disk", &vec![7; 1 << 20])?;
        scene.create(&another_ca()?).await?;
        untrusted(scene, "unknown-ca", None, &file.tls_url).await?;
        untrusted(scene, "another-ca", Some("another-ca"), &file.tls_url).await?;
        let asked = Server::files()?.count(&file.path).await?;
        ensure!(asked.log.is_empty(), "a server that is not trusted was asked: {asked:?}");
        Ok(())
    })
    .await;
}

async fn untrusted(scene: &Scene, name: &str, ca: Option<&str>, url: &str) -> Result<()> {
    let mut image = objects::image(name, url);
    image.spec.cert_config_map = ca.map(str::to_owned);
    let failure = refusal(scene, &image).await?;
    ensure!(failure.class == FailureClass::Denied, "{name}: another failure was expected: {failure:?}");
    ensure!(failure.message.contains("certConfigMap"), "{name}: it does not say what to do: {failure:?}");
    Ok(())
}

fn another_ca() -> Result<ConfigMap> {
    let key = rcgen::KeyPair::generate()?;
    let mut authority = rcgen::CertificateParams::new([])?;
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&key)?.pem();
    Ok(ConfigMap {
        metadata: ObjectMeta { name: Some("another-ca".to_owned()), ..ObjectMeta::default() },
        data: Some([("ca.crt".to_owned(), certificate)].into()),
        ..ConfigMap::default()
    })
}
