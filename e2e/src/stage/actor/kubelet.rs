//! Scheduler and kubelet for one pod: places it once its volumes can be mounted, lets it run, ends it as the script of its
//! image says, and removes it when it is deleted.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use vmdisk_wire::{JOB_ENV, Job, Operation, SourceType};

use super::account::{End, IMAGE_BYTES, Verdict};
use super::provisioner::SELECTED_NODE;
use super::{NODES, World, persist};
use crate::stage::plane::WAITING;

type Outcome<T> = Result<T, kube::Error>;

/// Plays the pod's life, to its end.
pub(super) async fn run(world: Arc<World>, pod: Arc<Pod>) {
    if let Err(error) = live(&world, &pod).await {
        // A pod that went meanwhile takes no writes any more.
        tracing::debug!(%error, pod = pod.name_any(), "a pod's life was cut short");
    }
}

async fn live(world: &World, pod: &Pod) -> Outcome<()> {
    let uid = pod.uid().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(world.client.clone(), &pod.namespace().unwrap_or_default());
    if !place(world, pod, &uid, &api).await? {
        return Ok(());
    }
    let volumes = volumes(world, pod);
    if !is_going(world, &uid) {
        status(&api, pod, "Running", &json!({"running": {"startedAt": now()}}), None).await?;
        let verdict = work(world, pod, &uid).await;
        judge(world, &volumes, &verdict).await?;
        for volume in &volumes {
            world.account().wrote(&volume.name, &verdict.1, verdict.0.whole);
        }
        end(&api, pod, &verdict.0).await?;
    }
    world.until(|world| is_going(world, &uid).then_some(())).await;
    let now = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: Some(uid), resource_version: None }),
        ..DeleteParams::default()
    };
    let name = pod.name_any();
    persist(|| api.delete(&name, &now)).await.map(drop)
}

/// Whether a pod is being deleted, or gone.
fn is_going(world: &World, uid: &str) -> bool {
    world.pod(uid).is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
}

/// Binds the pod to a node once nothing is in its way; false when it went before.
async fn place(world: &World, pod: &Pod, uid: &str, api: &Api<Pod>) -> Outcome<bool> {
    let namespace = pod.namespace().unwrap_or_default();
    let names = claim_names(pod);
    let node = node_of(pod);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(world.client.clone(), &namespace);
    loop {
        let claims_seen = world
            .until(|world| {
                let Some(pod) = world.pod(uid) else { return Some(None) };
                let gated =
                    pod.spec.as_ref().is_some_and(|spec| spec.scheduling_gates.iter().flatten().next().is_some());
                if gated {
                    return None;
                }
                let found: Vec<_> = names.iter().filter_map(|name| world.claim(&namespace, name)).collect();
                let complete = found.len() == names.len()
                    && !found.iter().any(|claim| claim.metadata.deletion_timestamp.is_some());
                let movable = |claim: &Arc<PersistentVolumeClaim>| is_bound(claim) || waits_for_consumer(claim);
                (complete && found.iter().all(movable)).then_some(Some(found))
            })
            .await;
        let Some(claims_seen) = claims_seen else { return Ok(false) };
        let open: Vec<_> = claims_seen.iter().filter(|claim| !is_bound(claim)).collect();
        if open.is_empty() {
            break;
        }
        for claim in open {
            // What the scheduler does for a consumer of a class that waits for one.
            let patch = json!({
                "metadata": {"uid": claim.uid(), "annotations": {SELECTED_NODE: node}},
            });
            let (name, patch, params) = (claim.name_any(), Patch::Merge(&patch), PatchParams::default());
            persist(|| claims.patch(&name, &params, &patch)).await?;
        }
        world
            .until(|world| {
                let all = names
                    .iter()
                    .all(|name| world.claim(&namespace, name).is_some_and(|claim| !waits_for_consumer(&claim)));
                (all || world.pod(uid).is_none()).then_some(())
            })
            .await;
    }
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod.name_any(), "uid": uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    let (name, post) = (pod.name_any(), PostParams::default());
    match persist(|| api.create_subresource::<Value, Value>("binding", &name, &post, &binding)).await {
        // An answer that was lost: it is bound.
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        answer => drop(answer?),
    }
    Ok(true)
}

fn claim_names(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref()).into_iter().flatten();
    volumes.filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.clone())).collect()
}

