//! What the controller's account may not do although its roles allow it.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use vmdisk_e2e::testing::audit::CONTROLLER;
use vmdisk_e2e::testing::{impersonation, scenario};

use crate::objects::{Answer, UID, claim, pod, tried};

const BOUNDS: Option<&str> = Some("vmdisk-bounds");

#[tokio::test]
async fn with_the_controllers_token_nobody_harms_users_pods_and_claims() {
    scenario("bounds", async |scene| {
        let mine = json!({"name": "mine"});
        scene.create(&pod(&mine)?).await?;
        scene.create(&claim(&mine)?).await?;
        // Called like a worker is a pod's name, not a claim's.
        let crossed = json!({"name": format!("populate-{UID}")});
        scene.create(&claim(&crossed)?).await?;
        let controller = impersonation::account(CONTROLLER).await?;
        let pods: Api<Pod> = Api::namespaced(controller.clone(), &scene.namespace);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(controller, &scene.namespace);

        let delete = DeleteParams::default();
        assert_eq!(Answer::of(pods.delete("mine", &delete).await)?.policy(), BOUNDS);
        assert_eq!(Answer::of(claims.delete("mine", &delete).await)?.policy(), BOUNDS);
        assert_eq!(Answer::of(claims.delete(&format!("populate-{UID}"), &delete).await)?.policy(), BOUNDS);
        let shell = json!({"name": "shell", "labels": {"pelotech.ot/claim-uid": UID}});
        assert_eq!(tried(&pods, &pod(&shell)?).await?.policy(), BOUNDS);
        assert_eq!(tried(&claims, &claim(&shell)?).await?.policy(), BOUNDS);

        let patch = async |name: &str, metadata| -> Result<Option<&'static str>> {
            let patch = Patch::Merge(json!({"metadata": metadata}));
            Ok(Answer::of(claims.patch(name, &PatchParams::default(), &patch).await)?.policy())
        };
        // The scheduler is to choose again: all that is ever written to a user's claim.
        let selected = json!({"annotations": {"volume.kubernetes.io/selected-node": null}});
        assert_eq!(patch("mine", selected).await?, None);
        assert_eq!(patch("mine", json!({"labels": {"app": "other"}})).await?, BOUNDS);
        assert_eq!(patch("mine", json!({"finalizers": ["example.com/held"]})).await?, BOUNDS);
        let grow = Patch::Merge(json!({"spec": {"storageClassName": "another"}}));
        let grown = Answer::of(claims.patch("mine", &PatchParams::default(), &grow).await);
        // A claim's class never changes; that the API server says so first is as good.
        assert!(grown.is_err() || grown.is_ok_and(|answer| answer.policy() == BOUNDS));

        // What it makes and deletes every day.
        for metadata in
            [json!({"name": format!("prime-{UID}")}), json!({"name": "golden", "labels": {"pelotech.ot/golden": UID}})]
        {
            let name = metadata["name"].as_str().context("a name")?;
            claims
                .create(&PostParams::default(), &claim(&metadata)?)
                .await
                .with_context(|| format!("cannot make {name}"))?;
            claims.delete(name, &delete).await.with_context(|| format!("cannot delete {name}"))?;
        }
        for name in [format!("populate-{UID}"), format!("inspect-{UID}")] {
            pods.create(&PostParams::default(), &pod(&json!({"name": name}))?).await.context("cannot make a worker")?;
            pods.delete(&name, &delete).await.context("cannot delete a worker")?;
        }
        Ok(())
    })
    .await;
}
