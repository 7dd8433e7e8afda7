//! Claims that nobody can fill: an event says what is wrong with them and what to do, and nothing is made for them.

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use serde_json::{Value, json};
use vmdisk_e2e::testing::{bed, events};

use crate::bed::{Bed, SOON, driver, matching};

/// A claim that differs from an ordinary one in one thing.
struct Case {
    name: &'static str,
    /// Provisioner and parameters of a class of its own.
    class: Option<(String, Value)>,
    /// What it says instead of what an ordinary claim does.
    spec: Value,
    reason: &'static str,
    /// What the message must name: what was found, and what to do.
    words: &'static [&'static str],
}

impl Case {
    /// Of an ordinary class.
    fn of_claim(name: &'static str, spec: Value, reason: &'static str, words: &'static [&'static str]) -> Self {
        Self { name, class: None, spec, reason, words }
    }

    /// Of a class of its own, by this provisioner.
    fn of_class(name: &'static str, provisioner: &str, reason: &'static str, words: &'static [&'static str]) -> Self {
        Self { name, class: Some((provisioner.to_owned(), json!({}))), spec: json!({}), reason, words }
    }

    /// Of a class of the driver, with one parameter.
    fn of_parameter(
        name: &'static str,
        parameter: (&str, &str),
        reason: &'static str,
        words: &'static [&'static str],
    ) -> Result<Self> {
        let parameters = json!({parameter.0: parameter.1});
        Ok(Self { name, class: Some((driver()?, parameters)), spec: json!({}), reason, words })
    }

    async fn is_refused(&self, bed: &Bed<'_>) -> Result<()> {
        let mut spec = self.spec.clone();
        if let Some((provisioner, parameters)) = &self.class {
            spec["storageClassName"] = json!(bed.class(self.name, provisioner, parameters.clone()).await?);
        }
        let claim = bed.claim(self.name, spec).await?;
        events::warned(bed.scene, &claim, self.reason, self.words, SOON).await.map(drop)
    }
}

async fn are_refused(bed: &Bed<'_>, cases: &[Case]) -> Result<()> {
    let refused =
        cases.iter().map(async |case| case.is_refused(bed).await.with_context(|| format!("case {}", case.name)));
    try_join_all(refused).await.map(drop)
}

#[tokio::test]
async fn before_anything_is_made_for_them() {
    matching(async |bed| {
        let template = "SecretTemplateUnsupported";
        let cases = [
            Case::of_claim(
                "read-only",
                json!({"accessModes": ["ReadOnlyMany"]}),
                "AccessModeUnsupported",
                &["ReadOnlyMany", "Create it again with ReadWriteOnce"],
            ),
            Case::of_claim(
                "selector",
                json!({"selector": {"matchLabels": {"disk": "fast"}}}),
                "SelectorUnsupported",
                &["selector", "Create it again without"],
            ),
            Case::of_claim(
                "static",
                json!({"storageClassName": ""}),
                "StorageClassMissing",
                &["storageClassName is \"\"", "Create the claim again with the name of a StorageClass"],
            ),
            Case::of_class(
                "in-tree",
                "kubernetes.io/aws-ebs",
                "ProvisionerUnsupported",
                &["kubernetes.io/aws-ebs", "built into Kubernetes", "Use a class whose provisioner is a CSI driver"],
            ),
            Case::of_class(
                "no-provisioner",
                "kubernetes.io/no-provisioner",
                "ProvisionerUnsupported",
                &["kubernetes.io/no-provisioner", "Use a class whose provisioner is a CSI driver"],
            ),
            Case::of_class(
                "no-driver",
                "nobody.vmdisk.test",
                "ProvisionerUnsupported",
                &["nobody.vmdisk.test", "no CSIDriver object", "Install the driver"],
            ),
            Case::of_parameter(
                "staged-by-name",
                ("csi.storage.k8s.io/node-stage-secret-name", "${pvc.name}"),
                template,
                &["node-stage-secret-name", "${pvc.name}", "Use a class whose secrets do not depend on the claim"],
            )?,
            Case::of_parameter(
                "made-by-name",
                ("csi.storage.k8s.io/provisioner-secret-name", "key-of-${pvc.name}"),
                template,
                &["provisioner-secret-name", "key-of-${pvc.name}"],
            )?,
            Case::of_parameter(
                "grown-by-annotation",
                ("csi.storage.k8s.io/node-expand-secret-name", "${pvc.annotations['vmdisk.test/key']}"),
                template,
                &["node-expand-secret-name", "${pvc.annotations['vmdisk.test/key']}"],
            )?,
        ];
        are_refused(bed, &cases).await?;
        bed.assert_untouched().await
    })
    .await;
}

/// What only the driver knows is told in its words.
#[tokio::test]
async fn by_their_driver() {
    matching(async |bed| {
        let cases = [
            Case::of_claim(
                "refused-attributes",
                json!({"volumeAttributesClassName": "loop-refused"}),
                "ProvisioningFailed",
                &["this class asks to be refused", "Mend what it names"],
            ),
            Case::of_claim(
                "many-writers",
                json!({"accessModes": ["ReadWriteMany"], "storageClassName": bed::variable("STORAGE_CLASS_IMMEDIATE")?}),
                "ProvisioningFailed",
                &["accessibility: shared", "Mend what it names"],
            ),
        ];
        are_refused(bed, &cases).await
    })
    .await;
}
