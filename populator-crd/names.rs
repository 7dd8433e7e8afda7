//! Labels, annotations and object names: how our objects find each other.
//!
//! A claim's name reaches 253 characters and a label's value 63, so what is selected by are UIDs and namespaces
//! (63 at most), and names travel in annotations.

/// Label on every object that serves a claim: the claim's UID.
pub const CLAIM_UID_LABEL: &str = "pelotech.ot/claim-uid";

/// Label on every object that serves a claim: the claim's namespace.
pub const CLAIM_NAMESPACE_LABEL: &str = "pelotech.ot/claim-namespace";

/// Annotation on every object that serves a claim: the claim's name, too long for a label.
pub const CLAIM_NAME_ANNOTATION: &str = "pelotech.ot/claim-name";

/// Label on every object that serves a claim: the UID of the image it is filled from.
pub const IMAGE_UID_LABEL: &str = "pelotech.ot/image-uid";

/// Annotation on a *user's* claim: the namespace of the image that its `dataSourceRef` names, where that is not the
/// claim's own. Works on every cluster, while `dataSourceRef.namespace` needs an alpha feature gate of the API server
/// (without it the API server drops the whole reference and the claim is provisioned empty). Either way a
/// `ReferenceGrant` in the image's namespace has to allow it.
pub const IMAGE_NAMESPACE_ANNOTATION: &str = "pelotech.ot/image-namespace";

/// Annotation on a *user's* claim of a `WaitForFirstConsumer` class: `"true"` fills it without waiting for a consumer.
pub const BIND_IMMEDIATELY_ANNOTATION: &str = "pelotech.ot/bind-immediately";

/// Label on masters and on the snapshots that are taken of them. Its value is the image's UID.
pub const GOLDEN_LABEL: &str = "pelotech.ot/golden";

/// Annotation on masters and snapshots: the name of the image.
pub const IMAGE_NAME_ANNOTATION: &str = "pelotech.ot/image-name";

/// Annotation on masters and snapshots: the key of what they hold.
pub const KEY_ANNOTATION: &str = "pelotech.ot/key";

/// Label on worker pods that the worker's `NetworkPolicy` selects.
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";

/// The value of [`COMPONENT_LABEL`] on worker pods.
pub const WORKER_COMPONENT: &str = "worker";

/// Label that says who keeps an object.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";

/// The value of [`MANAGED_BY_LABEL`] and the field manager of every write of ours.
pub const MANAGER: &str = "vmdisk-controller";

/// The characters of a claim's name that a sync's name keeps.
const SYNC_NAME_KEEPS: usize = 200;

/// The characters of a UID or digest that a name carries.
const SHORT_ID: usize = 8;

/// The longest name of an object (DNS-1123 subdomain, Kubernetes object names).
const MAX_NAME: usize = 253;

/// The name of the prime: the temporary claim that the worker fills.
#[must_use]
pub fn prime(claim_uid: &str) -> String {
    format!("prime-{claim_uid}")
}

/// The name of the worker pod.
#[must_use]
pub fn worker(claim_uid: &str) -> String {
    format!("populate-{claim_uid}")
}

/// The name of the pod that asks a source whether it can be had (again), without a volume.
#[must_use]
pub fn inspector(claim_uid: &str) -> String {
    format!("inspect-{claim_uid}")
}

/// The name of a claim's sync: at most 200 characters of the claim's name, for humans, and the first 8 of its UID, so
/// that claims of one name (in several namespaces, or made again after a deletion) have syncs of their own.
#[must_use]
pub fn sync(claim_name: &str, claim_uid: &str) -> String {
    format!("{}-{}", cut(claim_name, SYNC_NAME_KEEPS), short(claim_uid))
}

/// The name of a master and of the snapshot that is taken of it: the golden name, and the first characters of the key of
/// what it holds, so that versions stand beside each other.
#[must_use]
pub fn master(golden_name: &str, key: &str) -> String {
    let room = MAX_NAME - SHORT_ID - 1;
    format!("{}-{}", cut(golden_name, room), short(key))
}

/// The first characters of a name, without a `-` or `.` at the end, which no part of a name may end with.
fn cut(name: &str, at_most: usize) -> &str {
    name[..name.floor_char_boundary(at_most)].trim_end_matches(['-', '.'])
}

fn short(uid: &str) -> &str {
    &uid[..uid.floor_char_boundary(SHORT_ID)]
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
