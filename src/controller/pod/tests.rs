use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use populator_crd::v1alpha1::{DiskFormat, SourceFacts, VMDiskImage, VMDiskSyncStatus};
use serde_json::{Value, json};

use super::*;
use crate::policy::{AllowedSource, Policy, WorkerPolicy};

fn image(spec: &Value) -> VMDiskImage {
    serde_json::from_value(json!({
        "apiVersion": "pelotech.ot/v1alpha1", "kind": "VMDiskImage",
        "metadata": {"name": "image", "namespace": "images", "uid": "image-uid", "generation": 3},
        "spec": spec,
    }))
    .unwrap()
}

fn claim(volume_mode: &str) -> PersistentVolumeClaim {
    serde_json::from_value(json!({
        "metadata": {"name": "claim", "namespace": "labs"},
        "spec": {"volumeMode": volume_mode, "resources": {"requests": {"storage": "2Gi"}}},
    }))
    .unwrap()
}

fn status(attempt: i32) -> VMDiskSyncStatus {
    VMDiskSyncStatus { attempt, image_generation: Some(3), ..VMDiskSyncStatus::default() }
}

fn build(image: &VMDiskImage, claim: &PersistentVolumeClaim, policy: &Policy, node: Option<&str>) -> Pod {
    let claim_ref = ClaimRef { namespace: "labs".into(), name: "claim".into(), uid: "claim-uid".into() };
    let owner = OwnerReference {
        api_version: "pelotech.ot/v1alpha1".into(),
        kind: "VMDiskSync".into(),
        name: "claim-claim-ui".into(),
        uid: "sync-uid".into(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    let order = Order { image, claim, status: &status(1), policy, prime_uid: Some("prime-uid") };
    let task = Task::Fill(order);
    WorkerPod { task, claim_ref: &claim_ref, namespace: "images", owner, node, image: "worker:1" }.build().unwrap()
}

/// The pod as a manifest, its job read back into a structure of its own.
fn shown(pod: &Pod) -> (Value, Value) {
    let mut value = serde_json::to_value(pod).unwrap();
    let variable = &mut value["spec"]["containers"][0]["env"][0]["value"];
    let job = serde_json::from_str(variable.as_str().unwrap()).unwrap();
    *variable = json!("(the job)");
    (value, job)
}

#[test]
fn the_least_worker() {
    let image = image(&json!({"url": "https://host/disk.raw", "format": "raw"}));
    let (pod, job) = shown(&build(&image, &claim("Filesystem"), &Policy::default(), None));
    insta::assert_yaml_snapshot!("the_least_worker", pod);
    insta::assert_yaml_snapshot!("the_least_job", job);
}

#[test]
fn a_worker_with_everything() {
    let image = image(&json!({
        "url": "s3://bucket/disk.qcow2", "secretRef": "credentials", "certConfigMap": "authorities",
        "region": "eu-west-1", "checksum": "sha256:00", "path": "disk/a.qcow2", "serviceAccountName": "reader",
    }));
    let policy = Policy {
        bandwidth_per_worker: Some(1 << 20),
        allowed_sources: vec![AllowedSource::parse("s3://bucket").unwrap()],
        refused_networks: vec!["10.0.0.0/8".into()],
        worker: WorkerPolicy {
            resources: Some(ResourceRequirements::default()),
            node_selector: BTreeMap::from([("disktype".to_owned(), "ssd".to_owned())]),
            tolerations: vec![Toleration { key: Some("dedicated".into()), ..Toleration::default() }],
            priority_class: Some("low".into()),
            image_pull_secrets: vec!["pull".into()],
            http_proxy: Some("http://proxy".into()),
            https_proxy: Some("http://secure-proxy".into()),
            no_proxy: Some(".svc".into()),
        },
        ..Policy::default()
    };
    let (pod, job) = shown(&build(&image, &claim("Block"), &policy, Some("node-1")));
    insta::assert_yaml_snapshot!("a_worker_with_everything", pod);
    insta::assert_yaml_snapshot!("a_job_with_everything", job);
}

#[test]
fn nothing_of_a_blank_disk_is_fetched() {
    let image = image(&json!({"sourceType": "blank", "diskSize": "1Gi"}));
    let (pod, job) = shown(&build(&image, &claim("Filesystem"), &Policy::default(), None));
    assert_eq!(job["source"], json!({"sourceType": "blank", "format": "auto"}));
    assert_eq!(pod["spec"]["volumes"].as_array().map(Vec::len), Some(1), "no scratch either");
}

#[test]
fn a_retry_is_pinned_to_what_was_resolved_and_another_spec_is_not() {
    let image = image(&json!({"url": "https://host/disk.qcow2"}));
    let claim = claim("Filesystem");
    let policy = Policy::default();
    let resolved = Some(SourceFacts { digest: Some("\"etag\"".into()), ..SourceFacts::default() });
    for (generation, pinned) in [(Some(3), Some("\"etag\"")), (Some(2), None), (None, None)] {
        let status = VMDiskSyncStatus { source: resolved.clone(), image_generation: generation, ..status(2) };
        let job =
            job(Order { image: &image, claim: &claim, status: &status, policy: &policy, prime_uid: None }).unwrap();
        assert_eq!(job.source.pinned.as_deref(), pinned, "{generation:?}");
    }
}

#[test]
fn only_what_may_need_a_whole_file_gets_scratch() {
    for (format, scratch) in [
        (DiskFormat::Auto, true),
        (DiskFormat::Raw, false),
        (DiskFormat::Qcow2, true),
        (DiskFormat::Vmdk, true),
        (DiskFormat::Vhdx, true),
    ] {
        let mut image = image(&json!({"url": "https://host/disk"}));
        image.spec.format = format;
        assert_eq!(needs_scratch(&image.spec), scratch, "{format:?}");
    }
}

#[test]
fn a_job_survives_the_environment() {
    let image = image(&json!({"url": "https://host/disk.raw?signature=a%20b&c=\"d\""}));
    let pod = build(&image, &claim("Filesystem"), &Policy::default(), None);
    let text = pod.spec.unwrap().containers.remove(0).env.unwrap().remove(0).value.unwrap();
    let read = vmdisk_wire::Job::parse(&text).unwrap();
    assert_eq!(read.source.url, image.spec.url.unwrap());
}

#[test]
fn who_only_asks_has_no_volume_and_no_place() {
    let image = image(&json!({"url": "https://host/disk.qcow2", "secretRef": "credentials"}));
    let claim_ref = ClaimRef { namespace: "labs".into(), name: "claim".into(), uid: "claim-uid".into() };
    let (claim, status, policy) = (claim("Block"), status(1), Policy::default());
    let order = Order { image: &image, claim: &claim, status: &status, policy: &policy, prime_uid: None };
    let (task, owner) = (Task::Inspect(order), OwnerReference::default());
    let node = Some("node-1");
    let pod = WorkerPod { task, claim_ref: &claim_ref, namespace: "images", owner, node, image: "worker:1" };
    let (pod, job) = shown(&pod.build().unwrap());
    assert_eq!(pod["metadata"]["name"], "inspect-claim-uid");
    assert_eq!((&job["operation"], &job["target"]), (&json!("inspect"), &Value::Null));
    assert_eq!(pod["spec"]["affinity"], Value::Null);
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    assert!(volumes.iter().all(|volume| volume["persistentVolumeClaim"].is_null()), "{volumes:?}");
    assert_eq!(volumes[0]["secret"]["secretName"], "credentials");
}

#[test]
fn a_blanket_toleration_does_not_outlive_a_lost_node() {
    let blanket = Toleration { operator: Some("Exists".into()), ..Toleration::default() };
    let worker = WorkerPolicy { tolerations: vec![blanket], ..WorkerPolicy::default() };
    let image = image(&json!({"url": "https://host/disk.raw"}));
    let pod = build(&image, &claim("Block"), &Policy { worker, ..Policy::default() }, None);
    let tolerations = pod.spec.unwrap().tolerations.unwrap();
    let taint = "node.kubernetes.io/unreachable";
    let first = tolerations.iter().find(|all| all.key.as_deref().is_none_or(|key| key == taint)).unwrap();
    assert_eq!(first.toleration_seconds, Some(300), "of those that match, the first one counts");
}
