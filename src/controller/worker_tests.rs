use serde_json::{Value, json};

use super::*;

fn pod(value: Value) -> Pod {
    serde_json::from_value(value).unwrap()
}

fn now() -> Timestamp {
    "2026-01-01T00:01:00Z".parse().unwrap()
}

fn observe(value: Value) -> Worker {
    Worker::observe(Some(&pod(value)), now())
}

fn terminated(phase: &str, exit_code: i32, reason: &str, message: &str) -> Value {
    json!({"status": {"phase": phase, "containerStatuses": [{
        "name": "worker", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {
            "exitCode": exit_code, "reason": reason, "message": message, "startedAt": "2026-01-01T00:00:00Z",
        }},
    }]}})
}

fn report(class: ExitClass) -> String {
    Report { class, reason: "R".into(), message: "m".into(), ..Report::default() }.to_message()
}

fn outcome(value: Value) -> Outcome {
    match observe(value) {
        Worker::Ended(ended) => ended.outcome,
        other => panic!("expected an end, found {other:?}"),
    }
}

#[test]
fn a_worker_goes_from_absent_to_running() {
    assert_eq!(Worker::observe(None, now()), Worker::Absent);
    let unscheduled = json!({"status": {"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes are available"},
    ]}});
    assert_eq!(observe(unscheduled), Worker::Starting { waiting_for: "Unschedulable: 0/2 nodes are available".into() });
    let waiting = |reason: &str| {
        json!({"status": {"phase": "Pending", "containerStatuses": [{
            "name": "worker", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": reason, "message": "because"}},
        }]}})
    };
    assert_eq!(
        observe(waiting("ImagePullBackOff")),
        Worker::Starting { waiting_for: "ImagePullBackOff: because".into() }
    );
    assert!(
        matches!(observe(waiting("ContainerCreating")), Worker::Starting { waiting_for } if waiting_for.contains("volumes"))
    );
    assert!(matches!(observe(json!({})), Worker::Starting { .. }));
    let running = json!({"status": {"phase": "Running", "containerStatuses": [{
        "name": "worker", "image": "", "imageID": "", "ready": true, "restartCount": 0,
        "state": {"running": {}},
    }]}});
    assert_eq!(observe(running), Worker::Running);
}

#[test]
fn a_success_needs_code_and_report() {
    let done = observe(terminated("Succeeded", 0, "Completed", &report(ExitClass::Done)));
    assert!(done.is_done() && !done.is_live());
    assert_eq!(outcome(terminated("Succeeded", 0, "Completed", "")), Outcome::Unexplained);
    assert_eq!(outcome(terminated("Succeeded", 0, "Completed", &report(ExitClass::Malformed))), Outcome::Unexplained);
    assert_eq!(
        outcome(terminated("Running", 0, "Completed", &report(ExitClass::Done))),
        Outcome::Exited(ExitClass::Done),
        "the container has ended; the phase follows"
    );
}

#[test]
fn ends_are_judged_by_code_then_by_what_stopped_them() {
    for (phase_reason, exit_code, reason, class, expected) in [
        (None, 12, "Error", Some(ExitClass::Denied), Outcome::Exited(ExitClass::Denied)),
        (None, 137, "OOMKilled", None, Outcome::Killed),
        (None, 1, "Error", None, Outcome::Unexplained),
        (Some("Evicted"), 137, "Error", None, Outcome::Killed),
        (Some("Evicted"), 10, "Error", Some(ExitClass::Transient), Outcome::Exited(ExitClass::Transient)),
        (Some("Evicted"), 15, "Error", Some(ExitClass::Malformed), Outcome::Exited(ExitClass::Malformed)),
        (Some("Evicted"), 0, "Completed", Some(ExitClass::Done), Outcome::Exited(ExitClass::Done)),
        (Some("DeadlineExceeded"), 137, "Error", None, Outcome::Exited(ExitClass::Transient)),
        (Some("DeadlineExceeded"), 10, "Error", Some(ExitClass::Transient), Outcome::Exited(ExitClass::Transient)),
    ] {
        let mut value = terminated("Failed", exit_code, reason, &class.map(report).unwrap_or_default());
        if let Some(phase_reason) = phase_reason {
            value["status"]["reason"] = json!(phase_reason);
        }
        assert_eq!(outcome(value), expected, "{phase_reason:?} {exit_code} {reason}");
    }
}

