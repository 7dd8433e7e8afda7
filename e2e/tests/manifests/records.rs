//! Syncs are the controller's word, and a fill goes through with all policies in force.

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use populator_crd::v1alpha1::SourceType;
use populator_crd::{VMDiskImage, VMDiskImageSpec, VMDiskSync};
use serde_json::json;
use vmdisk_e2e::testing::objects::{self, Mode, is_bound};
use vmdisk_e2e::testing::{impersonation, scenario, syncs, until, wall};

use crate::objects::{Answer, tried};

const SOON: Duration = Duration::from_mins(1);
const RECORDS: Option<&str> = Some("vmdisk-records");

#[tokio::test]
async fn a_claim_is_filled_behind_the_wall_and_its_sync_is_written_by_nobody_else() {
    scenario("records", async |scene| {
        assert!(wall::stands(&scene.bed.client).await?, "the policies are not in force");
        let spec = VMDiskImageSpec {
            source_type: Some(SourceType::Blank),
            disk_size: Some(Quantity("32Mi".to_owned())),
            ..VMDiskImageSpec::default()
        };
        let tenant = impersonation::tenant(scene, &scene.namespace, "edit").await?;
        // The tenant's own hands, all of it.
        let images: Api<VMDiskImage> = Api::namespaced(tenant.clone(), &scene.namespace);
        images.create(&PostParams::default(), &VMDiskImage::new("blank", spec)).await?;
        let claims = Api::namespaced(tenant.clone(), &scene.namespace);
        claims.create(&PostParams::default(), &objects::claim("disk", "blank", "64Mi", Mode::Filesystem)?).await?;
        until::holds(&claims, "disk", "is filled", SOON * 3, is_bound).await?;

        let sync = syncs::of(scene, "disk").await?.context("a filled claim has a sync")?;
        let name = sync.name_any();
        let params = PatchParams::default();
        let forged = VMDiskSync::new("forged", sync.spec.clone());
        let done = Patch::Merge(json!({"status": {"phase": "Failed", "attempt": 7}}));
        let unlabelled = Patch::Merge(json!({"metadata": {"labels": {"pelotech.ot/claim-uid": null}}}));
        let annotated = Patch::Merge(json!({"metadata": {"annotations": {"example.com/seen": "yes"}}}));

        let tenants: Api<VMDiskSync> = Api::namespaced(tenant, &scene.namespace);
        assert_eq!(tried(&tenants, &forged).await?, Answer::Unauthorized);
        assert_eq!(Answer::of(tenants.patch_status(&name, &params, &done).await)?, Answer::Unauthorized);

        // Whom every role allows everything, and who restores what was backed up.
        let almighty = impersonation::almighty("system:serviceaccount:velero:velero").await?;
        let almighty: Api<VMDiskSync> = Api::namespaced(almighty, &scene.namespace);
        let answer = tried(&almighty, &forged).await?;
        let Answer::Refused { policy: "vmdisk-records", message } = answer else { panic!("{answer:?}") };
        assert!(message.contains("VMDiskSync forged") && message.contains("leave VMDiskSyncs out"), "{message}");
        assert_eq!(Answer::of(almighty.patch_status(&name, &params, &done).await)?.policy(), RECORDS);
        assert_eq!(Answer::of(almighty.patch(&name, &params, &unlabelled).await)?.policy(), RECORDS);
        // The collector writes finalizers and owners, others annotations.
        assert_eq!(Answer::of(almighty.patch(&name, &params, &annotated).await)?, Answer::Allowed);

        // To retry by hand is to delete.
        tenants.delete(&name, &DeleteParams::foreground()).await.context("the tenant cannot delete a sync")?;
        until::gone(&tenants, &name, SOON).await
    })
    .await;
}
