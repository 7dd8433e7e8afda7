use serde_json::{Value, from_value, json};

use super::*;

fn volume() -> Value {
    json!({
        "metadata": {"name": "pv-1"},
        "spec": {"claimRef": {"namespace": "images", "name": "prime-c1"}, "persistentVolumeReclaimPolicy": "Retain"},
        "status": {"phase": "Released"},
    })
}

type Case = (&'static str, fn(&mut Value), bool);

#[test]
fn an_orphan_is_released_and_retained_and_was_made_for_a_prime() {
    let cases: [Case; 6] = [
        ("an orphan", |_| (), true),
        ("in use", |volume| volume["status"]["phase"] = json!("Bound"), false),
        ("going by itself", |volume| volume["spec"]["persistentVolumeReclaimPolicy"] = json!("Delete"), false),
        ("of an ordinary claim", |volume| volume["spec"]["claimRef"]["name"] = json!("disk"), false),
        (
            "marked, so its claim's passes see to it",
            |volume| {
                volume["metadata"]["labels"] =
                    json!({"pelotech.ot/claim-uid": "c1", "pelotech.ot/claim-namespace": "labs"});
            },
            false,
        ),
        ("going already", |volume| volume["metadata"]["deletionTimestamp"] = json!("2026-11-21T04:00:00Z"), false),
    ];
    for (case, change, expected) in cases {
        let mut volume = volume();
        change(&mut volume);
        let volume: PersistentVolume = from_value(volume).unwrap();
        let keys = Keys::new("pelotech.ot", "image-namespace");
        assert_eq!(orphan(&keys, &volume), expected.then_some(("images", "c1")), "{case}");
    }
}

#[test]
fn only_the_prime_that_was_retired_proves_anything() {
    let retired = Retired::default();
    let claim = ClaimRef { namespace: "labs".into(), name: "disk".into(), uid: "c1".into() };
    assert!(!retired.has_any());
    retired.add(&claim, "images");
    assert_eq!(retired.get("c1", "images"), Some(claim));
    assert_eq!(retired.get("c1", "elsewhere"), None);
    assert_eq!(retired.get("c2", "images"), None);
    assert!(retired.has_any());
}
