//! Whether a claim can be filled at all, judged before the first byte is fetched or stored.

use k8s_openapi::api::{core::v1::PersistentVolumeClaim, storage::v1::StorageClass};

use crate::{notices, observed::Class, populator::Notice};

/// What of a claim's class a driver may resolve from the claim that it provisions for. That is the prime, so such a
/// Secret would not be the claim's.
const CLAIM_NAMESPACE: &str = "${pvc.namespace}";
const OF_THE_CLAIM: [&str; 2] = ["${pvc.name}", "${pvc.annotations["];

/// Refuses a claim that could never be bound to what is filled for it, or that nobody could fill.
pub(crate) fn check(claim: &PersistentVolumeClaim, class: &Class, crosses_namespaces: bool) -> Result<(), Notice> {
    let spec = claim.spec.clone().unwrap_or_default();
    let class_name = match spec.storage_class_name.as_deref() {
        None => return Err(notices::no_storage_class()),
        Some("") => return Err(notices::static_claim()),
        Some(name) => name,
    };
    if spec.selector.is_some() {
        return Err(notices::selector());
    }
    let modes = spec.access_modes.unwrap_or_default();
    if modes.iter().all(|mode| mode == "ReadOnlyMany") {
        return Err(notices::read_only(&modes));
    }
    let Class::Found { class, has_driver } = class else {
        return Err(notices::class_not_found(class_name));
    };
    if class.provisioner.starts_with("kubernetes.io/") {
        return Err(notices::not_csi(class_name, &class.provisioner));
    }
    if !has_driver {
        return Err(notices::no_driver(class_name, &class.provisioner));
    }
    match claim_secret(class, crosses_namespaces) {
        Some((parameter, value)) => Err(notices::secret_template(class_name, parameter, value)),
        None => Ok(()),
    }
}

/// A parameter of the class that picks a Secret by the claim.
fn claim_secret(class: &StorageClass, crosses_namespaces: bool) -> Option<(&str, &str)> {
    let parameters = class.parameters.as_ref()?;
    parameters.iter().map(|(key, value)| (key.as_str(), value.as_str())).find(|(key, value)| {
        let secret = key.starts_with("csi.storage.k8s.io/")
            && (key.ends_with("-secret-name") || key.ends_with("-secret-namespace"));
        secret
            && (OF_THE_CLAIM.iter().any(|template| value.contains(template))
                || (crosses_namespaces && value.contains(CLAIM_NAMESPACE)))
    })
}

#[cfg(test)]
#[path = "preflight_tests.rs"]
mod tests;
