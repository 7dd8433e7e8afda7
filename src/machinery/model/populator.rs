//! A populator as plain as can be, whose workers are moved by the model's kubelet.

use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::PodSpec;
use kube::{CustomResource, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::{json, to_value};

use crate::{
    CallbackError, Cause, Cleanup, CleanupContext, Complete, Context, Keys, Populate, Populator, PrimeSpec, Wait,
    model::{
        api::key,
        world::{CLAIMS, PODS, VOLUMES, World},
    },
    worker_name, worker_pod,
};

#[derive(CustomResource, Clone, Debug, Deserialize, Serialize)]
#[kube(group = "model.example.com", version = "v1", kind = "Source", namespaced, schema = "disabled")]
pub(crate) struct SourceSpec {}

pub(crate) struct ModelPopulator {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) keys: Keys,
}

impl ModelPopulator {
    pub(crate) fn new(world: &Arc<Mutex<World>>, keys: &Keys) -> Self {
        Self { world: Arc::clone(world), keys: keys.clone() }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }
}

#[async_trait]
impl Populator for ModelPopulator {
    type Source = Source;

    async fn populate(&self, context: &Context<Source>) -> Result<Populate, CallbackError> {
        let mut world = self.world();
        let uid = &context.claim_ref.uid;
        world.queued.insert(uid.clone());
        if context.prime_refused.is_some() {
            return Ok(Populate::Hold(Wait::default()));
        }
        if context.prime.is_none() {
            return Ok(Populate::NeedPrime(PrimeSpec::default()));
        }
        let worker = key(PODS, &context.source_namespace, &worker_name(uid));
        let Some(found) = world.store.objects.get(&worker) else {
            let pod = to_value(worker_pod(&self.keys, context, PodSpec::default(), "/target", "/dev/target"))?;
            world.store.create(worker, pod).map_err(|refusal| refusal.2)?;
            return Ok(Populate::Running(Wait::default()));
        };
        if found["metadata"]["deletionTimestamp"].is_string() {
            return Ok(Populate::Running(Wait::default()));
        }
        Ok(match found["status"]["phase"].as_str() {
            Some("Succeeded") => Populate::Filled,
            Some("Failed") => Populate::Discard(Wait::default()),
            _ => Populate::Running(Wait::default()),
        })
    }

    /// Verifies first, and lets the volume go only when it is asked again.
    async fn complete(&self, context: &Context<Source>) -> Result<Complete, CallbackError> {
        let mut world = self.world();
        let volume = context.volume.as_ref().map(|volume| volume.name_any()).unwrap_or_default();
        Ok(match world.disks.get_mut(&volume) {
            Some(disk) if disk.is_verified => Complete::Done,
            Some(disk) => {
                disk.is_verified = disk.is_whole;
                Complete::Wait(Wait { at_most: Some(std::time::Duration::ZERO), notice: None })
            }
            None => Complete::Wait(Wait::default()),
        })
    }

    async fn cleanup(&self, context: &CleanupContext) -> Result<Cleanup, CallbackError> {
        let mut world = self.world();
        let claim = &context.claim_ref;
        if context.cause == Cause::Bound {
            // One that has been bound, and is gone or lives again, was bound.
            let object = world.store.objects.get(&key(CLAIMS, &claim.namespace, &claim.name));
            let object = object.filter(|object| object["metadata"]["uid"] == json!(claim.uid));
            let volume = object.and_then(|claim| claim["spec"]["volumeName"].as_str()).unwrap_or_default();
            let owner = world.store.objects.get(&key(VOLUMES, "", volume)).map(|volume| &volume["spec"]["claimRef"]);
            if object.is_some() && owner.is_none_or(|owner| owner["uid"] != json!(claim.uid)) {
                world.broken.push(format!("claim {} was declared bound, and is not", claim.name));
            }
        }
        let workers: Vec<_> = world.store.of(PODS).into_iter().map(|(key, _)| key).collect();
        let worker = workers.into_iter().find(|worker| worker.2 == worker_name(&claim.uid));
        Ok(if let Some(worker) = worker {
            world.store.delete(&worker, true);
            Cleanup::Pending(Wait::default())
        } else {
            world.queued.remove(&claim.uid);
            Cleanup::Done
        })
    }
}
