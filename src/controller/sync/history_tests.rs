use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use populator_crd::v1alpha1::VMDiskSyncStatus;

use serde_json::{Value, json};

use super::*;
use crate::api_server::{ApiServer, refusal};

#[test]
fn only_what_ended_long_ago_is_forgotten() {
    let now = Timestamp::from_second(1_000_000).unwrap();
    let keep = Duration::from_secs(100);
    for (phase, finished, old) in [
        (SyncPhase::Succeeded, Some(101), true),
        (SyncPhase::Failed, Some(101), true),
        (SyncPhase::Cancelled, Some(101), true),
        (SyncPhase::Succeeded, Some(100), false),
        (SyncPhase::Succeeded, None, false),
        (SyncPhase::Syncing, Some(101), false),
        (SyncPhase::BackingOff, None, false),
    ] {
        let sync = VMDiskSync {
            status: Some(VMDiskSyncStatus {
                phase: Some(phase),
                finished_at: finished.map(|ago| Time(now - SignedDuration::from_secs(ago))),
                ..VMDiskSyncStatus::default()
            }),
            ..VMDiskSync::default()
        };
        assert_eq!(is_old(&sync, keep, now), old, "{phase:?} {finished:?}");
    }
    assert!(!is_old(&VMDiskSync::default(), keep, now));
}

#[test]
fn every_end_of_a_sync_is_looked_for() {
    let phases: Vec<SyncPhase> = ENDS.iter().map(|end| serde_json::from_value(json!(end)).unwrap()).collect();
    assert!(phases.iter().all(|phase| phase.is_final()), "{phases:?}");
    let all = ["Queued", "Syncing", "BackingOff", "Succeeded", "Failed", "Cancelled"];
    let ends = all.iter().filter(|name| serde_json::from_value::<SyncPhase>(json!(name)).unwrap().is_final());
    assert_eq!(ends.count(), ENDS.len());
}

#[test]
fn a_short_history_is_looked_at_as_often_as_it_is_long() {
    let (second, hour) = (Duration::from_secs(1), Duration::from_hours(1));
    for (keep, expected) in [(second, SHORTEST), (90 * second, 90 * second), (hour, hour), (24 * 7 * hour, hour)] {
        assert_eq!(pause(keep), expected, "{keep:?}");
    }
}

/// A sync that ended long ago in this phase, of a claim with this name.
fn stored(name: &str, phase: &str) -> Value {
    json!({
        "apiVersion": "pelotech.ot/v1alpha1",
        "kind": "VMDiskSync",
        "metadata": {"namespace": "images", "name": name, "uid": format!("{name}-sync")},
        "spec": {
            "claim": {"namespace": "lab", "name": name, "uid": format!("{name}-claim")},
            "image": {"name": "image", "uid": "image-uid", "generation": 1},
        },
        "status": {"phase": phase, "finishedAt": "2020-01-01T00:00:00Z"},
    })
}

fn page(items: &[Value], next: &str) -> (u16, Value) {
    let metadata = json!({"resourceVersion": "7", "continue": next});
    let kind = json!("VMDiskSyncList");
    (200, json!({"apiVersion": "pelotech.ot/v1alpha1", "kind": kind, "metadata": metadata, "items": items}))
}

/// The claims of `kept` live; `again` is a claim of the same name with another UID; the others are gone.
fn claim(name: &str) -> (u16, Value) {
    let uid = match name {
        "kept" => "kept-claim",
        "again" => "of-another",
        _ => return refusal(404, "NotFound"),
    };
    let kind = "PartialObjectMetadata";
    (200, json!({"apiVersion": "meta.k8s.io/v1", "kind": kind, "metadata": {"name": name, "uid": uid}}))
}

const SYNCS: &str = "/apis/pelotech.ot/v1alpha1/vmdisksyncs";

#[tokio::test]
async fn what_is_old_and_has_no_claim_any_more_is_forgotten_on_every_page() {
    let server = ApiServer::start(|asked| match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", SYNCS) => match asked.parameter("continue") {
            None => page(&[stored("gone", "Failed"), stored("kept", "Failed")], "second"),
            Some("second") => {
                let mut refused = refusal(410, "Expired");
                refused.1["metadata"] = json!({"continue": "rest"});
                refused
            }
            Some("rest") => page(&[stored("again", "Failed"), stored("refused", "Failed")], "last"),
            Some("last") => page(&[stored("late", "Failed")], ""),
            other => panic!("no such page: {other:?}"),
        },
        ("GET", path) => claim(path.strip_prefix("/api/v1/namespaces/lab/persistentvolumeclaims/").unwrap()),
        // Somebody made it anew; and one that fails must not stop the others.
        ("DELETE", path) if path.ends_with("/again") => refusal(409, "Conflict"),
        ("DELETE", path) if path.ends_with("/refused") => refusal(500, "InternalError"),
        ("DELETE", _) => (200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"})),
        other => panic!("unexpected request: {other:?}"),
    })
    .await;
    walk(&server.client, "Failed", Duration::from_secs(1)).await.unwrap();
    let asked = server.asked();
    for list in asked.iter().filter(|asked| asked.path == SYNCS) {
        assert_eq!(list.parameter("fieldSelector"), Some("status.phase=Failed"));
        assert_eq!(list.parameter("limit"), Some("200"));
    }
    let deleted: Vec<_> = asked
        .iter()
        .filter(|asked| asked.method == "DELETE")
        .map(|asked| (asked.path.rsplit('/').next().unwrap(), asked.body["preconditions"]["uid"].as_str().unwrap()))
        .collect();
    let of = |name| [(name, format!("{name}-sync"))];
    let expected = ["gone", "again", "refused", "late"].map(of).concat();
    assert_eq!(deleted, expected.iter().map(|(name, uid)| (*name, uid.as_str())).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_young_is_not_even_asked_about() {
    let server = ApiServer::start(|_| page(&[stored("gone", "Succeeded")], "")).await;
    walk(&server.client, "Succeeded", Duration::from_hours(100 * 366 * 24)).await.unwrap();
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_list_that_has_expired_without_more_is_left_to_the_next_look() {
    let server = ApiServer::start(|_| refusal(410, "Expired")).await;
    walk(&server.client, "Succeeded", Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(server.asked().len(), 1);
}
