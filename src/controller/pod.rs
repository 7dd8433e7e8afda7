//! The worker pod. Pure, and infallible but for an image that does not say what to do.
//!
//! Restricted Pod Security, no API token, nothing writable but volume and scratch, no listening port. It goes through
//! the scheduler like every pod: a node is asked for by affinity, so that taints, room and volume topology count.

mod job;

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Affinity, Capabilities, ConfigMapVolumeSource, Container, EmptyDirVolumeSource, EnvVar, LocalObjectReference,
        NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolumeClaim,
        PersistentVolumeClaimVolumeSource, Pod, PodSecurityContext, PodSpec, ProjectedVolumeSource,
        ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext, ServiceAccountTokenProjection,
        Toleration, Volume, VolumeDevice, VolumeMount, VolumeProjection,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{ObjectMeta, OwnerReference},
    },
};
use kube::{Resource, ResourceExt};
use populator_crd::{
    names,
    v1alpha1::{SpecError, VMDiskImage, VMDiskSyncStatus},
};
use vmdisk_wire::{Job, Operation, QEMU_ID, TargetKind};
use volume_populator::ClaimRef;

pub use job::{Order, job, needs_scratch, target_kind};

use crate::{golden::observe::GENERATION_ANNOTATION, policy::Policy, worker::CONTAINER};

/// Annotation on a worker: the attempt that it is.
pub const ATTEMPT_ANNOTATION: &str = "pelotech.ot/attempt";

const TARGET: &str = "target";
const SECRET: &str = "secret";
const CERTIFICATES: &str = "certificates";
const SCRATCH: &str = "scratch";
const CLOUD_TOKEN: &str = "cloud-token";

/// Where AWS' own webhook puts the token, so that its settings and ours agree (EKS, "IAM roles for service accounts").
const CLOUD_TOKEN_DIRECTORY: &str = "/var/run/secrets/eks.amazonaws.com/serviceaccount";
const CLOUD_TOKEN_FILE: &str = "token";
const CLOUD_AUDIENCE: &str = "sts.amazonaws.com";
const CLOUD_TOKEN_SECONDS: i64 = 24 * 60 * 60;

/// A worker that is told to stop loses nothing by stopping at once: what it wrote is not visible yet.
const GRACE_SECONDS: i64 = 5;

/// What a worker is for.
#[derive(Clone, Copy, Debug)]
pub enum Task<'a> {
    /// Fill the prime.
    Fill(Order<'a>),
    /// Ask whether the source can be had; no volume, and so nothing that could be written.
    Inspect(Order<'a>),
    /// Grow what was cut from golden data to the size of the claim, and see that the disk is there; no source.
    Finish(Order<'a>),
}

impl<'a> Task<'a> {
    const fn order(self) -> Order<'a> {
        match self {
            Self::Fill(order) | Self::Inspect(order) | Self::Finish(order) => order,
        }
    }

    /// Whether there is a volume to be written.
    const fn has_volume(self) -> bool {
        matches!(self, Self::Fill(_) | Self::Finish(_))
    }

    /// Whether there is a source to be asked.
    const fn has_source(self) -> bool {
        matches!(self, Self::Fill(_) | Self::Inspect(_))
    }
}

/// The pod that asks what an image's source holds, for the image itself and no claim.
///
/// # Errors
///
/// [`SpecError`] when the image's spec does not say what to do.
pub fn inspector(image: &VMDiskImage, policy: &Policy, worker_image: &str) -> Result<Pod, SpecError> {
    let (namespace, uid) = (image.namespace().unwrap_or_default(), image.uid().unwrap_or_default());
    let (claim, status) = (PersistentVolumeClaim::default(), VMDiskSyncStatus::default());
    let order = Order { image, claim: &claim, status: &status, policy, prime_uid: None };
    let claim_ref = ClaimRef { namespace: namespace.clone(), name: image.name_any(), uid };
    let pod = WorkerPod {
        task: Task::Inspect(order),
        claim_ref: &claim_ref,
        namespace: &namespace,
        owner: image.controller_owner_ref(&()).unwrap_or_default(),
        node: None,
        image: worker_image,
    };
    let mut pod = pod.build()?;
    let meta = &mut pod.metadata;
    // It serves no claim.
    meta.labels
        .get_or_insert_default()
        .retain(|key, _| ![names::CLAIM_UID_LABEL, names::CLAIM_NAMESPACE_LABEL].contains(&key.as_str()));
    meta.annotations = Some(owned([
        (names::IMAGE_NAME_ANNOTATION, image.name_any()),
        (GENERATION_ANNOTATION, image.metadata.generation.unwrap_or_default().to_string()),
    ]));
    Ok(pod)
}

/// What a worker pod is made from.
#[derive(Clone, Debug)]
pub struct WorkerPod<'a> {
    /// What to do.
    pub task: Task<'a>,
    /// The claim's names.
    pub claim_ref: &'a ClaimRef,
    /// The namespace of image, sync, prime and worker.
    pub namespace: &'a str,
    /// The sync, as the pod's owner.
    pub owner: OwnerReference,
    /// The node that was selected for the claim's consumer.
    pub node: Option<&'a str>,
    /// The worker's container image.
    pub image: &'a str,
}

