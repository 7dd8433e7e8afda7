use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{from_value, to_value};

use super::*;

fn keys() -> Keys {
    Keys::new("pelotech.ot", "image-namespace")
}

fn claim_ref() -> ClaimRef {
    ClaimRef { namespace: "labs".into(), name: "disk".into(), uid: "c1".into() }
}

fn claim() -> PersistentVolumeClaim {
    from_value(json!({
        "metadata": {"name": "disk", "namespace": "labs", "uid": "c1", "resourceVersion": "7",
                     "labels": {"app": "lab"}, "annotations": {SELECTED_NODE: "node-1"}},
        "spec": {
            "accessModes": ["ReadWriteOncePod"],
            "dataSourceRef": {"apiGroup": "pelotech.ot", "kind": "VMDiskImage", "name": "attacker"},
            "resources": {"requests": {"storage": "24Gi"}, "limits": {"storage": "30Gi"}},
            "storageClassName": "gp3", "volumeAttributesClassName": "gold", "volumeMode": "Block",
        },
    }))
    .unwrap()
}

fn volume() -> PersistentVolume {
    from_value(json!({
        "metadata": {"name": "pv-1", "uid": "v1", "resourceVersion": "9",
                     "annotations": {"pelotech.ot/reclaim-policy": "Retain"}},
        "spec": {"persistentVolumeReclaimPolicy": "Delete",
                 "claimRef": {"namespace": "images", "name": "prime-c1", "uid": "p1", "resourceVersion": "8"}},
    }))
    .unwrap()
}

#[test]
fn a_prime_asks_for_what_the_claim_asks_for_and_for_no_data() {
    let spec = PrimeSpec {
        owner: Some(OwnerReference { name: "disk-1234".into(), ..OwnerReference::default() }),
        labels: BTreeMap::from([("team".into(), "blue".into())]),
        annotations: BTreeMap::from([("note".into(), "mine".into())]),
        ..PrimeSpec::default()
    };
    let prime = prime(&keys(), &claim_ref(), &claim(), "images", spec, Some("node-1"));
    assert_eq!(
        to_value(prime).unwrap(),
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": "prime-c1", "namespace": "images",
                "labels": {"pelotech.ot/claim-uid": "c1", "pelotech.ot/claim-namespace": "labs", "team": "blue",
                           "velero.io/exclude-from-backup": "true"},
                "annotations": {"pelotech.ot/claim-name": "disk", "pelotech.ot/selected-node": "node-1",
                                "volume.kubernetes.io/selected-node": "node-1", "note": "mine"},
                "ownerReferences": [{"apiVersion": "", "kind": "", "name": "disk-1234", "uid": ""}],
            },
            "spec": {
                "accessModes": ["ReadWriteOncePod"],
                "resources": {"requests": {"storage": "24Gi"}, "limits": {"storage": "30Gi"}},
                "storageClassName": "gp3", "volumeAttributesClassName": "gold", "volumeMode": "Block",
            },
        })
    );
}

#[test]
fn a_prime_that_is_cut_is_as_large_as_its_origin_at_least() {
    for (least, expected) in [(1 << 30, "24Gi"), (24 << 30, "24Gi"), ((24 << 30) + 1, "25769803777")] {
        let spec = PrimeSpec { at_least_bytes: Some(least), ..PrimeSpec::default() };
        let prime = prime(&keys(), &claim_ref(), &claim(), "images", spec, None);
        let requests = prime.spec.unwrap().resources.unwrap().requests.unwrap();
        assert_eq!(requests["storage"].0, expected);
    }
}

#[test]
fn a_rebind_hits_one_version_of_one_volume_and_gives_its_policy_back() {
    let patch = rebind(&keys(), &claim_ref(), &volume(), "images/attacker", "2026-11-21T04:00:00Z".parse().unwrap());
    assert_eq!(
        patch,
        json!({
            "metadata": {
                "uid": "v1", "resourceVersion": "9",
                "labels": {"pelotech.ot/claim-uid": "c1", "pelotech.ot/claim-namespace": "labs"},
                "annotations": {
                    "pelotech.ot/claim-name": "disk",
                    "pelotech.ot/populated-from": "images/attacker",
                    "pelotech.ot/rebound-at": "2026-11-21T04:00:00Z",
                    "pelotech.ot/reclaim-policy": null,
                },
            },
            "spec": {
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "labs", "name": "disk",
                             "uid": "c1", "resourceVersion": null},
            },
        })
    );
}

#[test]
fn a_volume_that_was_never_marked_keeps_its_policy() {
    let mut volume = volume();
    volume.metadata.annotations = None;
    let patch = rebind(&keys(), &claim_ref(), &volume, "images/attacker", Timestamp::UNIX_EPOCH);
    assert_eq!(patch["spec"]["persistentVolumeReclaimPolicy"], "Delete");
}

#[test]
fn a_marked_volume_goes_with_its_prime_and_remembers_its_policy() {
    let mut volume = volume();
    volume.metadata.annotations = None;
    volume.spec.get_or_insert_default().persistent_volume_reclaim_policy = Some("Retain".into());
    assert_eq!(
        reclaim(&keys(), &claim_ref(), &volume),
        json!({
            "metadata": {
                "uid": "v1", "resourceVersion": "9",
                "labels": {"pelotech.ot/claim-uid": "c1", "pelotech.ot/claim-namespace": "labs"},
                "annotations": {"pelotech.ot/claim-name": "disk", "pelotech.ot/reclaim-policy": "Retain"},
            },
            "spec": {"persistentVolumeReclaimPolicy": "Delete"},
        })
    );
}

#[test]
fn an_unpin_takes_off_the_choice_that_failed_and_no_later_one() {
    assert_eq!(
        unpin(&claim()),
        json!({"metadata": {"uid": "c1", "resourceVersion": "7",
                            "annotations": {"volume.kubernetes.io/selected-node": null}}})
    );
}
