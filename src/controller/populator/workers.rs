//! The worker pods of a claim: making room for one, creating it, removing it.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, PostParams, Preconditions},
};
use populator_crd::{
    names,
    v1alpha1::{SyncPhase, VMDiskImage, VMDiskSync},
};
use volume_populator::{Context, Notice, Wait};

use super::{CallbackResult, DiskPopulator, LOOK_AGAIN, wait};
use crate::{
    pod::{Task, WorkerPod},
    sync::failure::Failure,
    worker::Worker,
    world::{owner_of, phase, pruned_pod},
};

/// The reason of a failure, and of an event: a pod that is not the worker has its name.
const WORKER_NAME_TAKEN: &str = "WorkerNameTaken";

impl DiskPopulator {
    /// Removes what stands in the way of this sync: a record of an image that is gone, a worker of a sync that is gone.
    pub(super) async fn make_room(
        &self,
        sync: &VMDiskSync,
        context: &Context<VMDiskImage>,
    ) -> CallbackResult<Option<Wait>> {
        let soon = Some(wait(None, Some(LOOK_AGAIN)));
        if sync.metadata.deletion_timestamp.is_some() {
            return Ok(soon);
        }
        let syncing = phase(sync) == Some(SyncPhase::Syncing);
        if sync.spec.image.uid != context.source.uid().unwrap_or_default() && !syncing {
            self.records.delete(sync).await?;
            return Ok(soon);
        }
        let sync_uid = sync.metadata.uid.as_deref();
        for pod in self.world.pods.of_claim(&context.claim_ref.uid) {
            let of = self.world.sync_of(&pod);
            let named = sync.status.as_ref().and_then(|status| status.pod_uid.as_ref());
            if pod.metadata.namespace != sync.metadata.namespace || (of.is_some() && named == pod.metadata.uid.as_ref())
            {
                continue;
            }
            // Of an earlier sync or attempt, an inspector that has answered, or made by an earlier process that could not
            // write it down any more.
            if of.is_some() || owner_of(&pod) == sync_uid {
                self.delete_worker(&pod, &Worker::observe(Some(&pod), Timestamp::now())).await?;
                return Ok(soon);
            }
            // Somebody else's, or of a record that is gone, and then the garbage collector has it. Whose sync is under way
            // is counted before it waits.
            if !syncing {
                let going = pod.metadata.deletion_timestamp.is_some();
                let notice = (!going).then(|| name_taken(&pod));
                return Ok(Some(wait(notice, Some(LOOK_AGAIN))));
            }
        }
        if syncing {
            return Ok(self.remove_hidden(sync, &context.claim_ref.uid).await?.then(|| wait(None, Some(LOOK_AGAIN))));
        }
        self.name_still_taken(sync, context).await
    }

    /// A worker whose labels were taken off it has left every watch of ours, and may still run. It is removed before anything
    /// is made in its place. Says whether there was one.
    pub(super) async fn remove_hidden(&self, sync: &VMDiskSync, claim_uid: &str) -> CallbackResult<bool> {
        let recorded = sync.status.as_ref().and_then(|status| status.pod_uid.as_ref());
        let sync_uid = sync.metadata.uid.as_deref().unwrap_or_default();
        if recorded.is_none() || self.world.worker_of(claim_uid, sync_uid).is_some() {
            return Ok(false);
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &sync.namespace().unwrap_or_default());
        let found = api.get_opt(&names::worker(claim_uid)).await?;
        let Some(pod) = found.filter(|pod| pod.metadata.uid.as_ref() == recorded) else { return Ok(false) };
        self.delete_worker(&pod, &Worker::observe(Some(&pod), Timestamp::now())).await?;
        Ok(true)
    }

