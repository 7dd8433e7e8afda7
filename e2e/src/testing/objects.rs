//! The objects that users write.

use std::collections::BTreeMap;

use anyhow::Result;
use k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolumeClaim, PersistentVolumeClaimSpec, Secret, TypedLocalObjectReference,
    TypedObjectReference, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ObjectMeta as Meta;
use populator_crd::{GROUP, VMDiskImage, VMDiskImageSpec};

use super::bed;

/// The `ConfigMap` with the cluster's CA that images refer to.
pub const CA_CONFIG_MAP: &str = "cluster-ca";

/// Which volume mode a claim asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A file system with `disk.img`.
    Filesystem,
    /// The raw device.
    Block,
}

impl Mode {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Filesystem, Self::Block];

    /// The value of `spec.volumeMode`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Filesystem => "Filesystem",
            Self::Block => "Block",
        }
    }
}

/// An image at this URL.
#[must_use]
pub fn image(name: &str, url: &str) -> VMDiskImage {
    let spec = VMDiskImageSpec { url: Some(url.to_owned()), ..VMDiskImageSpec::default() };
    VMDiskImage::new(name, spec)
}

/// An image at this URL of a server with a certificate of the cluster's CA ([`ca`] must be there too).
#[must_use]
pub fn tls_image(name: &str, url: &str) -> VMDiskImage {
    let mut image = image(name, url);
    image.spec.cert_config_map = Some(CA_CONFIG_MAP.to_owned());
    image
}

/// The cluster's CA as the `ConfigMap` that [`tls_image`] names.
///
/// # Errors
/// When the certificate cannot be read.
pub fn ca() -> Result<ConfigMap> {
    let certificate = std::fs::read_to_string(bed::path("CA_FILE")?)?;
    Ok(ConfigMap {
        metadata: named(CA_CONFIG_MAP),
        data: Some(BTreeMap::from([("ca.crt".to_owned(), certificate)])),
        ..ConfigMap::default()
    })
}

/// A Secret with these keys.
#[must_use]
pub fn secret(name: &str, data: &[(&str, &str)]) -> Secret {
    let data = data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Secret { metadata: named(name), string_data: Some(data), ..Secret::default() }
}

/// A claim for the disk of an image, of this size (`64Mi`), in the class that binds at once.
///
/// # Errors
/// When the environment does not name the class.
pub fn claim(name: &str, image: &str, size: &str, mode: Mode) -> Result<PersistentVolumeClaim> {
    claim_of(name, image, size, mode, &bed::variable("STORAGE_CLASS_IMMEDIATE")?)
}

/// A claim for the disk of an image in the class that waits for its consumer.
///
/// # Errors
/// When the environment does not name the class.
pub fn waiting_claim(name: &str, image: &str, size: &str, mode: Mode) -> Result<PersistentVolumeClaim> {
    claim_of(name, image, size, mode, &bed::variable("STORAGE_CLASS_WFFC")?)
}

/// A claim for the disk of an image in any class.
///
/// # Errors
/// Never; it has the shape of its siblings.
pub fn claim_of(name: &str, image: &str, size: &str, mode: Mode, class: &str) -> Result<PersistentVolumeClaim> {
    let source = TypedObjectReference {
        api_group: Some(GROUP.to_owned()),
        kind: "VMDiskImage".to_owned(),
        name: image.to_owned(),
        namespace: None,
    };
    let spec = PersistentVolumeClaimSpec { data_source_ref: Some(source), ..claim_spec(size, mode, class) };
    Ok(PersistentVolumeClaim { metadata: named(name), spec: Some(spec), ..PersistentVolumeClaim::default() })
}

/// A claim of nothing: an empty volume.
#[must_use]
pub fn empty_claim(name: &str, size: &str, mode: Mode, class: &str) -> PersistentVolumeClaim {
    let spec = claim_spec(size, mode, class);
    PersistentVolumeClaim { metadata: named(name), spec: Some(spec), ..PersistentVolumeClaim::default() }
}

/// A claim that the CSI driver makes from a snapshot.
#[must_use]
pub fn restored_claim(name: &str, snapshot: &str, size: &str, mode: Mode, class: &str) -> PersistentVolumeClaim {
    let source = TypedLocalObjectReference {
        api_group: Some("snapshot.storage.k8s.io".to_owned()),
        kind: "VolumeSnapshot".to_owned(),
        name: snapshot.to_owned(),
    };
    copied_claim(name, source, size, mode, class)
}

/// A claim that the CSI driver makes from another claim.
#[must_use]
pub fn cloned_claim(name: &str, claim: &str, size: &str, mode: Mode, class: &str) -> PersistentVolumeClaim {
    let source =
        TypedLocalObjectReference { api_group: None, kind: "PersistentVolumeClaim".to_owned(), name: claim.to_owned() };
    copied_claim(name, source, size, mode, class)
}

fn copied_claim(
    name: &str,
    source: TypedLocalObjectReference,
    size: &str,
    mode: Mode,
    class: &str,
) -> PersistentVolumeClaim {
    let spec = PersistentVolumeClaimSpec { data_source: Some(source), ..claim_spec(size, mode, class) };
    PersistentVolumeClaim { metadata: named(name), spec: Some(spec), ..PersistentVolumeClaim::default() }
}

fn claim_spec(size: &str, mode: Mode, class: &str) -> PersistentVolumeClaimSpec {
    PersistentVolumeClaimSpec {
        access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
        resources: Some(VolumeResourceRequirements {
            requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(size.to_owned()))])),
            ..VolumeResourceRequirements::default()
        }),
        storage_class_name: Some(class.to_owned()),
        volume_mode: Some(mode.as_str().to_owned()),
        ..PersistentVolumeClaimSpec::default()
    }
}

/// Whether a claim is bound.
#[must_use]
pub fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
}

fn named(name: &str) -> Meta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}
