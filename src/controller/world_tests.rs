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
    world.note_pod(owner, &format!("pod-{owner}"));
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
    json!({
        "phase": "Syncing", "enqueuedAt": "2026-01-01T00:00:01.000000Z", "startedAt": "2026-01-01T00:59:00Z",
    })
}

/// A record that says that it waits, and for what, but not since when.
fn set_aside() -> Value {
    json!({"phase": "Queued", "conditions": [{
        "type": "Admitted", "status": "False", "reason": "WaitingForNode", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:01Z",
    }]})
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
    add_sync(&world, "stuck", Some(json!({"phase": "Syncing", "startedAt": "2026-01-01T00:54:59Z"})));
    add_sync(&world, "new", None);
    add_sync(&world, "second", Some(queued("2026-01-01T00:00:09.000000Z")));
    add_sync(&world, "first", Some(queued("2026-01-01T00:00:02.000000Z")));
    add_sync(&world, "newer", Some(json!({"phase": "Queued"})));
    add_sync(&world, "set-aside", Some(set_aside()));
    add_sync(&world, "done", Some(json!({"phase": "Succeeded"})));

    let policy = Policy { concurrency: 5, ..Policy::default() };
    let mut permits = world.permits(Lane::Fetch, &policy, now());
    let holders: Vec<&str> = permits.holders().collect();
    assert_eq!(holders, ["admitted", "given-up", "running"], "who may run, or is about to");
    for uid in ["set-aside", "done", "ended", "stuck"] {
        assert_eq!(permits.permit(uid), Permit::Unasked, "{uid}");
    }
    assert_eq!(permits.waiting(), 4);
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
    let names: Vec<String> = world.unfinished().into_iter().map(|claim| claim.name).collect();
    assert_eq!(names, ["a", "c"]);
}

fn dressed_up(namespace: &str, name: &str, uid: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "namespace": namespace, "uid": uid, "resourceVersion": "1",
            "labels": {"pelotech.ot/claim-uid": "claim-a", "app.kubernetes.io/component": "worker"},
            "ownerReferences": [{
                "apiVersion": "pelotech.ot/v1alpha1", "kind": "VMDiskSync", "name": "a", "uid": "a", "controller": true,
            }],
        },
        "status": {"phase": "Running"},
    }))
    .unwrap()
}

#[test]
fn a_pod_that_bears_all_that_is_ours_is_not_ours_by_that() {
    let (world, _changes) = World::new();
    add_sync(&world, "a", Some(syncing()));
    for (namespace, name, kept) in [
        ("images", "stranger", 0),
        ("tenant", "populate-claim-a", 0),
        ("images", "populate-claim-b", 0),
        ("images", "populate-claim-a", 1),
    ] {
        world.pods.wrote(dressed_up(namespace, name, "forged"));
        assert_eq!(world.pods.of_claim("claim-a").len(), kept, "{namespace}/{name}");
        assert_eq!(world.worker_of("claim-a", "a"), None, "{namespace}/{name}: no record knows it");
    }
    let permits = world.permits(Lane::Fetch, &Policy { concurrency: 9, ..Policy::default() }, now());
    assert_eq!(permits.holders().collect::<Vec<_>>(), ["a"], "the record's own, not the pod's");
}

#[test]
fn a_record_vouches_for_a_pod_and_its_end_ends_that() {
    let (world, _changes) = World::new();
    let mut status = syncing();
    status["podUid"] = json!("real");
    add_sync(&world, "a", Some(status));
    let pod = dressed_up("images", "populate-claim-a", "real");
    world.pods.wrote(pod.clone());
    assert_eq!(world.sync_of(&pod), None, "the watch of records tells");
    assert_eq!(world.worker_of("claim-a", "a"), None);
    world.vouch_for(&world.syncs.of_claim("claim-a")[0]);
    assert_eq!(world.sync_of(&pod).as_deref(), Some("a"));
    assert!(world.worker_of("claim-a", "a").is_some());
    world.forget_pod(&pod);
    assert_eq!(world.sync_of(&pod), None);
}

#[test]
fn what_is_done_costs_nothing_and_what_was_found_out_is_kept() {
    let (world, _changes) = World::new();
    let failure = |found_by: Option<&str>| {
        let time = "2026-01-01T00:00:00Z";
        json!({"class": "Final", "reason": "DigestMismatch", "message": "m", "time": time, "foundBy": found_by})
    };
    add_sync(&world, "filled", Some(json!({"phase": "Succeeded"})));
    add_sync(&world, "gone", Some(json!({"phase": "Cancelled"})));
    add_sync(&world, "copied", Some(json!({"phase": "Cancelled", "lastFailure": failure(Some("found"))})));
    add_sync(&world, "found", Some(json!({"phase": "Cancelled", "lastFailure": failure(None)})));
    add_sync(&world, "failed", Some(json!({"phase": "Failed"})));
    let kept: Vec<String> = world.syncs.all().iter().map(|sync| sync.name_any()).collect();
    assert_eq!(kept, ["failed", "found"]);
}
