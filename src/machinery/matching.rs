//! Whether the PV controller would bind a claim to a volume that is reserved for it.
//!
//! The same conditions as in its `FindMatchingVolume`, which holds for pre-bound volumes too (the class is not compared
//! there). A volume that fails one of them would stay reserved for ever and never be bound.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};

use crate::quantity::bytes;

/// Says what keeps them apart.
pub(crate) fn check(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Result<(), String> {
    let wanted = claim.spec.clone().unwrap_or_default();
    let offered = volume.spec.clone().unwrap_or_default();

    let request = wanted.resources.and_then(|resources| resources.requests?.remove("storage"));
    let capacity = offered.capacity.and_then(|mut capacity| capacity.remove("storage"));
    if let Some(request) = request {
        let enough = capacity.as_ref().and_then(bytes).zip(bytes(&request)).is_some_and(|(has, needs)| has >= needs);
        if !enough {
            let capacity = capacity.map_or_else(|| "no capacity".into(), |capacity| capacity.0);
            return Err(format!("it has {capacity}, the claim requests {}", request.0));
        }
    }
    let mode = |mode: Option<String>| mode.unwrap_or_else(|| "Filesystem".into());
    let (has, needs) = (mode(offered.volume_mode), mode(wanted.volume_mode));
    if has != needs {
        return Err(format!("its volumeMode is {has}, the claim's is {needs}"));
    }
    let modes = offered.access_modes.unwrap_or_default();
    if let Some(missing) = wanted.access_modes.iter().flatten().find(|mode| !modes.contains(mode)) {
        return Err(format!("its access modes ({}) do not include the claim's {missing}", modes.join(", ")));
    }
    let attributes = |class: Option<String>| class.unwrap_or_default();
    let has = attributes(offered.volume_attributes_class_name);
    let needs = attributes(wanted.volume_attributes_class_name);
    if has != needs {
        return Err(format!("its volumeAttributesClassName is \"{has}\", the claim's is \"{needs}\""));
    }
    Ok(())
}

#[cfg(test)]
#[path = "matching_tests.rs"]
mod tests;
