//! The rules that the API server checks on a `VMDiskImageSpec`, in the Common Expression Language.
//!
//! Each message says what is expected and what to write instead; each rule is tried on a real API server, accepted and
//! refused, by `e2e/tests/crd`. A rule on a property sees only that property (and only where it is set), so whatever
//! relates two of them, or guards a removal, stands on the spec.

use kube::core::{Reason, Rule};

fn on_spec(field: &str, rule: &str, message: &str) -> Rule {
    Rule::new(rule).message(message).field_path(field)
}

/// The spec's `sourceType` as the URL implies it (see `VMDiskImageSpec::source_type`).
const IS_S3: &str = "(has(self.sourceType) ? self.sourceType == 's3' : has(self.url) && self.url.startsWith('s3://'))";
const IS_BLANK: &str = "(has(self.sourceType) && self.sourceType == 'blank')";

// The spec.

pub(super) fn url_or_blank() -> Rule {
    on_spec(
        ".url",
        &format!("has(self.url) || {IS_BLANK}"),
        "url is required; set it, or set sourceType: blank for an empty disk",
    )
}

pub(super) fn blank_is_bare() -> Rule {
    on_spec(
        ".sourceType",
        &format!(
            "!{IS_BLANK} || !(has(self.url) || has(self.path) || has(self.checksum) || has(self.secretRef) \
             || has(self.certConfigMap))"
        ),
        "sourceType blank is an empty disk and fetches nothing; remove url, path, checksum, secretRef and certConfigMap, \
         or sourceType",
    )
}

pub(super) fn blank_needs_disk_size() -> Rule {
    on_spec(
        ".diskSize",
        &format!("!{IS_BLANK} || has(self.diskSize)"),
        "diskSize is required with sourceType blank: it is the size of the empty disk, for example 24Gi",
    )
}

pub(super) fn source_type_fits_url() -> Rule {
    on_spec(
        ".sourceType",
        "!has(self.sourceType) || !has(self.url) || self.sourceType == 'blank' \
         || (self.sourceType == 'registry' && (self.url.startsWith('docker://') || self.url.startsWith('oci://'))) \
         || (self.sourceType == 's3' && (self.url.startsWith('s3://') || self.url.startsWith('https://') \
             || self.url.startsWith('http://'))) \
         || (self.sourceType == 'http' && (self.url.startsWith('https://') || self.url.startsWith('http://')))",
        "sourceType and url contradict each other: registry goes with docker:// or oci://, s3 with s3:// or https://, \
         http with https:// or http://; remove sourceType to infer it, or correct the url",
    )
}

pub(super) fn s3_names_an_object() -> Rule {
    on_spec(
        ".url",
        &format!("!{IS_S3} || !has(self.url) || self.url.matches('^[a-z0-9]+://[^/]+/[^?#]*[^/?#]($|[?#])')"),
        "url names no S3 object; write s3://BUCKET/KEY, https://HOST/BUCKET/KEY or https://BUCKET.HOST/KEY",
    )
}

pub(super) fn region_is_for_s3() -> Rule {
    on_spec(
        ".region",
        &format!("!has(self.region) || {IS_S3}"),
        "region belongs to S3 alone; add sourceType: s3 if the https url is an S3-compatible store, or remove region",
    )
}

pub(super) fn preload_needs_disk_size() -> Rule {
    on_spec(
        ".diskSize",
        "!has(self.storageClass) || has(self.diskSize)",
        "diskSize is required with storageClass: it is what the golden claim requests, for example 24Gi",
    )
}

pub(super) fn snapshot_needs_storage_class() -> Rule {
    on_spec(
        ".snapshotClass",
        "!has(self.snapshotClass) || has(self.storageClass)",
        "snapshotClass needs storageClass: the snapshot is taken of the golden claim; set storageClass, or remove \
         snapshotClass",
    )
}

