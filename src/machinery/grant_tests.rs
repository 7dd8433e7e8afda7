use serde_json::json;

use super::*;

const REFERENCE: Reference<'static> =
    Reference { claim_namespace: "labs", group: "pelotech.ot", kind: "VMDiskImage", name: "attacker" };

fn grant(from: &serde_json::Value, to: &serde_json::Value) -> GrantSpec {
    serde_json::from_value(json!({"from": [from], "to": [to]})).unwrap()
}

#[test]
fn allows_only_what_both_sides_name() {
    let from = json!({"group": "", "kind": "PersistentVolumeClaim", "namespace": "labs"});
    let to = json!({"group": "pelotech.ot", "kind": "VMDiskImage"});
    let cases = [
        ("any name", grant(&from, &to), true),
        ("this name", grant(&from, &json!({"group": "pelotech.ot", "kind": "VMDiskImage", "name": "attacker"})), true),
        ("another name", grant(&from, &json!({"group": "pelotech.ot", "kind": "VMDiskImage", "name": "x"})), false),
        ("another kind", grant(&from, &json!({"group": "pelotech.ot", "kind": "Secret"})), false),
        ("another group", grant(&from, &json!({"group": "", "kind": "VMDiskImage"})), false),
        (
            "another namespace",
            grant(&json!({"group": "", "kind": "PersistentVolumeClaim", "namespace": "x"}), &to),
            false,
        ),
        ("pods, not claims", grant(&json!({"group": "", "kind": "Pod", "namespace": "labs"}), &to), false),
    ];
    for (case, grant, expected) in cases {
        assert_eq!(allows([&grant], REFERENCE), expected, "{case}");
    }
    assert!(!allows([], REFERENCE), "no grants at all");
}

#[test]
fn does_not_add_up_two_grants_that_allow_half_each() {
    let other = json!({"group": "", "kind": "PersistentVolumeClaim", "namespace": "x"});
    let from_only = grant(
        &json!({"group": "", "kind": "PersistentVolumeClaim", "namespace": "labs"}),
        &json!({"group": "", "kind": "Secret"}),
    );
    let to_only = grant(&other, &json!({"group": "pelotech.ot", "kind": "VMDiskImage"}));
    assert!(!allows([&from_only, &to_only], REFERENCE));
}
