use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::{Value, json};

use super::*;

fn class(provisioner: &Value) -> DeserializeGuard<StorageClass> {
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": "fast"}, "provisioner": provisioner});
    serde_json::from_value(class).unwrap()
}

#[test]
fn what_cannot_be_read_is_left_out_and_nothing_else() {
    let (good, bad) = (json!("csi.example.org"), json!(["not", "text"]));
    for wrap in [Event::InitApply, Event::Apply, Event::Delete] {
        assert!(readable(Ok(wrap(class(&good)))).is_some_and(|event| event.is_ok()));
        assert!(readable(Ok(wrap(class(&bad)))).is_none());
    }
    assert!(matches!(readable::<StorageClass>(Ok(Event::Init)), Some(Ok(Event::Init))));
    assert!(matches!(readable::<StorageClass>(Ok(Event::InitDone)), Some(Ok(Event::InitDone))));
    assert!(matches!(readable::<StorageClass>(Err(Error::NoResourceVersion)), Some(Err(Error::NoResourceVersion))));
}
