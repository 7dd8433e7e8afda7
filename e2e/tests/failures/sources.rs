//! Sources that are not there, do not let us in, or are busy.

use anyhow::{Result, ensure};
use populator_crd::v1alpha1::{FailureClass, SyncPhase};
use vmdisk_e2e::servers::{Auth, Fault};
use vmdisk_e2e::testing::files::{self, Server};
use vmdisk_e2e::testing::{Scene, objects, scenario, syncs};

use crate::judge::{Told, fails, heals, raw, start_again};

#[tokio::test]
async fn a_server_that_has_nothing_refuses_us_or_is_busy_is_quoted() {
    scenario("failures", async |scene| tokio::try_join!(missing(scene), refused(scene), busy(scene)).map(drop)).await;
}

/// The one who uploads it does not have to wait for `missingRetryInterval`.
async fn missing(scene: &Scene) -> Result<()> {
    let place = files::place(scene, "missing.img")?;
    let told = Told {
        class: FailureClass::SourceMissing,
        reason: "NotFound",
        event: "SourceMissing",
        names: &["404", &place.url, "check the URL, or upload the image"],
    };
    fails(scene, objects::image("missing", &place.url), &told).await?;
    files::publish(scene, "missing.img", &raw(1 << 20))?;
    start_again(scene, "missing").await?;
    heals(scene, "missing", &raw(1 << 20)).await
}

async fn refused(scene: &Scene) -> Result<()> {
    let disk = files::publish(scene, "refused.img", &raw(1 << 20))?;
    let auth = Auth::Basic { username: "user".to_owned(), password: "right".to_owned() };
    Server::files()?.set(&disk.path, &Fault { auth: Some(auth), ..Fault::default() }).await?;
    scene.create(&objects::secret("credentials", &[("username", "user"), ("password", "wrong")])).await?;
    let mut image = objects::image("refused", &disk.url);
    image.spec.secret_ref = Some("credentials".to_owned());
    let told = Told {
        class: FailureClass::Denied,
        reason: "Unauthorized",
        event: "SourceDenied",
        names: &["401", "check secretRef"],
    };
    let failure = fails(scene, image, &told).await?;
    ensure!(!failure.message.contains("wrong"), "the message holds the password: {}", failure.message);
    Ok(())
}

async fn busy(scene: &Scene) -> Result<()> {
    let disk = files::publish(scene, "busy.img", &raw(1 << 20))?;
    Server::files()?.set(&disk.path, &Fault { status: Some(503), ..Fault::default() }).await?;
    let told = Told { class: FailureClass::Transient, reason: "ServerError", event: "SyncRetrying", names: &["503"] };
    fails(scene, objects::image("busy", &disk.url), &told).await?;
    let phase = syncs::status_of(scene, "busy").await?.and_then(|status| status.phase);
    ensure!(phase == Some(SyncPhase::BackingOff), "the sync is {phase:?}");
    Ok(())
}

#[tokio::test]
async fn a_missing_secret_is_denied() {
    scenario("failures", async |scene| {
        let disk = files::publish(scene, "disk.img", &raw(1 << 20))?;
        let mut image = objects::image("claim", &disk.url);
        image.spec.secret_ref = Some("no-such-secret".to_owned());
        let told = Told {
            class: FailureClass::Denied,
            reason: "SecretMissing",
            event: "SecretMissing",
            names: &["Secret", "no-such-secret", "create it"],
        };
        fails(scene, image, &told).await.map(drop)
    })
    .await;
}
