//! A world to begin with, and what may be different in it.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, from_value, json};

use crate::{
    names::Keys,
    observed::{Class, Node, Observed, Source, Stray},
    populator::{ClaimRef, Recorded},
};

/// A world in which everything is well: a live claim of an ordinary class, a prime that is bound, no worker yet.
pub(super) struct World {
    pub(super) claim: Value,
    pub(super) prime: Value,
    pub(super) volume: Value,
    pub(super) class: Value,
    pub(super) workers: Value,
    /// What stands in the prime's place, and whether an earlier process of ours made it.
    pub(super) stray: Option<(Value, bool)>,
    pub(super) recorded: Recorded,
    pub(super) source: Source<ConfigMap>,
    pub(super) source_namespace: &'static str,
    pub(super) node: Node,
    pub(super) in_flight: bool,
    pub(super) now: &'static str,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            claim: json!({
                "metadata": {"namespace": "labs", "name": "disk", "uid": "c1", "resourceVersion": "1"},
                "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "gp3",
                         "dataSourceRef": {"kind": "ConfigMap", "name": "image"},
                         "resources": {"requests": {"storage": "1Gi"}}},
                "status": {"phase": "Pending"},
            }),
            prime: json!({
                "metadata": {"namespace": "labs", "name": "prime-c1", "uid": "p1"},
                "spec": {"volumeName": "pv-1"}, "status": {"phase": "Bound"},
            }),
            volume: json!({
                "metadata": {"name": "pv-1", "uid": "v1", "resourceVersion": "2"},
                "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
                         "claimRef": {"namespace": "labs", "name": "prime-c1", "uid": "p1"},
                         "persistentVolumeReclaimPolicy": "Delete"},
            }),
            class: json!({"metadata": {"name": "gp3"}, "provisioner": "ebs.csi.aws.com",
                          "volumeBindingMode": "Immediate"}),
            workers: json!([]),
            stray: None,
            recorded: Recorded::Unkept,
            source: Source::Found(Arc::new(ConfigMap::default())),
            source_namespace: "labs",
            node: Node::Unread,
            in_flight: false,
            now: "2026-11-21T04:00:00Z",
        }
    }

    /// Before anything was made.
    pub(super) fn fresh() -> Self {
        Self { prime: Value::Null, volume: Value::Null, ..Self::new() }
    }

    /// The prime waits for its volume.
    pub(super) fn provisioning() -> Self {
        let mut world = Self { volume: Value::Null, ..Self::new() };
        world.prime["spec"] = json!({});
        world.prime["status"]["phase"] = json!("Pending");
        world
    }

    /// After the swap, a minute before `now`.
    pub(super) fn rebound() -> Self {
        let mut world = Self::new();
        world.volume["spec"]["claimRef"] = json!({"namespace": "labs", "name": "disk", "uid": "c1"});
        world.volume["metadata"]["annotations"] = json!({"pelotech.ot/rebound-at": "2026-11-21T03:59:00Z"});
        world
    }

    pub(super) fn bound() -> Self {
        let mut world = Self::rebound();
        world.claim["spec"]["volumeName"] = json!("pv-1");
        world.claim["status"]["phase"] = json!("Bound");
        world
    }

    /// A claim that waits for its consumer, which is on node-1.
    pub(super) fn placed(mut self) -> Self {
        self.class["volumeBindingMode"] = json!("WaitForFirstConsumer");
        let selected = "volume.kubernetes.io/selected-node";
        self.claim["metadata"]["annotations"] = json!({selected: "node-1"});
        if self.prime.is_object() {
            self.prime["metadata"]["annotations"] = json!({selected: "node-1", "pelotech.ot/selected-node": "node-1"});
        }
        self.node = Node::Usable;
        self
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(super) fn observed(self) -> Observed<ConfigMap> {
        fn some<T: serde::de::DeserializeOwned>(value: Value) -> Option<Arc<T>> {
            (!value.is_null()).then(|| Arc::new(from_value(value).unwrap()))
        }
        let workers: Vec<_> = self.workers.as_array().unwrap().clone();
        Observed {
            now: self.now.parse().unwrap(),
            keys: Arc::new(Keys::new("pelotech.ot", "image-namespace")),
            bind_deadline: Duration::from_mins(2),
            claim_ref: ClaimRef { namespace: "labs".into(), name: "disk".into(), uid: "c1".into() },
            claim: some(self.claim),
            prime: some(self.prime),
            volumes: some(self.volume).into_iter().collect(),
            stray: self
                .stray
                .map(|(object, unrecorded)| Stray { object: Arc::new(from_value(object).unwrap()), unrecorded }),
            recorded: self.recorded,
            workers: workers.into_iter().map(|pod| Arc::new(from_value(pod).unwrap())).collect(),
            in_flight: self.in_flight,
            source_namespace: self.source_namespace.into(),
            source: self.source,
            class: some(self.class).map_or(Class::Missing, |class| Class::Found { class, has_driver: true }),
            node: self.node,
        }
    }
}

pub(super) fn going(object: &mut Value) {
    object["metadata"]["deletionTimestamp"] = json!("2026-11-21T03:00:00Z");
}

pub(super) fn retained(world: &mut World) {
    world.volume["spec"]["persistentVolumeReclaimPolicy"] = json!("Retain");
}
