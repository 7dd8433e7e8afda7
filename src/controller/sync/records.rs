//! Reading and writing `VMDiskSync` objects.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use populator_crd::{
    names,
    v1alpha1::{ClaimReference, ImageReference, Purpose, VMDiskImage, VMDiskSync, VMDiskSyncSpec, VMDiskSyncStatus},
};
use serde_json::json;
use volume_populator::ClaimRef;

use crate::{
    golden::objects::golden_owner,
    world::{Notes, World, is_done},
};

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A call to the API server failed.
    #[error("failed to {what} VMDiskSync {namespace}/{name}")]
    Api {
        /// What was tried.
        what: &'static str,
        /// The record's namespace.
        namespace: String,
        /// The record's name.
        name: String,
        /// How it failed.
        #[source]
        source: Box<kube::Error>,
    },
    /// A record of that name serves another claim.
    #[error("VMDiskSync {namespace}/{name} exists and serves claim UID {found}, expected {expected}; delete it")]
    Foreign {
        /// The record's namespace.
        namespace: String,
        /// The record's name.
        name: String,
        /// The UID that it names.
        found: String,
        /// The UID of our claim.
        expected: String,
    },
}

impl RecordError {
    /// No rule allows it.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Api { source, .. }
            if matches!(&**source, kube::Error::Api(status) if status.code == 403))
    }

    /// Somebody else wrote first, or the record is gone: the next pass sees what there is.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        matches!(self, Self::Api { source, .. }
            if matches!(&**source, kube::Error::Api(status) if status.code == 409 || status.code == 404))
    }
}

/// The records, as the watch and our own writes tell them.
#[derive(Clone)]
pub struct Records {
    client: Client,
    world: World,
}

impl Records {
    /// Records in this cache.
    #[must_use]
    pub fn new(client: Client, world: World) -> Self {
        Self { client, world }
    }

    /// The record of this claim in the image's namespace.
    #[must_use]
    pub fn find(&self, claim: &ClaimRef, namespace: &str) -> Option<Arc<VMDiskSync>> {
        let name = names::sync(&claim.name, &claim.uid);
        self.of_claim(&claim.uid)
            .into_iter()
            .find(|sync| sync.metadata.namespace.as_deref() == Some(namespace) && sync.name_any() == name)
    }

    /// Every record of this claim that is not done, with what was made since it was written last.
    #[must_use]
    pub fn of_claim(&self, uid: &str) -> Vec<Arc<VMDiskSync>> {
        let stored = self.world.syncs.of_claim(uid).into_iter();
        stored
            .map(|sync| with_notes(&sync, &self.world.notes(sync.metadata.uid.as_deref().unwrap_or_default())))
            .collect()
    }

    /// Whether something was made for this sync that its record does not say.
    #[must_use]
    pub fn is_behind(&self, sync: &VMDiskSync) -> bool {
        self.world.notes(sync.metadata.uid.as_deref().unwrap_or_default()) != Notes::default()
    }

    /// Writes down what was made and is not written yet, of all syncs: whoever leads next goes on from there.
    pub async fn write_all_notes(&self) {
        for sync in self.world.syncs.all() {
            let uid = sync.metadata.uid.as_deref().unwrap_or_default();
            let noted = with_notes(&sync, &self.world.notes(uid));
            if let (Some(status), true) = (&noted.status, self.is_behind(&sync))
                && let Err(error) = self.write(&noted, status).await
            {
                tracing::warn!(%error, sync = sync.name_any(), "failed to write down what was made; it will be made again");
            }
        }
    }

    /// Creates the record of a claim; one that is there already is taken over if it is this claim's.
    ///
    /// # Errors
    ///
    /// [`RecordError`].
    pub async fn create(
        &self,
        claim: &ClaimRef,
        purpose: Purpose,
        image: &VMDiskImage,
        namespace: &str,
    ) -> Result<(), RecordError> {
        let sync = build(claim, purpose, image, namespace);
        let name = sync.name_any();
        let api: Api<VMDiskSync> = Api::namespaced(self.client.clone(), namespace);
        let stored = match api.create(&PostParams::default(), &sync).await {
            Ok(stored) => stored,
            Err(kube::Error::Api(status)) if status.code == 409 => {
                api.get(&name).await.map_err(|source| failed("get", namespace, &name, source))?
            }
            Err(source) => return Err(failed("create", namespace, &name, source)),
        };
        if stored.spec.claim.uid != claim.uid {
            return Err(RecordError::Foreign {
                namespace: namespace.to_owned(),
                name,
                found: stored.spec.claim.uid,
                expected: claim.uid.clone(),
            });
        }
        if is_done(&stored) {
            // Of an earlier time of this claim: it named an image elsewhere meanwhile. What it records is over, and a new one
            // takes its name in the next pass.
            return self.delete(&stored).await;
        }
        self.world.syncs.wrote(pruned(stored));
        Ok(())
    }