/// The node that the pod asks for by name, or the first.
fn node_of(pod: &Pod) -> String {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.node_affinity.as_ref());
    let required = affinity.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
    let fields = required.into_iter().flat_map(|required| &required.node_selector_terms);
    let mut values =
        fields.flat_map(|term| term.match_fields.iter().flatten()).flat_map(|field| field.values.iter().flatten());
    values.next().cloned().unwrap_or_else(|| NODES[0].to_owned())
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
}

/// Whether nobody has chosen a node for a claim whose class waits for that.
fn waits_for_consumer(claim: &PersistentVolumeClaim) -> bool {
    let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    !is_bound(claim) && class == Some(WAITING) && !claim.annotations().contains_key(SELECTED_NODE)
}

/// A volume as it was mounted.
struct Mounted {
    name: String,
    claim_uid: String,
}

fn volumes(world: &World, pod: &Pod) -> Vec<Mounted> {
    let namespace = pod.namespace().unwrap_or_default();
    let claims = claim_names(pod).into_iter().filter_map(|name| world.claim(&namespace, &name));
    claims
        .filter_map(|claim| {
            let name = claim.spec.as_ref()?.volume_name.clone()?;
            Some(Mounted { name, claim_uid: claim.uid()? })
        })
        .collect()
}

/// What the worker does: how it ends, and for which image.
async fn work(world: &World, pod: &Pod, uid: &str) -> (Verdict, String) {
    let Some(job) = job(pod) else {
        // Not a worker of ours; it works until it is deleted.
        world.until(|world| is_going(world, uid).then_some(())).await;
        return (End::Hangs.verdict("", 0), String::new());
    };
    let image = name_of(&job);
    let network = job.operation == Operation::Fill && job.source.source_type != SourceType::Blank;
    let mut end = world.account().begin(&image, uid, network);
    if end == End::Hangs {
        let released = world
            .until(|world| {
                if is_going(world, uid) {
                    return Some(false);
                }
                world.account().is_released(&image).then_some(true)
            })
            .await;
        if released {
            end = End::Done;
        }
    }
    (end.verdict(&image, IMAGE_BYTES), image)
}

/// What the account calls an image: the last part of its URL; of a blank one, `blank`.
fn name_of(job: &Job) -> String {
    match job.source.url.rsplit('/').next() {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => "blank".to_owned(),
    }
}

fn job(pod: &Pod) -> Option<Job> {
    let container = pod.spec.as_ref()?.containers.iter().find(|container| container.name == "worker")?;
    let variable = container.env.iter().flatten().find(|variable| variable.name == JOB_ENV)?;
    Job::parse(variable.value.as_deref()?).ok()
}

/// A volume that changed hands while a worker wrote to it is what must never be.
async fn judge(world: &World, volumes: &[Mounted], verdict: &(Verdict, String)) -> Outcome<()> {
    let api: Api<PersistentVolume> = Api::all(world.client.clone());
    for mounted in volumes {
        let Some(volume) = persist(|| api.get_opt(&mounted.name)).await? else {
            world.account().violation(format!("volume {} went while a worker had it mounted", mounted.name));
            continue;
        };
        let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
        let owner = reference.and_then(|reference| reference.uid.as_deref()).unwrap_or_default();
        if owner != mounted.claim_uid {
            let what = format!(
                "volume {} was handed over to {owner} while a worker of {} wrote to it ({:?})",
                mounted.name, verdict.1, verdict.0
            );
            world.account().violation(what);
        }
    }
    Ok(())
}

async fn end(api: &Api<Pod>, pod: &Pod, verdict: &Verdict) -> Outcome<()> {
    let phase = if verdict.exit_code == 0 { "Succeeded" } else { "Failed" };
    let terminated = json!({"terminated": {
        "exitCode": verdict.exit_code, "reason": verdict.reason, "message": verdict.message,
        "startedAt": now(), "finishedAt": now(),
    }});
    status(api, pod, phase, &terminated, verdict.pod_reason).await
}

async fn status(api: &Api<Pod>, pod: &Pod, phase: &str, state: &Value, reason: Option<&str>) -> Outcome<()> {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let containers: Vec<Value> = containers
        .iter()
        .map(|container| {
            json!({
                "name": container.name, "state": state, "image": container.image, "imageID": "played",
                "ready": phase == "Running", "restartCount": 0,
            })
        })
        .collect();
    let patch = json!({
        "metadata": {"uid": pod.uid()},
        "status": {"phase": phase, "reason": reason, "startTime": now(), "containerStatuses": containers},
    });
    let (name, patch, params) = (pod.name_any(), Patch::Merge(&patch), PatchParams::default());
    persist(|| api.patch_status(&name, &params, &patch)).await.map(drop)
}

fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
