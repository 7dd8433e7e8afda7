//! `VMDiskImage`: what a disk is made of.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{
    AccessMode, DiskFormat, GoldenPolicy, PullPolicy, SourceType, VMDiskImageStatus, VolumeMode, image_rules as rules,
};
use crate::schema;

/// What the disk is made of: where its bytes come from, how they are proven, and whether to fetch them ahead of use.
/// May change at any time: a sync that runs finishes with what it started with, later ones use the new spec.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "pelotech.ot",
    version = "v1alpha1",
    kind = "VMDiskImage",
    namespaced,
    status = "VMDiskImageStatus",
    shortname = "vmdi",
    category = "vmdisk",
    derive = "Default",
    derive = "PartialEq",
    doc = "VMDiskImage says what a virtual machine's disk is made of. A PersistentVolumeClaim whose dataSourceRef names \
           it (apiGroup pelotech.ot, kind VMDiskImage) stays Pending until a volume that holds exactly that disk, in raw \
           form, is bound to it.",
    selectable = ".status.phase",
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.phase",
        description = "Where the preload is; for humans, use conditions in programs"
    ),
    printcolumn(
        name = "Progress",
        type_ = "string",
        json_path = ".status.progress",
        description = "How much of the preload is done"
    ),
    printcolumn(
        name = "Size",
        type_ = "string",
        json_path = ".status.size",
        description = "Size of the disk: diskSize, or what the image describes once it was read"
    ),
    printcolumn(
        name = "Claims",
        type_ = "integer",
        json_path = ".status.claims.succeeded",
        description = "Claims filled from this image, of those whose syncs are kept"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Format",
        type_ = "string",
        json_path = ".status.source.format",
        priority = 1,
        description = "Disk format found in the source"
    ),
    printcolumn(
        name = "Digest",
        type_ = "string",
        json_path = ".status.source.digest",
        priority = 1,
        description = "Digest or ETag of the source"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.message",
        priority = 1,
        description = "What is going on, and what to do next"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::url_or_blank(),
    validation = rules::blank_is_bare(),
    validation = rules::blank_needs_disk_size(),
    validation = rules::source_type_fits_url(),
    validation = rules::s3_names_an_object(),
    validation = rules::region_is_for_s3(),
    validation = rules::preload_needs_disk_size(),
    validation = rules::snapshot_needs_storage_class(),
    validation = rules::disk_size_never_shrinks(),
    validation = rules::storage_class_does_not_change(),
    validation = rules::name_is_immutable(),
)]
pub struct VMDiskImageSpec {
    /// Where the bytes come from. One of `docker://HOST/REPOSITORY:TAG[@DIGEST]` (or `oci://`, the same), `s3://BUCKET/KEY`,
    /// `https://HOST/PATH`, `http://HOST/PATH`. Credentials do not belong here: name a Secret in secretRef. Required,
    /// except for sourceType blank. Example: `docker://quay.io/containerdisks/fedora:42`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = rules::url_shape(), validation = rules::url_without_credentials())]
    pub url: Option<String>,

    /// How to speak to the source. Inferred from the URL's scheme when absent: docker and oci mean registry, s3 means s3,
    /// http and https mean http. Say s3 together with an https URL for an S3-compatible store at that address, in path
    /// style (`https://HOST/BUCKET/KEY`) or virtual-host style (`https://BUCKET.HOST/KEY`). blank is an empty disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SourceType")]
    pub source_type: Option<SourceType>,

    /// Name of a Secret in this namespace with the credentials of the source. Registry: type
    /// kubernetes.io/dockerconfigjson, or the keys username and password, or accessKeyId and secretKey. S3: the keys
    /// accessKeyId and secretKey, or AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; AWS_ENDPOINT_URL
    /// says where s3:// is, if not at AWS. HTTP: username and password, or token. Only the worker pod reads it.
    /// Default: anonymous.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub secret_ref: Option<String>,

    /// Name of a ConfigMap in this namespace whose values are CA certificates in PEM form. They are trusted in addition
    /// to the public ones, for this source alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub cert_config_map: Option<String>,

    /// What the golden claim requests, as a quantity of bytes. On a Block volume the guest sees exactly this; on a
    /// Filesystem volume it sees what the file system's overhead leaves of it. An image that does not fit is refused
    /// before the download, with the least value that fits. Required by storageClass and by sourceType blank; it may
    /// grow, never shrink. Example: `24Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    #[x_kube(validation = rules::positive_quantity())]
    pub disk_size: Option<Quantity>,

    /// Preload: as soon as the image exists, fill a golden claim in this StorageClass, ready for a VM. Default: nothing is
    /// fetched before a claim asks for it. May be set and removed, which deletes no disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub storage_class: Option<String>,

    /// With storageClass: fill a master that nobody writes to, take a VolumeSnapshot of it in this VolumeSnapshotClass, and
    /// cut the golden claim and all later claims from that, without the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub snapshot_class: Option<String>,

    /// The volumeMode of the preload's claims. A claim that is cut from them has the same.
    #[serde(default)]
    pub volume_mode: VolumeMode,

    /// The access modes of the preload's claims.
    #[serde(default = "one_writer", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 4))]
    pub access_modes: Vec<AccessMode>,

    /// What becomes of golden masters and their snapshots when the image is deleted. Retain keeps them, so that an image
    /// that is applied again adopts them and fetches nothing; Delete removes them. Golden claims are the user's and stay.
    #[serde(default)]
    pub golden_policy: GoldenPolicy,

    /// Name of the golden claim and snapshot. Default: the image's own name. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub name: Option<String>,

    /// Disk format of the source, inside any compression (gzip, xz, zstd and bzip2 are recognized). auto goes by content
    /// and is right for every image but a raw one that begins like another format.
    #[serde(default)]
    pub format: DiskFormat,

    /// The disk's file inside a container image or an archive, relative to its root. Default: the one file under `disk/`
    /// (the containerDisk rules). Example: `disk/fedora.qcow2`. In an artifact of several files: the title, disk name or
    /// digest of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = rules::relative_path())]
    pub path: Option<String>,

    /// When to ask the source again. IfNotPresent uses golden data where there is any. Always resolves the tag or ETag
    /// first, and refreshes the golden data when it moved. Never uses golden data alone, and holds claims until there is
    /// some.
    #[serde(default)]
    pub pull_policy: PullPolicy,

    /// What the fetched bytes must hash to, before any decompression: `sha256:` and 64 or `sha512:` and 128 lower-case
    /// hexadecimal digits. A registry's own digests are verified in any case; pin them with `@sha256:…` in the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 135))]
    #[x_kube(validation = rules::checksum_form())]
    pub checksum: Option<String>,

    /// S3 region, where neither URL nor Secret says it. Example: `us-gov-west-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::region_form())]
    pub region: Option<String>,

    /// Name of a ServiceAccount in this namespace that carries a cloud identity (IRSA, Workload Identity). The worker gets
    /// one token of it for the cloud's audience, and none for the Kubernetes API. Default: no identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub service_account_name: Option<String>,
}

fn one_writer() -> Vec<AccessMode> {
    vec![AccessMode::ReadWriteOnce]
}

impl VMDiskImage {
    /// The name of the golden claim and snapshot: `spec.name`, or the image's own.
    #[must_use]
    pub fn golden_name(&self) -> &str {
        let own = self.metadata.name.as_deref().unwrap_or_default();
        self.spec.name.as_deref().unwrap_or(own)
    }
}
