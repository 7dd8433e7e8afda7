//! Pods and claims that pass whatever else judges them, and the answers that they get.

use std::fmt::Debug;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::PostParams;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A UID as any claim could have it.
pub(crate) const UID: &str = "01234567-89ab-cdef-0123-456789abcdef";

/// A pod that nobody schedules, under the strictest level of Pod Security.
pub(crate) fn pod(metadata: &Value) -> Result<Pod> {
    let pod = json!({
        "metadata": metadata,
        "spec": {
            "schedulerName": "nobody",
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "none",
                "image": "none",
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    });
    serde_json::from_value(pod).context("no pod")
}

/// A claim that nobody provisions.
pub(crate) fn claim(metadata: &Value) -> Result<PersistentVolumeClaim> {
    let claim = json!({
        "metadata": metadata,
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "none",
            "resources": {"requests": {"storage": "1Mi"}},
        },
    });
    serde_json::from_value(claim).context("no claim")
}

/// Tries to make an object, without making it.
pub(crate) async fn tried<K>(api: &Api<K>, object: &K) -> Result<Answer>
where
    K: Clone + Debug + DeserializeOwned + Serialize,
{
    Answer::of(api.create(&PostParams { dry_run: true, ..PostParams::default() }, object).await)
}

/// What the API server says to a write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Allowed,
    /// One of our policies refuses it, in these words.
    Refused {
        policy: &'static str,
        message: String,
    },
    /// No role allows it.
    Unauthorized,
}

impl Answer {
    pub(crate) fn of<T>(result: kube::Result<T>) -> Result<Self> {
        let status = match result {
            Ok(_) => return Ok(Self::Allowed),
            Err(kube::Error::Api(status)) if status.code == 403 => status,
            Err(error) => return Err(error).context("neither allowed nor forbidden"),
        };
        let policies = ["vmdisk-bounds", "vmdisk-labels", "vmdisk-names", "vmdisk-records"];
        let named = policies.into_iter().find(|policy| status.message.contains(&format!("Policy '{policy}'")));
        match named {
            Some(policy) => Ok(Self::Refused { policy, message: status.message.clone() }),
            None if status.message.contains("cannot ") => Ok(Self::Unauthorized),
            None => Err(kube::Error::Api(status)).context("forbidden by something else"),
        }
    }

    /// The policy that refuses it.
    pub(crate) fn policy(&self) -> Option<&'static str> {
        match self {
            Self::Refused { policy, .. } => Some(policy),
            Self::Allowed | Self::Unauthorized => None,
        }
    }
}