/// Removal is refused with shrinking: removing and setting anew would be the way around.
pub(super) fn disk_size_never_shrinks() -> Rule {
    on_spec(
        ".diskSize",
        "!has(oldSelf.diskSize) || (has(self.diskSize) && (!isQuantity(string(self.diskSize)) \
         || !isQuantity(string(oldSelf.diskSize)) \
         || quantity(string(self.diskSize)).compareTo(quantity(string(oldSelf.diskSize))) >= 0))",
        "diskSize never shrinks and is never removed: claims may have been cut from the larger disk; make a new \
         VMDiskImage for a smaller one",
    )
    .reason(Reason::FieldValueForbidden)
}

/// A claim's class is immutable, so the golden claim of the old class would hold the name against one of the new. The
/// two steps that the message names are the way, and each of them is safe by itself: removal only stops the preload.
pub(super) fn storage_class_does_not_change() -> Rule {
    on_spec(
        ".storageClass",
        "!has(oldSelf.storageClass) || !has(self.storageClass) || self.storageClass == oldSelf.storageClass",
        "storageClass does not change: the golden claim exists in the old class; make a new VMDiskImage, or remove \
         storageClass, delete the golden claim and snapshot, then set it again",
    )
    .reason(Reason::FieldValueForbidden)
}

pub(super) fn name_is_immutable() -> Rule {
    on_spec(
        ".name",
        "has(self.name) == has(oldSelf.name) && (!has(self.name) || self.name == oldSelf.name)",
        "name is immutable: golden claims and snapshots bear it, and VMs refer to them; make a new VMDiskImage",
    )
    .reason(Reason::FieldValueForbidden)
}

// Its properties.

/// A registry reference is `HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]` as in the OCI distribution specification; a bucket
/// has S3's letters; everything else needs a host alone.
pub(super) fn url_shape() -> Rule {
    Rule::new(
        "self.startsWith('docker://') || self.startsWith('oci://') \
         ? self.matches('^[a-z]+://[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[a-f0-9]{64}|@sha512:[a-f0-9]{128})?$') \
         : self.startsWith('s3://') \
         ? self.matches('^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^ [:cntrl:]]+$') \
         : self.matches('^https?://([A-Za-z0-9._~-]+|[^/?# ]*@[A-Za-z0-9._~-]+|\\\\[[0-9A-Fa-f:.]+\\\\])(:[0-9]+)?(/[^ #[:cntrl:]]*)?$')",
    )
    .message(
        "url is malformed; write docker://HOST/REPOSITORY:TAG[@sha256:DIGEST], oci://HOST/REPOSITORY:TAG[@sha256:DIGEST], \
         s3://BUCKET/KEY, https://HOST/PATH or http://HOST/PATH (registry hosts in full: docker.io/library/…)",
    )
}

pub(super) fn url_without_credentials() -> Rule {
    Rule::new("!self.matches('^https?://[^/?#]*@')").message(
        "url carries credentials, which everybody who may read the image would see; put username and password into a \
         Secret and name it in secretRef",
    )
}

pub(super) fn positive_quantity() -> Rule {
    Rule::new("isQuantity(string(self)) && quantity(string(self)).isGreaterThan(quantity('0'))")
        .message("diskSize must be a quantity of bytes greater than 0, for example 24Gi")
}

pub(super) fn checksum_form() -> Rule {
    Rule::new("self.matches('^(sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})$')").message(
        "checksum must be sha256: with 64 or sha512: with 128 lower-case hexadecimal digits, as sha256sum prints them",
    )
}

pub(super) fn relative_path() -> Rule {
    Rule::new("!self.startsWith('/') && !self.endsWith('/') && !self.matches('(^|/)[.]{0,2}(/|$)')").message(
        "path must be relative to the root of the container image or archive and name a file, without '.', '..' or empty \
         segments, for example disk/fedora.qcow2",
    )
}

pub(super) fn region_form() -> Rule {
    Rule::new("self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')")
        .message("region must be a region's name in lower case, for example us-gov-west-1")
}

pub(super) fn object_name() -> Rule {
    Rule::new("!format.dns1123Subdomain().validate(self).hasValue()").message(
        "must be the name of an object: lower-case letters, digits, '-' and '.', beginning and ending with a letter or \
         digit, at most 253 characters",
    )
}
