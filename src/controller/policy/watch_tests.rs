//! What follows from each version of the policy's `ConfigMap`: for who admits, for the record, and for who is told.

use futures::stream;
use prometheus_client::{encoding::text::encode, registry::Registry};
use serde_json::{Value, json};

use super::*;
use crate::api_server::{ApiServer, Asked, refusal};

const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/operator/events";

/// An API server with this record of last good values.
async fn server(record: Value) -> ApiServer {
    ApiServer::start(move |asked: &Asked| match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", _) if record.is_null() => refusal(404, "NotFound"),
        ("GET", _) => (200, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": record})),
        ("POST", EVENTS) => (201, asked.body.clone()),
        ("PATCH", path) if path.ends_with("/sync-operator-policy-in-force") => {
            (200, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": asked.body["data"]}))
        }
        other => panic!("unexpected request: {other:?}"),
    })
    .await
}

/// A process that has just begun to lead, and what admits in it.
async fn lead(server: &ApiServer, metrics: &Metrics) -> (Follower, PolicyReceiver) {
    let record = InForce::read(server.client.clone(), "operator").await;
    let (sender, receiver) = watch::channel(Arc::new(Policy::default()));
    let good = record.stored().clone();
    let events = Events::new(server.client.clone(), "here");
    let objects = stream::pending().boxed();
    let metrics = metrics.clone();
    server.asked();
    (Follower { objects, sender, events, metrics, record, good, problems: Vec::new() }, receiver)
}

fn object(data: &Value) -> ConfigMap {
    let metadata = json!({"name": CONFIG_MAP, "namespace": "operator"});
    serde_json::from_value(json!({"metadata": metadata, "data": data})).unwrap()
}

/// The reasons of the events and the records that were written since.
fn told(server: &ApiServer) -> (Vec<String>, Vec<Value>) {
    let asked = server.asked();
    let of = |method| asked.iter().filter(move |asked: &&Asked| asked.method == method);
    let reasons = of("POST").map(|asked| asked.body["reason"].as_str().unwrap_or_default().to_owned());
    (reasons.collect(), of("PATCH").map(|asked| asked.body["data"].clone()).collect())
}

fn shown(metrics: &Metrics, line: &str) -> bool {
    let (mut registry, mut text) = (Registry::default(), String::new());
    metrics.register(&mut registry);
    encode(&mut text, &registry).unwrap();
    text.lines().any(|found| found == line)
}

#[tokio::test]
async fn the_last_good_policy_survives_a_restart() {
    let server = server(json!({"allowedSources": "s3://bucket", "concurrency": "2"})).await;
    let metrics = Metrics::default();
    let (mut follower, policy) = lead(&server, &metrics).await;
    follower.take(Some(object(&json!({"allowedSources": "bucket", "concurrency": "2"})))).await;
    assert_eq!(policy.borrow().permits(), 2);
    assert_eq!(policy.borrow().allowed_sources[0].to_string(), "s3://bucket");
    assert_eq!(told(&server), (vec!["InvalidPolicy".to_owned()], vec![]), "what is in force is what is recorded");
    assert!(shown(&metrics, "vmdisk_policy_closed 0") && shown(&metrics, "vmdisk_policy_problems 1"));
}

#[tokio::test]
async fn a_policy_of_which_nothing_good_is_known_admits_nobody_until_it_can_be_read() {
    let server = server(Value::Null).await;
    let metrics = Metrics::default();
    let (mut follower, policy) = lead(&server, &metrics).await;
    let broken = json!({"allowedSources": "bucket", "concurrency": "2"});
    follower.take(Some(object(&broken))).await;
    assert_eq!(policy.borrow().permits(), 0);
    let good = json!({"concurrency": "2"});
    assert_eq!(told(&server), (vec!["PolicyClosed".to_owned()], vec![good]));
    assert!(shown(&metrics, "vmdisk_policy_closed 1"));

    // The same again is not told again.
    follower.take(Some(object(&broken))).await;
    assert_eq!(told(&server), (vec![], vec![]));

    let mended = json!({"allowedSources": "s3://bucket", "concurrency": "2"});
    follower.take(Some(object(&mended))).await;
    assert_eq!(policy.borrow().permits(), 2);
    assert_eq!(told(&server), (vec![], vec![mended]));
    assert!(shown(&metrics, "vmdisk_policy_closed 0"));

    // From here on a restart knows better.
    follower.take(Some(object(&broken))).await;
    assert_eq!(policy.borrow().permits(), 2);
    assert_eq!(told(&server), (vec!["InvalidPolicy".to_owned()], vec![]));
}

#[tokio::test]
async fn a_policy_that_is_deleted_means_the_defaults_and_is_forgotten() {
    let server = server(json!({"concurrency": "2"})).await;
    let (mut follower, policy) = lead(&server, &Metrics::default()).await;
    follower.take(None).await;
    assert_eq!(**policy.borrow(), Policy::default());
    assert_eq!(told(&server), (vec![], vec![json!({})]));
    follower.take(Some(object(&json!({"concurrency": "many"})))).await;
    assert_eq!(policy.borrow().permits(), 0, "it is another policy, of which nothing good is known");
}
