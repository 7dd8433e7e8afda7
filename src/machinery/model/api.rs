//! An API server in memory: enough of one for the machinery to be run against, request by request.
//!
//! It keeps what the protocol leans on: UIDs, resource versions, finalizers, preconditions, and an ordered log of
//! changes per kind, which the caches are fed from one at a time so that they can lag behind.

use std::collections::{BTreeMap, HashMap};

use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Map, Value, json};

/// Resource, namespace, name.
pub(crate) type Key = (String, String, String);

/// One change of one object, as a watch reports it.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Applied(Value),
    Deleted(Value),
}

/// The objects and their history.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) objects: BTreeMap<Key, Value>,
    /// What has happened to each resource and was not reported yet.
    pub(crate) unreported: HashMap<String, Vec<Change>>,
    /// The objects as far as they were reported.
    pub(crate) reported: BTreeMap<Key, Value>,
    version: u64,
}

pub(crate) fn key(resource: &str, namespace: &str, name: &str) -> Key {
    (resource.into(), namespace.into(), name.into())
}

/// A failed request.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) StatusCode, pub(crate) &'static str, pub(crate) String);

impl Store {
    pub(crate) fn of(&self, resource: &str) -> Vec<(Key, Value)> {
        let of = self.objects.iter().filter(|((kind, ..), _)| kind == resource);
        of.map(|(key, object)| (key.clone(), object.clone())).collect()
    }

    pub(crate) fn create(&mut self, key: Key, mut object: Value) -> Result<Value, Refusal> {
        if self.objects.contains_key(&key) {
            return Err(Refusal(StatusCode::CONFLICT, "AlreadyExists", format!("{key:?} already exists")));
        }
        self.version += 1;
        let meta = &mut object["metadata"];
        meta["uid"] = json!(format!("uid-{}", self.version));
        meta["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        meta["name"] = json!(key.2);
        if !key.1.is_empty() {
            meta["namespace"] = json!(key.1);
        }
        if key.0 == "persistentvolumeclaims" {
            meta["finalizers"] = json!(["kubernetes.io/pvc-protection"]);
        }
        self.put(key, object.clone());
        Ok(object)
    }

    /// Changes an object, if the change is one.
    pub(crate) fn edit(&mut self, key: &Key, change: impl FnOnce(&mut Value)) {
        let Some(before) = self.objects.get(key) else { return };
        let mut after = before.clone();
        change(&mut after);
        if after == *before {
            return;
        }
        let has_finalizers = after["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
        if after["metadata"]["deletionTimestamp"].is_string() && !has_finalizers {
            self.remove(key);
        } else {
            self.version += 1;
            self.put(key.clone(), after);
        }
    }

    pub(crate) fn delete(&mut self, key: &Key, graceful: bool) {
        let Some(object) = self.objects.get(key) else { return };
        let has_finalizers = object["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
        if has_finalizers || graceful {
            if !object["metadata"]["deletionTimestamp"].is_string() {
                let mut object = object.clone();
                object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:01Z");
                self.version += 1;
                self.put(key.clone(), object);
            }
        } else {
            self.remove(key);
        }
    }

    pub(crate) fn remove(&mut self, key: &Key) {
        if let Some(object) = self.objects.remove(key) {
            self.version += 1;
            self.unreported.entry(key.0.clone()).or_default().push(Change::Deleted(object));
        }
    }

    fn put(&mut self, key: Key, mut object: Value) {
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.unreported.entry(key.0.clone()).or_default().push(Change::Applied(object.clone()));
        self.objects.insert(key, object);
    }

    /// Reports the oldest change of a resource that was not reported yet.
    pub(crate) fn report(&mut self, resource: &str) -> Option<Change> {
        let unreported = self.unreported.get_mut(resource).filter(|all| !all.is_empty())?;
        let change = unreported.remove(0);
        match &change {
            Change::Applied(object) => {
                self.reported.insert(key_of(resource, object), object.clone());
            }
            Change::Deleted(object) => {
                self.reported.remove(&key_of(resource, object));
            }
        }
        Some(change)
    }
}

fn key_of(resource: &str, object: &Value) -> Key {
    let meta = &object["metadata"];
    key(resource, meta["namespace"].as_str().unwrap_or_default(), meta["name"].as_str().unwrap_or_default())
}

/// What of the real API server's care a seeded bug leaves out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Laxity {
    /// Reads are answered with what the watches have reported, as if they had been made from a cache.
    pub(crate) reads_are_stale: bool,
}

/// Serves one request.
pub(crate) fn serve(store: &mut Store, laxity: Laxity, request: &Request<Body>, body: &[u8]) -> Response<Body> {
    let result = answer(store, laxity, request, body);
    let (status, body) = match result {
        Ok(body) => (StatusCode::OK, body),
        Err(Refusal(status, reason, message)) => (
            status,
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                   "code": status.as_u16(), "reason": reason, "message": message}),
        ),
    };
    let mut response = Response::new(Body::from(body.to_string().into_bytes()));
    *response.status_mut() = status;
    response
}

