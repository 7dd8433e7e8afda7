use super::*;

fn seen(method: &Method, path: &str) -> Seen {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    Seen::read(method, path, query)
}

#[test]
fn a_path_tells_what_it_is_about() {
    for (path, resource, object, watch) in [
        ("/api/v1/persistentvolumeclaims?watch=true&x=y", "persistentvolumeclaims", "", true),
        ("/api/v1/namespaces/lab/pods/populate-1", "pods", "lab/populate-1", false),
        ("/api/v1/namespaces/lab/pods/populate-1/log?follow=true", "pods/log", "lab/populate-1", false),
        ("/api/v1/namespaces/lab/pods", "pods", "lab/", false),
        ("/api/v1/namespaces/lab", "namespaces", "lab", false),
        ("/api/v1/persistentvolumes/pvc-1", "persistentvolumes", "pvc-1", false),
        ("/apis/pelotech.ot/v1alpha1/namespaces/lab/vmdisksyncs/a/status", "vmdisksyncs/status", "lab/a", false),
        ("/version", "", "", false),
    ] {
        let seen = seen(&Method::GET, path);
        assert_eq!((seen.resource.as_str(), seen.object.as_str(), seen.watch), (resource, object, watch), "{path}");
    }
}

#[test]
fn writes_are_what_changes_something_about_claims() {
    let lease = "/apis/coordination.k8s.io/v1/namespaces/sync-operator/leases/vmdisk-controller";
    for (method, path, write) in [
        (Method::GET, "/api/v1/namespaces/lab/pods", false),
        (Method::POST, "/api/v1/namespaces/lab/pods", true),
        (Method::DELETE, "/api/v1/namespaces/lab/pods/a", true),
        (Method::PATCH, lease, false),
    ] {
        assert_eq!(seen(&method, path).is_write(), write, "{method} {path}");
    }
}

#[test]
fn a_bookmark_is_no_change() {
    assert!(is_change(br#"{"type":"ADDED","object":{}}"#));
    assert!(!is_change(br#"{"type":"BOOKMARK","object":{}}"#));
    assert!(!is_change(b""));
    assert!(is_change(gone().as_bytes()));
}