impl WorkerPod<'_> {
    /// Builds the pod.
    ///
    /// # Errors
    ///
    /// [`SpecError`] when the image's spec does not say what to do.
    pub fn build(&self) -> Result<Pod, SpecError> {
        let order = self.task.order();
        let policy = order.policy;
        let spec = &order.image.spec;
        let job = match self.task {
            Task::Fill(order) => job(order)?,
            Task::Inspect(order) => Job { operation: Operation::Inspect, target: None, ..job(order)? },
            Task::Finish(order) => Job { operation: Operation::Finish, ..job(order)? },
        };
        let (volumes, mounts, devices) = self.volumes();
        let identity = spec.service_account_name.clone().filter(|_| self.task.has_source());
        Ok(Pod {
            metadata: self.metadata(),
            spec: Some(PodSpec {
                restart_policy: Some("Never".into()),
                active_deadline_seconds: i64::try_from(policy.attempt_timeout.as_secs()).ok(),
                termination_grace_period_seconds: Some(GRACE_SECONDS),
                automount_service_account_token: Some(false),
                service_account_name: identity,
                enable_service_links: Some(false),
                security_context: Some(pod_security()),
                affinity: self.node.filter(|_| self.task.has_volume()).map(affinity),
                node_selector: some(policy.worker.node_selector.clone()),
                tolerations: Some(self.tolerations()),
                priority_class_name: policy.worker.priority_class.clone(),
                image_pull_secrets: some(pull_secrets(&policy.worker.image_pull_secrets)),
                volumes: Some(volumes),
                containers: vec![Container {
                    name: CONTAINER.into(),
                    image: Some(self.image.to_owned()),
                    image_pull_policy: Some("IfNotPresent".into()),
                    command: Some(vec!["vmdisk-worker".into(), "run".into()]),
                    env: Some(self.environment(&job)),
                    resources: Some(policy.worker.resources.clone().unwrap_or_else(default_resources)),
                    security_context: Some(container_security()),
                    termination_message_policy: Some("File".into()),
                    volume_mounts: some(mounts),
                    volume_devices: some(devices),
                    ..Container::default()
                }],
                ..PodSpec::default()
            }),
            status: None,
        })
    }

    fn metadata(&self) -> ObjectMeta {
        let image_uid = self.task.order().image.metadata.uid.clone().unwrap_or_default();
        let labels = [
            ("app.kubernetes.io/name", "vmdisk".to_owned()),
            (names::COMPONENT_LABEL, names::WORKER_COMPONENT.to_owned()),
            (names::MANAGED_BY_LABEL, names::MANAGER.to_owned()),
            (names::CLAIM_UID_LABEL, self.claim_ref.uid.clone()),
            (names::CLAIM_NAMESPACE_LABEL, self.claim_ref.namespace.clone()),
            (names::IMAGE_UID_LABEL, image_uid),
        ];
        let annotations = [
            (names::CLAIM_NAME_ANNOTATION, self.claim_ref.name.clone()),
            (ATTEMPT_ANNOTATION, self.task.order().status.attempt.to_string()),
        ];
        ObjectMeta {
            name: Some(match self.task {
                Task::Fill(_) | Task::Finish(_) => names::worker(&self.claim_ref.uid),
                Task::Inspect(_) => names::inspector(&self.claim_ref.uid),
            }),
            namespace: Some(self.namespace.to_owned()),
            labels: Some(owned(labels)),
            annotations: Some(owned(annotations)),
            owner_references: Some(vec![self.owner.clone()]),
            ..ObjectMeta::default()
        }
    }

    fn volumes(&self) -> (Vec<Volume>, Vec<VolumeMount>, Vec<VolumeDevice>) {
        let spec = &self.task.order().image.spec;
        let mut volumes = Vec::new();
        let mut mounts = Vec::new();
        let mut devices = Vec::new();
        if self.task.has_volume() {
            volumes.push(Volume {
                name: TARGET.into(),
                persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                    claim_name: names::prime(&self.claim_ref.uid),
                    read_only: None,
                }),
                ..Volume::default()
            });
            match target_kind(self.task.order().claim) {
                TargetKind::Filesystem => mounts.push(mount(TARGET, vmdisk_wire::TARGET_DIRECTORY, false)),
                TargetKind::Block => {
                    devices.push(VolumeDevice { name: TARGET.into(), device_path: vmdisk_wire::TARGET_DEVICE.into() });
                }
            }
        }
        if !self.task.has_source() {
            return (volumes, mounts, devices);
        }
        // Secret and ConfigMap are optional: a pod that waits for one that is missing says nothing to anybody, while a
        // worker that finds none says so and ends.
        if let Some(secret) = &spec.secret_ref {
            volumes.push(Volume {
                name: SECRET.into(),
                secret: Some(SecretVolumeSource {
                    secret_name: Some(secret.clone()),
                    optional: Some(true),
                    default_mode: Some(0o440),
                    ..SecretVolumeSource::default()
                }),
                ..Volume::default()
            });
            mounts.push(mount(SECRET, vmdisk_wire::SECRET_DIRECTORY, true));
        }
        if let Some(certificates) = &spec.cert_config_map {
            volumes.push(Volume {
                name: CERTIFICATES.into(),
                config_map: Some(ConfigMapVolumeSource {
                    name: certificates.clone(),
                    optional: Some(true),
                    ..ConfigMapVolumeSource::default()
                }),
                ..Volume::default()
            });
            mounts.push(mount(CERTIFICATES, vmdisk_wire::CERTIFICATES_DIRECTORY, true));
        }
        if needs_scratch(spec) {
            volumes.push(Volume {
                name: SCRATCH.into(),
                empty_dir: Some(EmptyDirVolumeSource {
                    medium: None,
                    size_limit: Some(Quantity(self.task.order().policy.scratch_size.to_string())),
                    ..EmptyDirVolumeSource::default()
                }),
                ..Volume::default()
            });
            mounts.push(mount(SCRATCH, vmdisk_wire::SCRATCH_DIRECTORY, false));
        }
        if spec.service_account_name.is_some() {
            volumes.push(cloud_token());
            mounts.push(mount(CLOUD_TOKEN, CLOUD_TOKEN_DIRECTORY, true));
        }
        (volumes, mounts, devices)
    }

    fn environment(&self, job: &vmdisk_wire::Job) -> Vec<EnvVar> {
        let worker = &self.task.order().policy.worker;
        // A job is plain data; it always has a JSON form.
        let job = serde_json::to_string(job).unwrap_or_default();
        let mut environment = vec![variable(vmdisk_wire::JOB_ENV, &job)];
        for (name, value) in
            [("HTTP_PROXY", &worker.http_proxy), ("HTTPS_PROXY", &worker.https_proxy), ("NO_PROXY", &worker.no_proxy)]
        {
            environment.extend(value.as_deref().map(|value| variable(name, value)));
        }
        if self.task.has_source() && self.task.order().image.spec.service_account_name.is_some() {
            let path = format!("{CLOUD_TOKEN_DIRECTORY}/{CLOUD_TOKEN_FILE}");
            environment.push(variable("AWS_WEB_IDENTITY_TOKEN_FILE", &path));
        }
        environment
    }

    /// Two that bound how long a pod stays on a node that is out of sight, and the policy's. In this order: of those that
    /// match a taint the first counts (`GetMatchingTolerations` of component-helpers), and a blanket one of the policy's
    /// has no bound. Without ours admission would add the same with five minutes.
    fn tolerations(&self) -> Vec<Toleration> {
        let policy = self.task.order().policy;
        let lost = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"].map(|key| Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            effect: Some("NoExecute".into()),
            toleration_seconds: i64::try_from(policy.node_lost_timeout.as_secs()).ok(),
            value: None,
        });
        lost.into_iter().chain(policy.worker.tolerations.iter().cloned()).collect()
    }
}

