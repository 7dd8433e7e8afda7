use serde_json::{Value, json};

use super::*;
use crate::api_server::{ApiServer, Asked, refusal};

const PATH: &str = "/api/v1/namespaces/operator/configmaps/sync-operator-policy-in-force";

fn raw(pairs: &[(&str, &str)]) -> Raw {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn stored(version: &str, data: &Value) -> (u16, Value) {
    let metadata = json!({"name": CONFIG_MAP, "namespace": "operator", "resourceVersion": version});
    (200, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}))
}

/// What was written since, and with which version in mind.
fn written(server: &ApiServer) -> Vec<(Value, Option<String>)> {
    let asked = server.asked();
    assert!(asked.iter().all(|asked| asked.path == PATH), "{asked:?}");
    let writes = asked.iter().filter(|asked| asked.method != "GET");
    writes
        .map(|asked| {
            assert_eq!((asked.method.as_str(), asked.parameter("force")), ("PATCH", Some("true")));
            let version = asked.body["metadata"]["resourceVersion"].as_str().map(str::to_owned);
            (asked.body["data"].clone(), version)
        })
        .collect()
}

#[tokio::test]
async fn the_record_is_written_on_a_difference_alone() {
    let server = ApiServer::start(|asked: &Asked| match asked.method.as_str() {
        "GET" => refusal(404, "NotFound"),
        _ => stored("1", &asked.body["data"]),
    })
    .await;
    let mut record = InForce::read(server.client.clone(), "operator").await;
    record.keep(&Raw::new()).await.unwrap();
    assert_eq!(written(&server), vec![], "a cluster without a policy has no record either");

    let good = raw(&[("concurrency", "2")]);
    record.keep(&good).await.unwrap();
    record.keep(&good).await.unwrap();
    assert_eq!(written(&server), [(json!({"concurrency": "2"}), None)]);
    assert_eq!(*record.stored(), good);

    record.keep(&Raw::new()).await.unwrap();
    assert_eq!(written(&server), [(json!({}), Some("1".to_owned()))]);
}

#[tokio::test]
async fn a_record_that_another_leader_wrote_is_looked_at_before_the_next_write() {
    let server = ApiServer::start(|asked: &Asked| {
        let version = asked.body["metadata"]["resourceVersion"].as_str();
        match (asked.method.as_str(), version) {
            ("GET", _) => stored("5", &json!({"concurrency": "3"})),
            ("PATCH", Some("5")) => stored("6", &asked.body["data"]),
            _ => refusal(409, "Conflict"),
        }
    })
    .await;
    let mut record = InForce::read(server.client.clone(), "operator").await;
    record.version = Some("4".to_owned());
    let good = raw(&[("concurrency", "2")]);
    record.keep(&good).await.unwrap_err();
    assert_eq!(*record.stored(), raw(&[("concurrency", "3")]), "what is there is known, and what was meant is not");
    record.keep(&good).await.unwrap();
    let versions: Vec<_> = written(&server).into_iter().filter_map(|(_, version)| version).collect();
    assert_eq!(versions, ["4", "5"]);
}

#[tokio::test]
async fn a_record_that_may_not_be_read_is_none() {
    let server = ApiServer::start(|_: &Asked| refusal(403, "Forbidden")).await;
    let record = InForce::read(server.client.clone(), "operator").await;
    assert_eq!(*record.stored(), Raw::new());
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_yet_is_waited_for() {
    let failed = std::sync::atomic::AtomicBool::new(false);
    let server = ApiServer::start(move |_: &Asked| {
        let first = !failed.swap(true, std::sync::atomic::Ordering::Relaxed);
        if first { refusal(500, "InternalError") } else { stored("5", &json!({"concurrency": "3"})) }
    })
    .await;
    let record = InForce::read(server.client.clone(), "operator").await;
    assert_eq!(*record.stored(), raw(&[("concurrency", "3")]));
    assert_eq!(server.asked().len(), 2);
}
