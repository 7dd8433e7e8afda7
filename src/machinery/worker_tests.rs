use std::sync::Arc;

use serde_json::{from_value, json, to_value};

use super::*;
use crate::ClaimRef;

fn context(volume_mode: &str, node: Option<&str>) -> Context<()> {
    Context {
        claim_ref: ClaimRef { namespace: "labs".into(), name: "disk".into(), uid: "c1".into() },
        claim: Arc::new(from_value(json!({"spec": {"volumeMode": volume_mode}})).unwrap()),
        source: Arc::new(()),
        source_namespace: "images".into(),
        class: None,
        prime: None,
        volume: None,
        node: node.map(Into::into),
        prime_refused: None,
    }
}

fn worker(context: &Context<()>, spec: serde_json::Value) -> serde_json::Value {
    let keys = Keys::new("pelotech.ot", "image-namespace");
    to_value(worker_pod(&keys, context, from_value(spec).unwrap(), "/target", "/dev/target")).unwrap()
}

#[test]
fn a_worker_mounts_the_prime_and_says_whose_it_is() {
    let pod = worker(&context("Filesystem", None), json!({"containers": [{"name": "worker"}]}));
    assert_eq!(
        pod,
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "populate-c1", "namespace": "images",
                "labels": {"pelotech.ot/claim-uid": "c1", "pelotech.ot/claim-namespace": "labs"},
                "annotations": {"pelotech.ot/claim-name": "disk"},
            },
            "spec": {
                "containers": [{"name": "worker", "volumeMounts": [{"name": "target", "mountPath": "/target"}]}],
                "volumes": [{"name": "target", "persistentVolumeClaim": {"claimName": "prime-c1"}}],
            },
        })
    );
}

#[test]
fn a_block_volume_is_a_device() {
    let pod = worker(&context("Block", None), json!({"containers": [{"name": "worker"}]}));
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["volumeDevices"], json!([{"name": "target", "devicePath": "/dev/target"}]));
    assert!(container["volumeMounts"].is_null());
}

#[test]
fn the_node_is_required_in_each_term() {
    let node = json!([{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]);
    let terms = |pod: &serde_json::Value| {
        pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
            .clone()
    };
    let pod = worker(&context("Filesystem", Some("node-1")), json!({"containers": []}));
    assert_eq!(terms(&pod), json!([{"matchFields": node}]));
    assert!(pod["spec"]["nodeName"].is_null(), "the scheduler has its say");

    let term = |zone: &str| json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]});
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                          {"nodeSelectorTerms": [term("a"), term("b")]}}});
    let pod = worker(&context("Filesystem", Some("node-1")), json!({"containers": [], "affinity": affinity}));
    for term in terms(&pod).as_array().unwrap() {
        assert_eq!(term["matchFields"], node);
        assert!(term["matchExpressions"].is_array());
    }
}
