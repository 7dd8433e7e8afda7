//! A complete populator in about a hundred lines: it writes a line of text into a volume. To see it work, apply
//! `hello.yaml` beside this file (the CRD, a Hello, a claim that names it), and `cargo run --example hello`.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, CustomResource, Resource, ResourceExt, api::DeleteParams, api::PostParams};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::HashMap;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use volume_populator::{
    CallbackError, Cleanup, CleanupContext, Complete, Config, Context, Keys, Machinery, Notice, Populate, Populator,
    PrimeSpec, Wait, worker_name, worker_pod,
};

/// How often a claim is tried. A retry costs a volume, so there must be an end to them.
const TRIES: u32 = 3;

/// A line of text, and the file to write it to.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(group = "hello.example.com", version = "v1alpha1", kind = "Hello", namespaced)]
#[serde(rename_all = "camelCase")]
struct HelloSpec {
    file_name: String,
    file_contents: String,
}

struct HelloPopulator {
    client: Client,
    keys: Keys,
    image: String,
    /// The failures of each claim, as long as this process lives.
    failures: Mutex<HashMap<String, u32>>,
}

#[async_trait::async_trait]
impl Populator for HelloPopulator {
    type Source = Hello;

    async fn populate(&self, context: &Context<Hello>) -> Result<Populate, CallbackError> {
        let uid = &context.claim_ref.uid;
        if context.prime.is_none() && self.failures.lock().await.get(uid) >= Some(&TRIES) {
            return Ok(Populate::Failed(Wait::default()));
        }
        if context.prime.is_none() {
            // Owned by the source: a deleted Hello takes its fillings along, and its finished volumes stay.
            let owner = context.source.controller_owner_ref(&());
            return Ok(Populate::NeedPrime(PrimeSpec { owner, ..PrimeSpec::default() }));
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &context.source_namespace);
        let Some(pod) = pods.get_opt(&worker_name(uid)).await? else {
            pods.create(&PostParams::default(), &self.worker(context)?).await?;
            return Ok(Populate::Running(Wait::default()));
        };
        // The container's end is known a second before the pod's; an evicted pod has none.
        let status = pod.status.unwrap_or_default();
        let container = status.container_statuses.and_then(|mut all| all.pop()?.state?.terminated);
        Ok(match container.map(|end| end.exit_code) {
            Some(0) => Populate::Filled,
            None if status.phase.as_deref() != Some("Failed") => Populate::Running(Wait::default()),
            _ => {
                *self.failures.lock().await.entry(uid.clone()).or_default() += 1;
                let message = "the worker failed; see its log".to_owned();
                let notice = Some(Notice { warning: true, reason: "HelloFailed", message });
                Populate::Discard(Wait { notice, at_most: None })
            }
        })
    }

    async fn complete(&self, _: &Context<Hello>) -> Result<Complete, CallbackError> {
        Ok(Complete::Done)
    }

    async fn cleanup(&self, context: &CleanupContext) -> Result<Cleanup, CallbackError> {
        for worker in context.workers.iter().filter(|worker| worker.metadata.deletion_timestamp.is_none()) {
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), &worker.namespace().unwrap_or_default());
            pods.delete(&worker.name_any(), &DeleteParams::default()).await?;
        }
        Ok(if context.workers.is_empty() { Cleanup::Done } else { Cleanup::Pending(Wait::default()) })
    }
}

impl HelloPopulator {
    fn worker(&self, context: &Context<Hello>) -> Result<Pod, serde_json::Error> {
        let hello = &context.source.spec;
        let spec = serde_json::from_value(json!({
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000, "runAsNonRoot": true,
                                "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "populate",
                "image": self.image,
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "command": ["sh", "-c", "f=/dev/target; [ -e $f ] || f=/target/$NAME; echo \"$TEXT\" | dd of=$f conv=fsync,notrunc"],
                "env": [{"name": "NAME", "value": hello.file_name}, {"name": "TEXT", "value": hello.file_contents}],
            }],
        }))?;
        Ok(worker_pod(&self.keys, context, spec, "/target", "/dev/target"))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tracing_subscriber::fmt::init();
    let client = Client::try_default().await?;
    let config = Config::new("hello.example.com");
    let image = std::env::var("HELLO_IMAGE").unwrap_or_else(|_| "docker.io/library/busybox:stable".into());
    let populator = HelloPopulator { client: client.clone(), keys: config.keys(), image, failures: Mutex::default() };
    Ok(Machinery::new(client, config, populator).run(CancellationToken::new()).await?)
}
