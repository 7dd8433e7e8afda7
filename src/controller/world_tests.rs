use serde_json::{Value, json};

use super::*;
use crate::sync::decide::Permit;

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn add_sync(world: &World, name: &str, status: Option<Value>) {
    let mut sync = json!({
        "apiVersion": "pelotech.ot/v1alpha1", "kind": "VMDiskSync",
        "metadata": {
            "name": name, "namespace": "images", "uid": name, "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:05Z",
        },
        "spec": {
            "claim": {"namespace": "labs", "name": name, "uid": format!("claim-{name}")},
            "image": {"name": "image", "uid": "image", "generation": 1},
        },
    });
    if let Some(status) = status {
        sync["status"] = status;
    }
    world.syncs.wrote(serde_json::from_value(sync).unwrap());
}

/// A worker of the sync `owner`, which serves the claim of that name.
fn add_pod(world: &World, owner: &str, status: &Value) {
    let claim = format!("claim-{owner}");
    let pod = json!({
        "metadata": {
            "name": names::worker(&claim), "namespace": "images", "uid": format!("pod-{owner}"), "resourceVersion": "1",
            "labels": {"pelotech.ot/claim-uid": claim, "pelotech.ot/claim-namespace": "labs"},
            "annotations": {"pelotech.ot/claim-name": owner},
            "ownerReferences": [{
                "apiVersion": "pelotech.ot/v1alpha1", "kind": "VMDiskSync", "name": owner, "uid": owner,
                "controller": true,
            }],
        },
        "status": status,
    });
    world.pods.wrote(serde_json::from_value(pod).unwrap());
}

fn syncing() -> Value {
    json!({"phase": "Syncing", "enqueuedAt": "2026-01-01T00:00:01.000000Z"})
}

fn queued(at: &str) -> Value {
    json!({"phase": "Queued", "enqueuedAt": at})
}

#[test]
fn a_new_leader_finds_permits_and_queue_in_the_objects() {
    let (world, _changes) = World::new();
    let (running, ended) = (json!({"phase": "Running"}), json!({"phase": "Failed", "reason": "Evicted"}));
    add_sync(&world, "admitted", Some(syncing()));
    add_sync(&world, "running", Some(syncing()));
    add_pod(&world, "running", &running);
    add_sync(&world, "ended", Some(syncing()));
    add_pod(&world, "ended", &ended);
    add_sync(&world, "given-up", Some(json!({"phase": "BackingOff"})));
    add_pod(&world, "given-up", &running);
    add_pod(&world, "orphan", &running);
    add_sync(&world, "new", None);
    add_sync(&world, "second", Some(queued("2026-01-01T00:00:09.000000Z")));
    add_sync(&world, "first", Some(queued("2026-01-01T00:00:02.000000Z")));
    add_sync(&world, "set-aside", Some(json!({"phase": "Queued"})));
    add_sync(&world, "done", Some(json!({"phase": "Succeeded"})));

    let mut permits = world.permits(6, now());
    let holders: Vec<&str> = permits.holders().collect();
    assert_eq!(holders, ["admitted", "given-up", "orphan", "running"], "who may run, or is about to");
    for uid in ["set-aside", "done", "ended"] {
        assert_eq!(permits.permit(uid), Permit::Unasked, "{uid}");
    }
    assert_eq!(permits.waiting(), 3);
    let woken: Vec<String> = permits.offer(now()).into_iter().map(|offer| offer.claim.name).collect();
    assert_eq!(woken, ["first", "new"], "in their order, as many as are free");
}

#[test]
fn whatever_is_unfinished_gets_a_pass_at_the_start() {
    let (world, _changes) = World::new();
    add_sync(&world, "a", Some(syncing()));
    add_pod(&world, "a", &json!({"phase": "Running"}));
    add_sync(&world, "b", Some(json!({"phase": "Failed"})));
    add_sync(&world, "c", None);
    add_pod(&world, "orphan", &json!({"phase": "Succeeded"}));
    let names: Vec<String> = world.unfinished().into_iter().map(|claim| claim.name).collect();
    assert_eq!(names, ["a", "c", "orphan"]);
}

#[test]
fn a_pod_that_only_carries_our_labels_is_not_ours() {
    let (world, _changes) = World::new();
    let stranger = json!({"metadata": {
        "name": "stranger", "namespace": "images", "uid": "u", "resourceVersion": "1",
        "labels": {"pelotech.ot/claim-uid": "claim-a", "app.kubernetes.io/component": "worker"},
    }});
    world.pods.wrote(serde_json::from_value(stranger).unwrap());
    assert!(world.pods.of_claim("claim-a").is_empty());
}