    /// A pod without our labels is in no watch of ours. One that stood in the way of the last attempt is looked for before
    /// another one asks for its turn and costs a volume.
    async fn name_still_taken(
        &self,
        sync: &VMDiskSync,
        context: &Context<VMDiskImage>,
    ) -> CallbackResult<Option<Wait>> {
        let failure = sync.status.as_ref().filter(|status| status.phase != Some(SyncPhase::Syncing));
        let failure = failure.and_then(|status| status.last_failure.as_ref());
        if failure.is_none_or(|failure| failure.reason != WORKER_NAME_TAKEN) {
            return Ok(None);
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &context.source_namespace);
        let found = api.get_opt(&names::worker(&context.claim_ref.uid)).await?;
        let found =
            found.filter(|pod| self.world.sync_of(pod).is_none() && owner_of(pod) != sync.metadata.uid.as_deref());
        Ok(found.map(|pod| wait(Some(name_taken(&pod)), Some(LOOK_AGAIN))))
    }

    /// Creates the worker, or what only asks. `Some`: why it could not be.
    pub(super) async fn create_worker(
        &self,
        task: Task<'_>,
        context: &Context<VMDiskImage>,
        sync: &VMDiskSync,
    ) -> CallbackResult<Option<Failure>> {
        let namespace = &context.source_namespace;
        let owner = sync.controller_owner_ref(&()).ok_or("the record of the sync has no UID")?;
        let sync_uid = owner.uid.clone();
        let pod = WorkerPod {
            task,
            claim_ref: &context.claim_ref,
            namespace,
            owner,
            node: context.node.as_deref(),
            image: &self.worker_image,
        };
        let pod = pod.build()?;
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        match api.create(&PostParams::default(), &pod).await {
            Ok(stored) => {
                // Whose UID this is nobody can have forged: it is the API server's answer to our own request.
                self.world.note_pod(&sync_uid, &stored.uid().unwrap_or_default());
                self.world.pods.wrote(pruned_pod(stored));
                Ok(None)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let Some(found) = api.get_opt(&pod.name_any()).await? else {
                    return Err(format!("pod {namespace}/{} was there a moment ago", pod.name_any()).into());
                };
                let ours = owner_of(&found) == Some(&*sync_uid);
                let refused = name_taken(&found).message;
                if ours {
                    self.delete_worker(&found, &Worker::observe(Some(&found), Timestamp::now())).await?;
                }
                self.world.pods.wrote(pruned_pod(found));
                // An answer that was lost, perhaps: then it may have fetched something, and that is counted.
                Ok(Some(if ours {
                    Failure::interrupted("WorkerUnknown", refused)
                } else {
                    Failure::not_started(WORKER_NAME_TAKEN, refused)
                }))
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 422) => {
                let message = format!(
                    "the worker pod was refused ({}); correct the quota, the Pod Security level or the policy of \
                     namespace {namespace}",
                    status.message
                );
                Ok(Some(Failure::not_started("WorkerRefused", message)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes a worker: once, and by force if its node is lost, because nobody else can end it.
    pub(super) async fn delete_worker(&self, pod: &Pod, worker: &Worker) -> CallbackResult<()> {
        let lost = *worker == Worker::Lost;
        if pod.metadata.deletion_timestamp.is_some() && !lost {
            return Ok(());
        }
        let params = DeleteParams {
            grace_period_seconds: lost.then_some(0),
            preconditions: Some(Preconditions { uid: pod.uid(), resource_version: None }),
            ..DeleteParams::default()
        };
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        match api.delete(&pod.name_any(), &params).await {
            Ok(answer) => {
                if let Some(going) = answer.left() {
                    self.world.pods.wrote(pruned_pod(going));
                }
                Ok(())
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn name_taken(pod: &Pod) -> Notice {
    let namespace = pod.namespace().unwrap_or_default();
    Notice {
        warning: true,
        reason: WORKER_NAME_TAKEN,
        message: format!(
            "pod {namespace}/{} exists that is not known to be the worker of this claim, and its name is needed; delete it, \
             or wait until it is gone",
            pod.name_any()
        ),
    }
}
