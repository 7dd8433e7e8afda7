//! A tenant who makes what looks like ours, and a stranger who writes to it.

use serde_json::{Value, json};

use super::{CLAIMS, PODS, PREFIX, World, uid};
use crate::names::{prime_name, worker_name};

/// What can be made to look like ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forgery {
    /// A worker that has ended well, in a namespace of the tenant's own.
    WorkerElsewhere,
    /// A prime, in a namespace of the tenant's own.
    PrimeElsewhere,
    /// A worker that has ended well, where the real one would be.
    Worker,
    /// The same, without the owner.
    UnownedWorker,
    /// A prime, where the real one would be.
    Prime,
}

pub(crate) const FORGERIES: [Forgery; 5] =
    [Forgery::WorkerElsewhere, Forgery::PrimeElsewhere, Forgery::Worker, Forgery::UnownedWorker, Forgery::Prime];

/// The namespace of a tenant who may do there what he likes.
const TENANT: &str = "tenant";
/// Marks a forgery for the model, and for nobody else.
const FORGED: &str = "forged";

pub(crate) fn is_forged(object: &Value) -> bool {
    object["metadata"]["annotations"][FORGED].is_string()
}

impl World {
    pub(super) fn forge(&mut self, forgery: Forgery) {
        let Some((claim, object)) = self.claims().into_iter().next() else { return };
        let claim_uid = uid(&object).to_owned();
        let owner = json!([{"apiVersion": "v1", "kind": "Record", "name": "r", "uid": format!("record-{claim_uid}"),
                            "controller": true}]);
        let metadata = json!({
            "labels": {format!("{PREFIX}/claim-uid"): claim_uid, format!("{PREFIX}/claim-namespace"): claim.1},
            "annotations": {format!("{PREFIX}/claim-name"): claim.2, FORGED: "true"},
            "ownerReferences": if forgery == Forgery::UnownedWorker { json!([]) } else { owner },
        });
        let (resource, name, namespace) = match forgery {
            Forgery::WorkerElsewhere => (PODS, worker_name(&claim_uid), TENANT),
            Forgery::Worker | Forgery::UnownedWorker => (PODS, worker_name(&claim_uid), "images"),
            Forgery::PrimeElsewhere => (CLAIMS, prime_name(&claim_uid), TENANT),
            Forgery::Prime => (CLAIMS, prime_name(&claim_uid), "images"),
        };
        let object = if resource == PODS {
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"phase": "Succeeded"}, "spec": {
                "containers": [],
                "volumes": [{"name": "target", "persistentVolumeClaim": {"claimName": prime_name(&claim_uid)}}],
            }})
        } else {
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": "immediate-delete",
                "resources": {"requests": {"storage": "1Gi"}},
            }})
        };
        self.put(resource, namespace, &name, object);
    }

    pub(super) fn intrude(&mut self) {
        let Some((prime, _)) = self.primes().into_iter().next() else { return };
        self.serial += 1;
        let name = format!("stranger-{}", self.serial);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": {
            "nodeName": "node-1", "containers": [],
            "volumes": [{"name": "loot", "persistentVolumeClaim": {"claimName": prime.2}}],
        }});
        self.put(PODS, &prime.1, &name, pod);
    }
}
