use serde_json::{Value, json};

use super::*;

fn likeness() -> Likeness {
    let prime = json!({
        "metadata": {"name": "prime-1", "labels": {"pelotech.ot/claim-uid": "1"}},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "volumeMode": "Filesystem",
            "resources": {"requests": {"storage": "16Mi"}}, "volumeName": "pvc-1",
        },
        "status": {"phase": "Bound"},
    });
    let worker = json!({
        "metadata": {"name": "populate-1", "labels": {"pelotech.ot/claim-uid": "1"}},
        "spec": {
            "nodeName": "node-1", "restartPolicy": "Never", "securityContext": {"runAsUser": 107},
            "containers": [{
                "name": "worker", "image": "worker:1", "command": ["vmdisk-worker", "run"],
                "resources": {"requests": {"cpu": "50m"}},
            }],
            "volumes": [
                {"name": "target", "persistentVolumeClaim": {"claimName": "prime-1"}},
                {"name": "scratch", "emptyDir": {}},
            ],
        },
        "status": {"phase": "Running"},
    });
    Likeness::of(&serde_json::from_value(prime).unwrap(), &serde_json::from_value(worker).unwrap()).unwrap()
}

fn value(object: impl serde::Serialize) -> Value {
    serde_json::to_value(object).unwrap()
}

#[test]
fn a_claim_is_a_prime_that_nobody_looks_after() {
    let expected = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "bare"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "volumeMode": "Filesystem",
            "resources": {"requests": {"storage": "16Mi"}},
        },
    });
    assert_eq!(value(likeness().claim("bare")), expected);
}

#[test]
fn a_pod_has_the_workers_shape_and_its_own_claim_and_ends_at_once() {
    let expected = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare"},
        "spec": {
            "restartPolicy": "Never", "securityContext": {"runAsUser": 107},
            "containers": [{
                "name": "worker", "image": "worker:1", "command": ["vmdisk-worker", "--version"],
                "resources": {"requests": {"cpu": "50m"}},
            }],
            "volumes": [
                {"name": "target", "persistentVolumeClaim": {"claimName": "bare"}},
                {"name": "scratch", "emptyDir": {}},
            ],
        },
    });
    assert_eq!(value(likeness().pod("bare")), expected);
}

#[test]
fn what_was_never_stored_has_no_likeness() {
    assert!(Likeness::of(&PersistentVolumeClaim::default(), &Pod::default()).is_err());
}
