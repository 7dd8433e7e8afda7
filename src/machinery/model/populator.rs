//! A populator as plain as can be, whose workers are moved by the model's kubelet. It keeps records or it does not; those
//! that it keeps are behind, until a worker has run for a while, and what they lack is forgotten with the process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use k8s_openapi::{api::core::v1::PodSpec, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{CustomResource, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, to_value};

use crate::{
    CallbackError, Cause, ClaimRef, Cleanup, CleanupContext, Complete, Context, Keys, Made, Populate, Populator,
    PrimeSpec, Recorded, Wait,
    model::{
        api::{Key, key},
        world::{CLAIMS, PODS, VOLUMES, World, is_forged},
    },
    worker_name, worker_pod,
};

#[derive(CustomResource, Clone, Debug, Deserialize, Serialize)]
#[kube(group = "model.example.com", version = "v1", kind = "Source", namespaced, schema = "disabled")]
pub(crate) struct SourceSpec {}

pub(crate) struct ModelPopulator {
    world: Arc<Mutex<World>>,
    keys: Keys,
    keeps_records: bool,
    /// What is not written down yet.
    notes: Mutex<BTreeMap<String, Made>>,
}

impl ModelPopulator {
    pub(crate) fn new(world: &Arc<Mutex<World>>, keys: &Keys, keeps_records: bool) -> Self {
        Self { world: Arc::clone(world), keys: keys.clone(), keeps_records, notes: Mutex::default() }
    }

