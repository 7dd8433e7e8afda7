use std::sync::Arc;

use serde_json::{Value, from_value, json};

use super::*;

fn claim() -> Value {
    json!({"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "gp3"}})
}

fn class() -> Value {
    json!({"metadata": {"name": "gp3"}, "provisioner": "ebs.csi.aws.com", "parameters": {"type": "gp3"}})
}

fn secret(value: &str) -> impl Fn(&mut Value) {
    let parameters = json!({"csi.storage.k8s.io/node-stage-secret-name": value});
    move |class| class["parameters"] = parameters.clone()
}

fn verdict(claim: Value, class: Option<Value>, has_driver: bool, crosses: bool) -> &'static str {
    let class =
        class.map_or(Class::Missing, |class| Class::Found { class: Arc::new(from_value(class).unwrap()), has_driver });
    check(&from_value(claim).unwrap(), &class, crosses).map_or_else(|notice| notice.reason, |()| "fine")
}

type Case = (&'static str, fn(&mut Value), &'static str);

#[test]
fn judges_claims() {
    let cases: [Case; 8] = [
        ("an ordinary claim", |_| (), "fine"),
        ("no class yet", |claim| claim["spec"]["storageClassName"] = Value::Null, "StorageClassMissing"),
        ("a static claim", |claim| claim["spec"]["storageClassName"] = json!(""), "StorageClassMissing"),
        ("a selector", |claim| claim["spec"]["selector"] = json!({}), "SelectorUnsupported"),
        ("read only", |claim| claim["spec"]["accessModes"] = json!(["ReadOnlyMany"]), "AccessModeUnsupported"),
        ("read only too", |claim| claim["spec"]["accessModes"] = json!(["ReadOnlyMany", "ReadWriteMany"]), "fine"),
        ("one pod alone", |claim| claim["spec"]["accessModes"] = json!(["ReadWriteOncePod"]), "fine"),
        ("attributes", |claim| claim["spec"]["volumeAttributesClassName"] = json!("gold"), "fine"),
    ];
    for (case, change, expected) in cases {
        let mut claim = claim();
        change(&mut claim);
        assert_eq!(verdict(claim, Some(class()), true, false), expected, "{case}");
    }
}

#[test]
fn judges_classes() {
    assert_eq!(verdict(claim(), None, false, false), "StorageClassNotFound");
    assert_eq!(verdict(claim(), Some(class()), false, false), "ProvisionerUnsupported", "no CSIDriver");
    for provisioner in ["kubernetes.io/no-provisioner", "kubernetes.io/aws-ebs"] {
        let mut class = class();
        class["provisioner"] = json!(provisioner);
        assert_eq!(verdict(claim(), Some(class), true, false), "ProvisionerUnsupported", "{provisioner}");
    }
}

#[test]
fn judges_secrets_that_depend_on_the_claim() {
    for (value, crosses, expected) in [
        ("fixed", true, "fine"),
        ("${pv.name}", true, "fine"),
        ("${pvc.name}", false, "SecretTemplateUnsupported"),
        ("key-${pvc.annotations['team.example/key']}", false, "SecretTemplateUnsupported"),
        ("${pvc.namespace}", false, "fine"),
        ("${pvc.namespace}", true, "SecretTemplateUnsupported"),
    ] {
        let mut class = class();
        secret(value)(&mut class);
        assert_eq!(verdict(claim(), Some(class), true, crosses), expected, "{value}, across namespaces: {crosses}");
    }
    let mut class = class();
    class["parameters"] = json!({"comment": "${pvc.name}"});
    assert_eq!(verdict(claim(), Some(class), true, false), "fine", "a parameter that picks no Secret");
}
