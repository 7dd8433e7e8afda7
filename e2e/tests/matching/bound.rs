//! Claims that ask for more than most, and get it: one volume each, with the right bytes.

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use serde_json::{Value, json};
use vmdisk_e2e::testing::{bed, objects};

use crate::bed::{Bed, driver, matching};

#[tokio::test]
async fn whatever_access_they_ask_for() {
    matching(async |bed| {
        let shared = bed::variable("STORAGE_CLASS_SHARED")?;
        let cases = [
            ("shared-files", json!({"accessModes": ["ReadWriteMany"], "storageClassName": shared})),
            ("shared-device", json!({"accessModes": ["ReadWriteMany"], "volumeMode": "Block"})),
            ("read-by-many", json!({"accessModes": ["ReadOnlyMany", "ReadWriteOnce"], "storageClassName": shared})),
            ("one-pod-files", json!({"accessModes": ["ReadWriteOncePod"]})),
            ("one-pod-device", json!({"accessModes": ["ReadWriteOncePod"], "volumeMode": "Block"})),
        ];
        let filled = cases.map(|(name, spec)| async move {
            bound_as_asked(bed, name, spec).await.with_context(|| format!("case {name}"))
        });
        try_join_all(filled).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn with_a_class_of_attributes() {
    matching(async |bed| {
        let (claim, volume) = bound_as_asked(bed, "gold", json!({"volumeAttributesClassName": "loop-gold"})).await?;
        let of_volume = volume.spec.and_then(|spec| spec.volume_attributes_class_name);
        let current = claim.status.and_then(|status| status.current_volume_attributes_class_name);
        ensure!(
            (of_volume.as_deref(), current.as_deref()) == (Some("loop-gold"), Some("loop-gold")),
            "the volume's class of attributes is {of_volume:?}, and the claim's current one {current:?}"
        );
        Ok(())
    })
    .await;
}

/// Prime and claim are in one namespace, so a Secret that is found by it is the claim's.
#[tokio::test]
async fn with_a_secret_of_their_namespace() {
    matching(async |bed| {
        bed.scene.create(&objects::secret("key", &[("passphrase", "of the claim's namespace")])).await?;
        let parameters = json!({
            "csi.storage.k8s.io/node-stage-secret-name": "key",
            "csi.storage.k8s.io/node-stage-secret-namespace": "${pvc.namespace}",
        });
        let class = bed.class("secret", &driver()?, parameters).await?;
        let (_, volume) = bound_as_asked(bed, "secret", json!({"storageClassName": class})).await?;
        let source = volume.spec.and_then(|spec| spec.csi).context("the volume is the driver's")?;
        let secret = source.node_stage_secret_ref.context("the volume names the Secret that it is staged with")?;
        let place = (secret.namespace.as_deref(), secret.name.as_deref());
        ensure!(place == (Some(bed.scene.namespace.as_str()), Some("key")), "the volume is staged with {secret:?}");
        Ok(())
    })
    .await;
}

/// The claim is filled, and its volume has what the claim asked for.
async fn bound_as_asked(bed: &Bed<'_>, name: &str, spec: Value) -> Result<(PersistentVolumeClaim, PersistentVolume)> {
    bed.claim(name, spec).await?;
    let claim = bed.until_filled(name).await?;
    let wanted = claim.spec.clone().context("a claim has a spec")?;
    let volumes = Api::<PersistentVolume>::all(bed.scene.bed.client.clone());
    let volume = volumes.get(wanted.volume_name.as_deref().context("a bound claim names its volume")?).await?;
    let offered = volume.spec.clone().context("a volume has a spec")?;
    ensure!(
        (&offered.access_modes, &offered.volume_mode) == (&wanted.access_modes, &wanted.volume_mode),
        "asked for {:?} {:?}, got {:?} {:?}",
        wanted.access_modes,
        wanted.volume_mode,
        offered.access_modes,
        offered.volume_mode
    );
    Ok((claim, volume))
}