    /// The process starts anew.
    pub(crate) fn forget(&self) {
        self.notes.lock().unwrap().clear();
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn made(&self, claim_uid: &str) -> Option<Made> {
        let noted = self.notes.lock().unwrap().get(claim_uid).cloned();
        noted.or_else(|| self.world().records.get(claim_uid).cloned())
    }

    fn note(&self, made: &Made) {
        self.notes.lock().unwrap().insert(made.claim.uid.clone(), made.clone());
    }

    fn write(&self, made: &Made) {
        self.world().records.insert(made.claim.uid.clone(), made.clone());
        self.notes.lock().unwrap().remove(&made.claim.uid);
    }

    /// An attempt is over, and what it made is not believed any more.
    fn end_attempt(&self, made: &Made) {
        *self.world().attempts_counted.entry(made.claim.uid.clone()).or_default() += 1;
        self.write(&Made { prime: None, worker: None, ..made.clone() });
    }

    fn enter(&self, context: &Context<Source>) -> Made {
        let claim = context.claim_ref.clone();
        self.made(&claim.uid).unwrap_or_else(|| {
            let owner = format!("record-{}", claim.uid);
            let made = Made { claim, namespace: context.source_namespace.clone(), owner, prime: None, worker: None };
            self.write(&made);
            made
        })
    }

    fn worker(&self, context: &Context<Source>, made: &Made) -> Result<Value, CallbackError> {
        let mut pod = worker_pod(&self.keys, context, PodSpec::default(), "/target", "/dev/target");
        pod.metadata.owner_references = Some(vec![owner(made)]);
        Ok(to_value(pod)?)
    }

    /// Whether the populator believes a pod of the right name.
    fn believes(&self, made: &Made, pod: &Value) -> bool {
        !self.keeps_records || pod["metadata"]["uid"].as_str() == made.worker.as_deref()
    }
}

fn owner(made: &Made) -> OwnerReference {
    OwnerReference {
        api_version: "v1".into(),
        kind: "Record".into(),
        name: "r".into(),
        uid: made.owner.clone(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

fn owned(made: &Made, pod: &Value) -> bool {
    pod["metadata"]["ownerReferences"][0]["uid"] == json!(made.owner)
}

#[async_trait]
impl Populator for ModelPopulator {
    type Source = Source;

    async fn populate(&self, context: &Context<Source>) -> Result<Populate, CallbackError> {
        let uid = &context.claim_ref.uid;
        self.world().queued.insert(uid.clone());
        if context.prime_refused.is_some() {
            return Ok(Populate::Hold(Wait::default()));
        }
        let made = self.enter(context);
        if context.prime.is_none() {
            let owner = Some(owner(&made));
            return Ok(Populate::NeedPrime(PrimeSpec { owner, ..PrimeSpec::default() }));
        }
        let worker = key(PODS, &context.source_namespace, &worker_name(uid));
        let found = self.world().store.objects.get(&worker).cloned();
        let Some(found) = found else {
            let pod = self.worker(context, &made)?;
            let mut world = self.world();
            let stored = world.store.create(worker, pod).map_err(|refusal| refusal.2)?;
            *world.workers_made.entry(uid.clone()).or_default() += 1;
            drop(world);
            let worker = stored["metadata"]["uid"].as_str().map(str::to_owned);
            self.note(&Made { worker, ..made });
            return Ok(Populate::Running(Wait::default()));
        };
        if found["metadata"]["deletionTimestamp"].is_string() {
            return Ok(Populate::Running(Wait::default()));
        }
        if !self.believes(&made, &found) {
            if owned(&made, &found) {
                // Whoever made it, an earlier process or a forger: it goes, and was never believed.
                *self.world().attempts_counted.entry(uid.clone()).or_default() += 1;
                self.world().store.delete(&worker, true);
            }
            return Ok(Populate::Hold(Wait::default()));
        }
        if is_forged(&found) {
            self.world().broken.push(format!("a forged worker of {uid} was believed"));
        }
        if found["status"]["phase"] != "Pending" {
            self.write(&made);
        }
        Ok(match found["status"]["phase"].as_str() {
            Some("Succeeded") => Populate::Filled,
            Some("Failed") => {
                *self.world().attempts_counted.entry(uid.clone()).or_default() += 1;
                Populate::Discard(Wait::default())
            }
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
        let claim = &context.claim_ref;
        if context.cause == Cause::Bound {
            let mut world = self.world();
            // One that has been bound, and is gone or lives again, was bound.
            let object = world.store.objects.get(&key(CLAIMS, &claim.namespace, &claim.name));
            let object = object.filter(|object| object["metadata"]["uid"] == json!(claim.uid));
            let volume = object.and_then(|claim| claim["spec"]["volumeName"].as_str()).unwrap_or_default();
            let owner = world.store.objects.get(&key(VOLUMES, "", volume)).map(|volume| &volume["spec"]["claimRef"]);
            if object.is_some() && owner.is_none_or(|owner| owner["uid"] != json!(claim.uid)) {
                world.broken.push(format!("claim {} was declared bound, and is not", claim.name));
            }
        }
        let made = self.made(&claim.uid);
        let is_ours = |(place, pod): &(Key, Value)| {
            let named = place.2 == worker_name(&claim.uid);
            let made = made.as_ref();
            named
                && (!self.keeps_records
                    || made.is_some_and(|made| {
                        place.1 == made.namespace && (self.believes(made, pod) || owned(made, pod))
                    }))
        };
        let worker = self.world().store.of(PODS).into_iter().find(is_ours).map(|(place, _)| place);
        if let (Some(made), Cause::Lost) = (&made, context.cause)
            && (made.prime.is_some() || made.worker.is_some())
        {
            self.end_attempt(made);
        }
        let mut world = self.world();
        Ok(if let Some(worker) = worker {
            world.store.delete(&worker, true);
            Cleanup::Pending(Wait::default())
        } else {
            world.queued.remove(&claim.uid);
            if matches!(context.cause, Cause::Gone | Cause::Bound | Cause::Elsewhere) {
                world.records.remove(&claim.uid);
                self.notes.lock().unwrap().remove(&claim.uid);
            }
            Cleanup::Done
        })
    }

    fn recorded(&self, claim_uid: &str) -> Recorded {
        if !self.keeps_records {
            return Recorded::Unkept;
        }
        Recorded::Kept(self.made(claim_uid).into_iter().collect())
    }

    fn prime_made(&self, claim: &ClaimRef, _: &str, prime_uid: &str) {
        if let Some(made) = self.made(&claim.uid) {
            self.note(&Made { prime: Some(prime_uid.into()), ..made });
        }
    }
}