    /// Writes a status, unless somebody wrote the record since it was read.
    ///
    /// # Errors
    ///
    /// [`RecordError`].
    pub async fn write(&self, sync: &VMDiskSync, status: &VMDiskSyncStatus) -> Result<(), RecordError> {
        if sync.status.as_ref() == Some(status) && !self.is_behind(sync) {
            return Ok(());
        }
        let notes = self.world.notes(sync.metadata.uid.as_deref().unwrap_or_default());
        let namespace = sync.namespace().unwrap_or_default();
        let name = sync.name_any();
        let api: Api<VMDiskSync> = Api::namespaced(self.client.clone(), &namespace);
        let patch = json!({
            "apiVersion": VMDiskSync::api_version(&()),
            "kind": VMDiskSync::kind(&()),
            "metadata": {"uid": sync.metadata.uid, "resourceVersion": sync.metadata.resource_version},
            "status": status,
        });
        let params = PatchParams::apply(names::MANAGER).force();
        let stored = api
            .patch_status(&name, &params, &Patch::Apply(&patch))
            .await
            .map_err(|source| failed("write the status of", &namespace, &name, source))?;
        let stored = pruned(stored);
        self.world.noted(sync.metadata.uid.as_deref().unwrap_or_default(), &notes);
        self.world.ledger.wrote(&stored);
        self.world.syncs.wrote(stored);
        Ok(())
    }

    /// Deletes a record, and with it what it owns.
    ///
    /// # Errors
    ///
    /// [`RecordError`].
    pub async fn delete(&self, sync: &VMDiskSync) -> Result<(), RecordError> {
        let namespace = sync.namespace().unwrap_or_default();
        let name = sync.name_any();
        let api: Api<VMDiskSync> = Api::namespaced(self.client.clone(), &namespace);
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: sync.uid(), resource_version: None }),
            ..DeleteParams::background()
        };
        match api.delete(&name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(source) => Err(failed("delete", &namespace, &name, source)),
        }
    }
}

/// The record of a new sync.
fn build(claim: &ClaimRef, purpose: Purpose, image: &VMDiskImage, namespace: &str) -> VMDiskSync {
    let image_uid = image.uid().unwrap_or_default();
    let labels = [
        (names::CLAIM_UID_LABEL, &claim.uid),
        (names::CLAIM_NAMESPACE_LABEL, &claim.namespace),
        (names::IMAGE_UID_LABEL, &image_uid),
    ];
    let preloads = purpose == Purpose::Master || (claim.namespace == namespace && claim.name == image.golden_name());
    // Only of these the preload wants to hear.
    let preloads = preloads.then_some((names::GOLDEN_LABEL, &image_uid));
    let labels = labels.into_iter().chain(preloads).map(|(key, value)| (key.to_owned(), value.clone()));
    let annotations =
        [(names::CLAIM_NAME_ANNOTATION, claim.name.clone()), (names::IMAGE_NAME_ANNOTATION, image.name_any())];
    VMDiskSync {
        metadata: ObjectMeta {
            name: Some(names::sync(&claim.name, &claim.uid)),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.collect()),
            // With it goes the snapshot, which it owns.
            owner_references: (purpose == Purpose::Master).then(|| golden_owner(image)).flatten(),
            annotations: Some(annotations.map(|(key, value)| (key.to_owned(), value)).into()),
            ..ObjectMeta::default()
        },
        spec: VMDiskSyncSpec {
            purpose,
            claim: ClaimReference {
                namespace: claim.namespace.clone(),
                name: claim.name.clone(),
                uid: claim.uid.clone(),
            },
            image: ImageReference {
                name: image.name_any(),
                uid: image_uid,
                generation: image.metadata.generation.unwrap_or_default(),
            },
        },
        status: None,
    }
}

/// A record with what was made since it was written.
fn with_notes(sync: &Arc<VMDiskSync>, notes: &Notes) -> Arc<VMDiskSync> {
    if *notes == Notes::default() {
        return Arc::clone(sync);
    }
    let mut sync = VMDiskSync::clone(sync);
    let status = sync.status.get_or_insert_default();
    status.prime_uid = notes.prime_uid.clone().or(status.prime_uid.take());
    status.pod_uid = notes.pod_uid.clone().or(status.pod_uid.take());
    Arc::new(sync)
}

/// The claim that a record serves.
#[must_use]
pub fn claim_of(sync: &VMDiskSync) -> ClaimRef {
    ClaimRef {
        namespace: sync.spec.claim.namespace.clone(),
        name: sync.spec.claim.name.clone(),
        uid: sync.spec.claim.uid.clone(),
    }
}

/// Takes off a record what nobody here reads.
pub fn prune(sync: &mut VMDiskSync) {
    sync.metadata.managed_fields = None;
}

fn pruned(mut sync: VMDiskSync) -> VMDiskSync {
    prune(&mut sync);
    sync
}

fn failed(what: &'static str, namespace: &str, name: &str, source: kube::Error) -> RecordError {
    RecordError::Api { what, namespace: namespace.to_owned(), name: name.to_owned(), source: Box::new(source) }
}