fn answer(store: &mut Store, laxity: Laxity, request: &Request<Body>, body: &[u8]) -> Result<Value, Refusal> {
    let key = parse(request.uri().path());
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    if request.method() == Method::GET {
        let view = if laxity.reads_are_stale { &store.reported } else { &store.objects };
        if key.2.is_empty() {
            return Ok(list(view, &key, request.uri().query().unwrap_or_default()));
        }
        return view.get(&key).cloned().ok_or_else(|| not_found(&key));
    }
    if request.method() == Method::POST {
        let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        return store.create((key.0, key.1, name), body);
    }
    let current = store.objects.get(&key).ok_or_else(|| not_found(&key))?;
    let expected = if request.method() == Method::DELETE { &body["preconditions"] } else { &body["metadata"] };
    for field in ["uid", "resourceVersion"] {
        let (wanted, found) = (&expected[field], &current["metadata"][field]);
        if wanted.is_string() && wanted != found {
            return Err(Refusal(StatusCode::CONFLICT, "Conflict", format!("{field} is {found}, not {wanted}")));
        }
    }
    if request.method() == Method::DELETE {
        let current = current.clone();
        store.delete(&key, false);
        return Ok(current);
    }
    let mut patch = body;
    if let Some(meta) = patch["metadata"].as_object_mut() {
        meta.remove("uid");
        meta.remove("resourceVersion");
    }
    store.edit(&key, |object| merge(object, &patch));
    store.objects.get(&key).cloned().ok_or_else(|| not_found(&key))
}

fn not_found(key: &Key) -> Refusal {
    Refusal(StatusCode::NOT_FOUND, "NotFound", format!("{key:?} not found"))
}

fn list(view: &BTreeMap<Key, Value>, wanted: &Key, query: &str) -> Value {
    let selector = query.split('&').find_map(|part| part.strip_prefix("labelSelector=")).unwrap_or_default();
    let selector = selector.replace("%2F", "/").replace("%3D", "=");
    let matches = |object: &Value| match selector.split_once('=') {
        Some((label, value)) => object["metadata"]["labels"][label].as_str() == Some(value),
        None => true,
    };
    let items = view.iter().filter(|((resource, namespace, _), object)| {
        *resource == wanted.0 && (wanted.1.is_empty() || *namespace == wanted.1) && matches(object)
    });
    let items: Vec<_> = items.map(|(_, object)| object.clone()).collect();
    json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items})
}

/// The resource, namespace and name that a path names; what it does not name is empty.
fn parse(path: &str) -> Key {
    let mut parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    parts.drain(..if parts[0] == "api" { 2 } else { 3 });
    let namespace = if parts[0] == "namespaces" && parts.len() > 2 {
        let namespace = parts[1];
        parts.drain(..2);
        namespace
    } else {
        ""
    };
    key(parts[0], namespace, parts.get(1).copied().unwrap_or_default())
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(target) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name).or_insert(Value::Null), value);
        }
    }
}
