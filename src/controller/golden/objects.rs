//! The objects of golden data. Pure.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        PersistentVolumeClaim, PersistentVolumeClaimSpec, TypedObjectReference, VolumeResourceRequirements,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{Resource, ResourceExt, core::TypeMeta};
use populator_crd::{
    GROUP, names, quantity,
    v1alpha1::{GoldenPolicy, VMDiskImage, VMDiskSync},
};

use super::snapshot::{self, SnapshotSource, SnapshotSpec, VolumeSnapshot};

/// The master: a claim for the image like any other, that is never handed out.
#[must_use]
pub fn master(image: &VMDiskImage, key: &str) -> PersistentVolumeClaim {
    let mut claim = claim_of(image, names::master(image.golden_name(), key));
    let meta = &mut claim.metadata;
    meta.labels = Some(labels(image));
    meta.annotations.get_or_insert_default().extend(annotations(image, key));
    meta.owner_references = golden_owner(image);
    claim
}

/// What golden data goes with: the image, where it says so, and else nothing.
#[must_use]
pub fn golden_owner(image: &VMDiskImage) -> Option<Vec<OwnerReference>> {
    let owner = image.owner_ref(&()).filter(|_| image.spec.golden_policy == GoldenPolicy::Delete);
    owner.map(|owner| vec![owner])
}

/// The golden claim: the user's from the moment that it exists.
#[must_use]
pub fn golden_claim(image: &VMDiskImage) -> PersistentVolumeClaim {
    claim_of(image, image.golden_name().to_owned())
}

fn claim_of(image: &VMDiskImage, name: String) -> PersistentVolumeClaim {
    let spec = &image.spec;
    let size = spec.disk_size.clone();
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: image.namespace(),
            // A preload waits for no consumer.
            annotations: Some([(names::BIND_IMMEDIATELY_ANNOTATION.to_owned(), "true".to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(spec.access_modes.iter().map(|mode| mode.as_str().to_owned()).collect()),
            data_source_ref: Some(TypedObjectReference {
                api_group: Some(GROUP.to_owned()),
                kind: VMDiskImage::kind(&()).into_owned(),
                name: image.name_any(),
                namespace: None,
            }),
            resources: Some(VolumeResourceRequirements {
                requests: size.map(|size| BTreeMap::from([("storage".to_owned(), size)])),
                limits: None,
            }),
            storage_class_name: spec.storage_class.clone(),
            volume_mode: Some(spec.volume_mode.as_str().to_owned()),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// Whether a claim is, by what it says, the master of some key of this image: then the record of its sync says so. What is
/// true of it its record and its volume tell.
#[must_use]
pub fn is_master(claim: &PersistentVolumeClaim, image: &VMDiskImage) -> bool {
    let key = claim.annotations().get(names::KEY_ANNOTATION);
    claim.metadata.namespace == image.metadata.namespace
        && claim.labels().get(names::GOLDEN_LABEL) == image.metadata.uid.as_ref()
        && key.is_some_and(|key| claim.name_any() == names::master(image.golden_name(), key))
}

/// What keeps a claim of the master's name from being the master of this key; `None`: nothing does.
#[must_use]
pub fn mismatch(claim: &PersistentVolumeClaim, image: &VMDiskImage, key: &str) -> Option<&'static str> {
    let wanted = master(image, key).spec.unwrap_or_default();
    let found = claim.spec.clone().unwrap_or_default();
    let size = |spec: &PersistentVolumeClaimSpec| {
        let requests = spec.resources.as_ref()?.requests.as_ref()?;
        quantity::bytes(requests.get("storage")?).ok()
    };
    let source = |spec: &PersistentVolumeClaimSpec| {
        spec.data_source_ref.as_ref().map(|source| (source.kind.clone(), source.name.clone()))
    };
    if claim.annotations().get(names::KEY_ANNOTATION).is_none_or(|found| found != key) {
        return Some("it is not the controller's");
    }
    let same = source(&found) == source(&wanted)
        && found.storage_class_name == wanted.storage_class_name
        && found.volume_mode == wanted.volume_mode
        && size(&found) == size(&wanted);
    (!same).then_some("its class, mode, size or source are not the image's")
}

/// The snapshot of a master. It goes with the master's record.
#[must_use]
pub fn cut(image: &VMDiskImage, class: &str, key: &str, sync: &VMDiskSync) -> VolumeSnapshot {
    let mut snapshot = snapshot_of(image, names::master(image.golden_name(), key), class, key);
    snapshot.metadata.owner_references = sync.controller_owner_ref(&()).map(|owner| vec![owner]);
    snapshot
}

/// Whether a snapshot says that it was taken for this record. Anybody can write that.
#[must_use]
pub fn is_of(snapshot: &VolumeSnapshot, sync: &VMDiskSync) -> bool {
    snapshot.owner_references().iter().any(|owner| Some(&owner.uid) == sync.metadata.uid.as_ref())
}

/// The snapshot that bears the golden name, for the users' own templates.
#[must_use]
pub fn golden_snapshot(image: &VMDiskImage, class: &str, key: &str) -> VolumeSnapshot {
    snapshot_of(image, image.golden_name().to_owned(), class, key)
}

fn snapshot_of(image: &VMDiskImage, name: String, class: &str, key: &str) -> VolumeSnapshot {
    let resource = snapshot::resource();
    VolumeSnapshot {
        types: Some(TypeMeta { api_version: resource.api_version, kind: resource.kind }),
        metadata: ObjectMeta {
            name: Some(name),
            namespace: image.namespace(),
            labels: Some(labels(image)),
            annotations: Some(annotations(image, key).into_iter().collect()),
            ..ObjectMeta::default()
        },
        spec: SnapshotSpec {
            source: SnapshotSource { persistent_volume_claim_name: Some(names::master(image.golden_name(), key)) },
            volume_snapshot_class_name: Some(class.to_owned()),
        },
        status: None,
    }
}

fn labels(image: &VMDiskImage) -> BTreeMap<String, String> {
    let labels =
        [(names::GOLDEN_LABEL, image.uid().unwrap_or_default()), (names::MANAGED_BY_LABEL, names::MANAGER.to_owned())];
    labels.map(|(key, value)| (key.to_owned(), value)).into()
}

fn annotations(image: &VMDiskImage, key: &str) -> [(String, String); 2] {
    [(names::IMAGE_NAME_ANNOTATION, image.name_any()), (names::KEY_ANNOTATION, key.to_owned())]
        .map(|(key, value)| (key.to_owned(), value))
}
