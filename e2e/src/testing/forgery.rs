//! What an adversary makes to look like ours: pods and claims with our names, labels and owner.

use anyhow::Result;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use populator_crd::names;
use serde_json::{Value, json};

use super::bed;
use super::tenant::FINALIZER;

/// Whom a forgery pretends to serve.
#[derive(Clone, Debug)]
pub struct Mark {
    /// The claim's namespace.
    pub namespace: String,
    /// The claim's name.
    pub name: String,
    /// The claim's UID.
    pub claim_uid: String,
    /// The sync's UID.
    pub sync_uid: String,
}

/// The owner that a forged object names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// None.
    Nobody,
    /// The victim's sync. It is in another namespace, so the garbage collector takes the object away.
    Sync,
    /// The victim's sync, of an API group that the cluster does not know: the collector leaves the object alone.
    Unresolved,
}

/// What a forged pod does.
#[derive(Clone, Debug)]
pub enum Deed {
    /// Runs for ever.
    Runs,
    /// Ends with this code, after this last word.
    Ends(u8, String),
    /// Runs this script.
    Script(&'static str),
    /// Is never scheduled.
    Waits,
}

/// A report that says that all is well.
#[must_use]
pub fn perfect_report() -> String {
    report("Done", "")
}

/// A report that says that the image is malformed.
#[must_use]
pub fn malformed_report() -> String {
    report("Malformed", "BadHeader")
}

fn report(class: &str, reason: &str) -> String {
    json!({
        "schemaVersion": 1, "class": class, "reason": reason, "message": "as the adversary has it",
        "source": {"digest": "\"adversary\"", "format": "raw", "virtualSize": 8 << 20, "size": 8 << 20},
        "bytesFetched": 8 << 20, "bytesWritten": 8 << 20, "resumable": false,
    })
    .to_string()
}

impl Mark {
    /// A claim that there is not.
    #[must_use]
    pub fn invented(number: u32) -> Self {
        Self {
            namespace: "nowhere".to_owned(),
            name: format!("claim-{number}"),
            claim_uid: uuid(number),
            sync_uid: uuid(u32::MAX - number),
        }
    }

    /// The same UIDs, and a claim of another namespace and name that they are said to be of.
    #[must_use]
    pub fn lying(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: "another".to_owned(), ..self.clone() }
    }

    /// The labels of ours.
    #[must_use]
    pub fn labels(&self) -> Value {
        json!({
            "app.kubernetes.io/name": "vmdisk",
            (names::COMPONENT_LABEL): names::WORKER_COMPONENT,
            (names::MANAGED_BY_LABEL): names::MANAGER,
            (names::CLAIM_UID_LABEL): self.claim_uid,
            (names::CLAIM_NAMESPACE_LABEL): self.namespace,
            (names::IMAGE_UID_LABEL): self.claim_uid,
        })
    }

    /// The annotations of ours.
    #[must_use]
    pub fn annotations(&self) -> Value {
        json!({(names::CLAIM_NAME_ANNOTATION): self.name})
    }

    /// The owner of ours.
    #[must_use]
    pub fn owner(&self, owner: Owner) -> Value {
        let version = match owner {
            Owner::Nobody => return json!([]),
            Owner::Sync => "pelotech.ot/v1alpha1",
            Owner::Unresolved => "pelotech.invalid/v1alpha1",
        };
        let name = names::sync(&self.name, &self.claim_uid);
        json!([{"apiVersion": version, "kind": "VMDiskSync", "name": name, "uid": self.sync_uid, "controller": true}])
    }

    /// A pod that looks like the worker.
    ///
    /// # Errors
    /// When the environment names no image for it.
    pub fn worker(&self, owner: Owner, deed: &Deed) -> Result<Pod> {
        Ok(serde_json::from_value(self.worker_json(owner, deed)?)?)
    }

    /// The same, held by a finalizer.
    ///
    /// # Errors
    /// As [`Mark::worker`].
    pub fn held_worker(&self, owner: Owner, deed: &Deed) -> Result<Pod> {
        let mut pod = self.worker_json(owner, deed)?;
        pod["metadata"]["finalizers"] = json!([FINALIZER]);
        Ok(serde_json::from_value(pod)?)
    }

    /// The pod before it is dressed up: nothing of ours but the name.
    ///
    /// # Errors
    /// As [`Mark::worker`].
    pub fn naked_worker(&self, deed: &Deed) -> Result<Pod> {
        let mut pod = self.worker_json(Owner::Nobody, deed)?;
        pod["metadata"] = json!({"name": names::worker(&self.claim_uid)});
        Ok(serde_json::from_value(pod)?)
    }

    /// What dresses it: a merge patch.
    #[must_use]
    pub fn dress(&self, owner: Owner) -> Value {
        let owner = self.owner(owner);
        json!({"metadata": {"labels": self.labels(), "annotations": self.annotations(), "ownerReferences": owner}})
    }

    fn worker_json(&self, owner: Owner, deed: &Deed) -> Result<Value> {
        let (script, message, code) = match deed {
            Deed::Runs | Deed::Waits => ("exec sleep infinity", "", 0),
            Deed::Ends(code, message) => {
                (r#"printf %s "$MESSAGE" > /dev/termination-log; exit "$CODE""#, message.as_str(), *code)
            }
            Deed::Script(script) => (*script, "", 0),
        };
        let gates = if matches!(deed, Deed::Waits) { json!([{"name": "vmdisk-e2e/never"}]) } else { json!([]) };
        Ok(json!({
            "metadata": {
                "name": names::worker(&self.claim_uid),
                "labels": self.labels(),
                "annotations": self.annotations(),
                "ownerReferences": self.owner(owner),
            },
            "spec": {
                "schedulingGates": gates,
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "terminationGracePeriodSeconds": 0,
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": 107, "runAsGroup": 107,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [{
                    "name": "worker",
                    "image": bed::variable("BASE_IMAGE")?,
                    "command": ["sh", "-c", script],
                    "env": [{"name": "MESSAGE", "value": message}, {"name": "CODE", "value": code.to_string()}],
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                }],
            },
        }))
    }

    /// A claim that looks like the prime, and gets an empty volume of its own.
    ///
    /// # Errors
    /// When the environment names no class for it.
    pub fn prime(&self, owner: Owner) -> Result<PersistentVolumeClaim> {
        self.claim(&names::prime(&self.claim_uid), owner, &json!({}))
    }

    /// A claim of any name with the labels of ours, held by a finalizer; `spec` is what it asks for beside its size.
    ///
    /// # Errors
    /// When the environment names no class for it.
    pub fn claim(&self, name: &str, owner: Owner, spec: &Value) -> Result<PersistentVolumeClaim> {
        let mut claim = json!({
            "metadata": {
                "name": name,
                "labels": self.labels(),
                "annotations": self.annotations(),
                "finalizers": [FINALIZER],
                "ownerReferences": self.owner(owner),
            },
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "64Mi"}},
                "storageClassName": bed::variable("STORAGE_CLASS_IMMEDIATE")?,
            },
        });
        if let (Some(into), Some(spec)) = (claim["spec"].as_object_mut(), spec.as_object()) {
            into.extend(spec.clone());
        }
        Ok(serde_json::from_value(claim)?)
    }
}

/// A name that ends as those of ours do, whatever it stands for.
#[must_use]
pub fn uuid(number: u32) -> String {
    format!("{number:08x}-0000-4000-8000-{number:012x}")
}
