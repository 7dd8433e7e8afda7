use k8s_openapi::api::storage::v1::StorageClass;
use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;

/// A kind of which no object can be made without its spec.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize)]
#[kube(group = "readable.example.com", version = "v1", kind = "Strict", namespaced, schema = "disabled")]
struct StrictSpec {
    size: u64,
}

/// A kind whose fields are all optional.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize)]
#[kube(group = "readable.example.com", version = "v1", kind = "Lenient", namespaced, schema = "disabled")]
struct LenientSpec {
    size: Option<u64>,
}

fn class(provisioner: &Value) -> DeserializeGuard<StorageClass> {
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": "fast"}, "provisioner": provisioner});
    serde_json::from_value(class).unwrap()
}

fn unreadable<K: Resource + DeserializeOwned>(kind: &str) -> DeserializeGuard<K> {
    let object = json!({"apiVersion": "readable.example.com/v1", "kind": kind,
        "metadata": {"name": "one", "namespace": "there", "uid": "u"}, "spec": {"size": "large"}});
    let object: DeserializeGuard<K> = serde_json::from_value(object).unwrap();
    assert!(object.0.is_err());
    object
}

#[test]
fn what_cannot_be_read_is_left_out_and_nothing_else() {
    let (good, bad) = (json!("csi.example.org"), json!(["not", "text"]));
    for wrap in [Event::InitApply, Event::Apply, Event::Delete] {
        assert!(readable(Ok(wrap(class(&good)))).is_some_and(|event| event.is_ok()));
    }
    for wrap in [Event::InitApply, Event::Apply] {
        assert!(readable(Ok(wrap(class(&bad)))).is_none());
    }
    assert!(matches!(readable::<StorageClass>(Ok(Event::Init)), Some(Ok(Event::Init))));
    assert!(matches!(readable::<StorageClass>(Ok(Event::InitDone)), Some(Ok(Event::InitDone))));
    assert!(matches!(readable::<StorageClass>(Err(Error::NoResourceVersion)), Some(Err(Error::NoResourceVersion))));
}

#[test]
fn the_deletion_of_what_cannot_be_read_is_told_where_its_metadata_is_enough() {
    let Some(Ok(Event::Delete(gone))) = readable(Ok(Event::Delete(class(&json!(["not", "text"]))))) else {
        panic!("of a kind of Kubernetes' own");
    };
    assert_eq!((gone.metadata.name.as_deref(), gone.provisioner.as_str()), (Some("fast"), ""));

    let Some(Ok(Event::Delete(gone))) = readable(Ok(Event::Delete(unreadable::<Lenient>("Lenient")))) else {
        panic!("of a kind that requires nothing");
    };
    let meta = gone.metadata;
    let known = (meta.namespace.as_deref(), meta.name.as_deref(), meta.uid.as_deref(), gone.spec.size);
    assert_eq!(known, (Some("there"), Some("one"), Some("u"), None));

    assert!(readable(Ok(Event::Delete(unreadable::<Strict>("Strict")))).is_none());
}