fn affinity(node: &str) -> Affinity {
    let by_name = NodeSelectorRequirement {
        key: "metadata.name".into(),
        operator: "In".into(),
        values: Some(vec![node.to_owned()]),
    };
    Affinity {
        node_affinity: Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                node_selector_terms: vec![NodeSelectorTerm {
                    match_fields: Some(vec![by_name]),
                    match_expressions: None,
                }],
            }),
            ..NodeAffinity::default()
        }),
        ..Affinity::default()
    }
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(i64::from(QEMU_ID)),
        run_as_group: Some(i64::from(QEMU_ID)),
        fs_group: Some(i64::from(QEMU_ID)),
        fs_group_change_policy: Some("OnRootMismatch".into()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
        ..SecurityContext::default()
    }
}

/// Streaming takes little whatever the size of the disk; the limit leaves room for a conversion.
fn default_resources() -> ResourceRequirements {
    let quantity = |name: &str, value: &str| (name.to_owned(), Quantity(value.to_owned()));
    ResourceRequirements {
        requests: Some(BTreeMap::from([quantity("cpu", "50m"), quantity("memory", "64Mi")])),
        limits: Some(BTreeMap::from([quantity("memory", "512Mi")])),
        claims: None,
    }
}

fn cloud_token() -> Volume {
    Volume {
        name: CLOUD_TOKEN.into(),
        projected: Some(ProjectedVolumeSource {
            default_mode: Some(0o440),
            sources: Some(vec![VolumeProjection {
                service_account_token: Some(ServiceAccountTokenProjection {
                    audience: Some(CLOUD_AUDIENCE.into()),
                    expiration_seconds: Some(CLOUD_TOKEN_SECONDS),
                    path: CLOUD_TOKEN_FILE.into(),
                    ..ServiceAccountTokenProjection::default()
                }),
                ..VolumeProjection::default()
            }]),
            ..ProjectedVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

fn pull_secrets(names: &[String]) -> Vec<LocalObjectReference> {
    names.iter().map(|name| LocalObjectReference { name: name.clone() }).collect()
}

fn owned<const N: usize>(pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Empty lists and maps are left out.
fn some<C>(collection: C) -> Option<C>
where
    C: IntoIterator + Clone + Default + PartialEq,
{
    (collection != C::default()).then_some(collection)
}

#[cfg(test)]
mod tests;