#[test]
fn a_pod_without_a_container_status_may_have_ended() {
    let evicted = json!({"status": {"phase": "Failed", "reason": "Evicted", "message": "the node was low on memory"}});
    let Worker::Ended(ended) = observe(evicted) else { panic!() };
    assert_eq!(ended.outcome, Outcome::NotStarted);
    assert_eq!(ended.detail, "Evicted, the node was low on memory");
    let disrupted = json!({"status": {
        "phase": "Failed",
        "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}],
        "containerStatuses": [{
            "name": "worker", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"running": {}},
        }],
    }});
    assert_eq!(
        outcome(disrupted),
        Outcome::Interrupted,
        "its node is gone, and nobody tells of its container any more"
    );
}

#[test]
fn a_container_that_could_not_be_started_never_ran() {
    let mut value = terminated("Failed", 128, "StartError", "failed to create containerd task");
    value["status"]["containerStatuses"][0]["state"]["terminated"]["startedAt"] = json!("1970-01-01T00:00:00Z");
    assert_eq!(outcome(value), Outcome::NotStarted);
}

#[test]
fn only_the_workers_own_container_counts() {
    let container = |name: &str, state: Value| json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
    let done = json!({"terminated": {
        "exitCode": 0, "reason": "Completed", "message": report(ExitClass::Done), "startedAt": "2026-01-01T00:00:00Z",
    }});
    let crashed = json!({"terminated": {"exitCode": 1, "reason": "Error", "startedAt": "2026-01-01T00:00:00Z"}});
    let status = |containers: Value, init: Value| json!({"status": {"phase": "Running", "containerStatuses": containers, "initContainerStatuses": init}});
    let running = || json!({"running": {}});
    let cases = [
        (
            "a proxy that goes on",
            json!([container("istio-proxy", running()), container("worker", done.clone())]),
            json!([]),
            false,
        ),
        (
            "a proxy that ended",
            json!([container("istio-proxy", crashed.clone()), container("worker", done.clone())]),
            json!([]),
            true,
        ),
        ("a native sidecar", json!([container("worker", done.clone())]), json!([container("agent", running())]), false),
        ("alone", json!([container("worker", done)]), json!([]), true),
    ];
    for (case, containers, init, at_rest) in cases {
        let Worker::Ended(ended) = observe(status(containers, init)) else { panic!("{case}") };
        assert_eq!((ended.outcome, ended.at_rest), (Outcome::Exited(ExitClass::Done), at_rest), "{case}");
    }
    let sidecar_ended = json!([container("istio-proxy", crashed), container("worker", running())]);
    assert_eq!(observe(status(sidecar_ended, json!([]))), Worker::Running);
}

#[test]
fn the_deadline_is_told_apart() {
    let mut value = terminated("Failed", 137, "Error", "");
    value["status"]["reason"] = json!("DeadlineExceeded");
    let Worker::Ended(ended) = observe(value) else { panic!() };
    assert!(ended.timed_out);
}

#[test]
fn a_pod_that_should_be_gone_is_lost_after_a_while() {
    let deleted = |at: &str| json!({"metadata": {"deletionTimestamp": at}, "status": {"phase": "Running"}});
    assert_eq!(observe(deleted("2026-01-01T00:00:31Z")), Worker::Stopping);
    assert_eq!(observe(deleted("2026-01-01T00:00:29Z")), Worker::Lost);
    assert_eq!(observe(deleted("2026-01-01T00:02:00Z")), Worker::Stopping, "its grace lasts");
    let mut ended = terminated("Failed", 137, "Error", "");
    ended["metadata"] = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
    assert_eq!(outcome(ended), Outcome::Interrupted, "an end that was seen counts");
}
