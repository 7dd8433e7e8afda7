//! Whether an image is to be preloaded, and what its classes can cut. Pure.

use k8s_openapi::api::storage::v1::StorageClass;
use populator_crd::v1alpha1::VMDiskImageSpec;

use super::snapshot::SnapshotClass;

/// Annotation on a `StorageClass`, as users of CDI know it: how volumes of the class are best copied.
const CLONE_STRATEGY: &str = "cdi.kubevirt.io/clone-strategy";

/// What is made of an image before anybody asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing.
    Nothing,
    /// The golden claim, straight from the source; why nothing is cut.
    Direct(String),
    /// A master, and what is cut from it.
    Cut(Cut),
}

/// How volumes are made from a master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// From a snapshot in this `VolumeSnapshotClass`.
    Snapshot(String),
    /// By cloning the master itself.
    Clone,
}

/// What the cluster has of what an image names.
#[derive(Clone, Debug, Default)]
pub struct Classes {
    /// The `StorageClass`.
    pub storage: Option<StorageClass>,
    /// The `VolumeSnapshotClass`.
    pub snapshot: Option<SnapshotClass>,
}

/// The plan.
#[must_use]
pub fn of(spec: &VMDiskImageSpec, classes: &Classes) -> Plan {
    let Some(class) = &spec.storage_class else { return Plan::Nothing };
    let Some(storage) = &classes.storage else {
        return Plan::Direct(format!("StorageClass {class} does not exist (yet)"));
    };
    if let Some(name) = &spec.snapshot_class {
        let Some(snapshot) = &classes.snapshot else {
            return Plan::Direct(format!(
                "VolumeSnapshotClass {name} does not exist (yet), or the cluster has no snapshot controller"
            ));
        };
        if snapshot.driver != storage.provisioner {
            return Plan::Direct(format!(
                "VolumeSnapshotClass {name} is of driver {}, StorageClass {class} of {}; name a snapshotClass of the \
                 same driver",
                snapshot.driver, storage.provisioner
            ));
        }
        return Plan::Cut(Cut::Snapshot(name.clone()));
    }
    let annotations = storage.metadata.annotations.as_ref();
    if annotations.and_then(|annotations| annotations.get(CLONE_STRATEGY)).is_some_and(|value| value == "csi-clone") {
        return Plan::Cut(Cut::Clone);
    }
    Plan::Direct(format!(
        "no snapshotClass is set, and StorageClass {class} is not annotated {CLONE_STRATEGY}: csi-clone"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn spec(storage: Option<&str>, snapshot: Option<&str>) -> VMDiskImageSpec {
        VMDiskImageSpec {
            storage_class: storage.map(Into::into),
            snapshot_class: snapshot.map(Into::into),
            ..VMDiskImageSpec::default()
        }
    }

    fn classes(clones: Option<&str>, driver: Option<&str>) -> Classes {
        let annotations = clones.map(|strategy| json!({CLONE_STRATEGY: strategy}));
        let class = json!({"metadata": {"name": "gp3", "annotations": annotations}, "provisioner": "ebs"});
        let snapshot = driver.map(|driver| {
            from_value(json!({"apiVersion": "v1", "kind": "VolumeSnapshotClass", "metadata": {},
                              "driver": driver, "deletionPolicy": "Delete"}))
            .unwrap()
        });
        Classes { storage: Some(from_value(class).unwrap()), snapshot }
    }

    #[test]
    fn what_is_made_goes_by_what_the_classes_can_do() {
        let snapshots = || Plan::Cut(Cut::Snapshot("snap".into()));
        for (spec, classes, expected) in [
            (spec(None, None), Classes::default(), Plan::Nothing),
            (spec(Some("gp3"), Some("snap")), classes(None, Some("ebs")), snapshots()),
            (spec(Some("gp3"), Some("snap")), classes(Some("csi-clone"), Some("ebs")), snapshots()),
            (spec(Some("gp3"), None), classes(Some("csi-clone"), None), Plan::Cut(Cut::Clone)),
        ] {
            assert_eq!(of(&spec, &classes), expected, "{spec:?}");
        }
    }

    #[test]
    fn what_cannot_be_cut_is_filled_and_the_reason_said() {
        for (spec, classes, expected) in [
            (spec(Some("gp3"), None), Classes::default(), "StorageClass gp3 does not exist"),
            (spec(Some("gp3"), Some("snap")), classes(None, None), "VolumeSnapshotClass snap does not exist"),
            (spec(Some("gp3"), Some("snap")), classes(None, Some("other")), "is of driver other"),
            (spec(Some("gp3"), None), classes(Some("copy"), None), "not annotated"),
            (spec(Some("gp3"), None), classes(None, None), "not annotated"),
        ] {
            let plan = of(&spec, &classes);
            assert!(matches!(&plan, Plan::Direct(why) if why.contains(expected)), "{plan:?}");
        }
    }
}
