//! Everything that the machinery itself says to users: one reason for one cause, and what to do about it.

use crate::populator::Notice;

fn warning(reason: &'static str, message: String) -> Notice {
    Notice { warning: true, reason, message }
}

fn normal(reason: &'static str, message: String) -> Notice {
    Notice { warning: false, reason, message }
}

/// The reason of what a claim is told in the end.
pub(crate) const FINISHED: &str = "PopulatorFinished";

pub(crate) fn finished(kind: &str, namespace: &str, name: &str) -> Notice {
    normal(FINISHED, format!("Populated from {kind} {namespace}/{name}."))
}

pub(crate) fn source_not_found(kind: &str, namespace: &str, name: &str) -> Notice {
    warning(
        "PopulatorDataSourceNotFound",
        format!("{kind} {namespace}/{name} does not exist. The claim waits until it is created."),
    )
}

pub(crate) fn no_namespace(annotation: &str, found: &str) -> Notice {
    warning(
        "InvalidNamespace",
        format!(
            "The claim's annotation {annotation} (or its dataSourceRef.namespace) is {found:?}, which no namespace can be \
             called. Set it to the name of the source's namespace."
        ),
    )
}

pub(crate) fn not_granted(kind: &str, namespace: &str, name: &str, from: &str) -> Notice {
    warning(
        "ReferenceNotGranted",
        format!(
            "No ReferenceGrant in namespace {namespace} lets PersistentVolumeClaims of namespace {from} use {kind} \
             {name}. Create one there, with from PersistentVolumeClaim in {from} and to {kind}."
        ),
    )
}

pub(crate) fn no_storage_class() -> Notice {
    warning(
        "StorageClassMissing",
        "The claim names no storage class, and the cluster has set no default one on it. Mark a StorageClass as the \
         default, or create the claim again with storageClassName."
            .into(),
    )
}

pub(crate) fn static_claim() -> Notice {
    warning(
        "StorageClassMissing",
        "storageClassName is \"\", which asks for a volume that exists already; a volume to be filled must be \
         provisioned. Create the claim again with the name of a StorageClass."
            .into(),
    )
}

pub(crate) fn class_not_found(class: &str) -> Notice {
    warning(
        "StorageClassNotFound",
        format!("StorageClass {class} does not exist. The claim waits until it is created."),
    )
}

pub(crate) fn not_csi(class: &str, provisioner: &str) -> Notice {
    warning(
        "ProvisionerUnsupported",
        format!(
            "StorageClass {class} provisions with {provisioner}, which is built into Kubernetes and cannot leave a \
             claim to a populator. Use a class whose provisioner is a CSI driver."
        ),
    )
}

pub(crate) fn no_driver(class: &str, provisioner: &str) -> Notice {
    warning(
        "ProvisionerUnsupported",
        format!(
            "StorageClass {class} provisions with {provisioner}, of which there is no CSIDriver object. Install the \
             driver, or use a class whose provisioner is a CSI driver: others may hand out an empty volume."
        ),
    )
}

pub(crate) fn secret_template(class: &str, parameter: &str, value: &str) -> Notice {
    warning(
        "SecretTemplateUnsupported",
        format!(
            "Parameter {parameter} of StorageClass {class} is {value}, which would name the Secret of the temporary \
             claim instead of this one's. Use a class whose secrets do not depend on the claim."
        ),
    )
}

pub(crate) fn selector() -> Notice {
    warning(
        "SelectorUnsupported",
        "The claim has a selector, which no CSI provisioner accepts. Create it again without.".into(),
    )
}

pub(crate) fn read_only(modes: &[String]) -> Notice {
    warning(
        "AccessModeUnsupported",
        format!(
            "The claim's access modes ({}) do not let anybody write the data into it. Create it again with \
             ReadWriteOnce, ReadWriteMany or ReadWriteOncePod among them.",
            modes.join(", ")
        ),
    )
}

pub(crate) fn prime_refused(prime: &str, message: &str) -> Notice {
    warning(
        "PopulatorPVCPrimeCreationError",
        format!(
            "The API server refused the temporary claim {prime}: {message}. Raise what limits it; it is tried again."
        ),
    )
}

pub(crate) fn prime_name_taken(namespace: &str, prime: &str) -> Notice {
    warning(
        "PopulatorPVCPrimeCreationError",
        format!(
            "A PersistentVolumeClaim {namespace}/{prime} exists that was not made for this claim, and its name is needed. \
             Delete it, or wait until it is gone."
        ),
    )
}

pub(crate) fn provisioning_failed(message: &str) -> Notice {
    warning(
        "ProvisioningFailed",
        format!(
            "No volume can be made for this claim, its provisioner says: {message}. Mend what it names; it tries again \
             by itself."
        ),
    )
}

pub(crate) fn volume_lost(volume: &str) -> Notice {
    warning(
        "VolumeLost",
        format!("Volume {volume}, which was being filled for this claim, is gone. The filling starts again."),
    )
}

pub(crate) fn volume_mismatch(volume: &str, why: &str) -> Notice {
    warning(
        "VolumeMismatch",
        format!(
            "Volume {volume} was provisioned for this claim, but could never be bound to it: {why}. It is kept, and \
             nothing else is tried. Mend the storage class, then create the claim again."
        ),
    )
}

pub(crate) fn volume_in_use(volume: &str, pod: &str) -> Notice {
    warning(
        "VolumeInUse",
        format!(
            "Pod {pod}, which is not the worker, had volume {volume} mounted before it was handed over, so nobody \
             knows what it holds. It is discarded, and the filling starts again. Do not mount the temporary claim."
        ),
    )
}

pub(crate) fn prime_named(prime: &str, pod: &str) -> Notice {
    warning(
        "VolumeInUse",
        format!("Pod {pod}, which is not the worker, names the temporary claim {prime}. Delete the pod to go on."),
    )
}

pub(crate) fn bound_elsewhere(volume: &str) -> Notice {
    warning(
        "BoundElsewhere",
        format!(
            "The claim was bound to volume {volume}, which was not filled for it and does not hold the data. What was \
             being filled is discarded. Create the claim again to have it filled."
        ),
    )
}

pub(crate) fn bind_deadline(volume: &str) -> Notice {
    warning(
        "BindDeadlineExceeded",
        format!(
            "Volume {volume} is filled and handed over, but the claim is still not bound to it. The volume is kept. \
             Look at the claim's other events and at kube-controller-manager; to start again, delete the claim."
        ),
    )
}
