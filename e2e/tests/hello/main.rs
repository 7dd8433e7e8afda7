//! The machinery around another populator: the example `hello`, as a stranger would run it, beside ours.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, ListParams, LogParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::wait::conditions::is_crd_established;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use vmdisk_e2e::testing::class::Class;
use vmdisk_e2e::testing::objects::{Mode, claim_of, is_bound};
use vmdisk_e2e::testing::scene::delete_namespace;
use vmdisk_e2e::testing::traces::primes_and_workers;
use vmdisk_e2e::testing::{Scene, bed, scenario, until};

/// A scheduler may choose the node without room several times, and waits longer after each.
const DEADLINE: Duration = Duration::from_mins(3);
const GROUP: &str = "hello.example.com";

/// One process and one scene for all of it, as there is one such populator in a cluster.
#[tokio::test]
async fn a_second_populator_fills_claims_of_its_own() {
    scenario("hello", async |scene| {
        let _hello = start(scene).await?;
        let other = scene.another_namespace("elsewhere").await?;
        let outcome = tell(scene, &other).await;
        let closed = delete_namespace(&scene.bed, &other).await;
        outcome.and(closed)
    })
    .await;
}

async fn tell(scene: &Scene, other: &str) -> Result<()> {
    create(
        scene,
        &scene.namespace,
        "Hello",
        GROUP,
        "world",
        json!({"fileName": "hello.txt", "fileContents": "Hello!"}),
    )
    .await?;
    try_join_all(vec![
        says_hello(scene, "at-once", "STORAGE_CLASS_IMMEDIATE", Mode::Filesystem),
        says_hello(scene, "device", "STORAGE_CLASS_IMMEDIATE", Mode::Block),
        says_hello(scene, "late", "STORAGE_CLASS_WFFC", Mode::Filesystem),
    ])
    .await?;
    no_room_on_the_first_node(scene).await?;
    across_namespaces(scene, other).await?;
    deleted_while_it_is_filled(scene).await?;
    nothing_is_left(scene).await
}

/// The text arrives where the claim's own consumer reads it; for a class that waits, that consumer is there first.
async fn says_hello(scene: &Scene, name: &str, class: &str, mode: Mode) -> Result<()> {
    says_hello_in(scene, name, &bed::variable(class)?, mode).await
}

async fn says_hello_in(scene: &Scene, name: &str, class: &str, mode: Mode) -> Result<()> {
    scene.create(&claim(name, class, mode, None)?).await?;
    scene.create(&reader(name, mode)?).await?;
    let pods = scene.api::<Pod>();
    let ends = |pod: &Pod| matches!(phase(pod), "Succeeded" | "Failed");
    until::holds(&pods, name, "reads its claim", DEADLINE, ends).await?;
    let log = pods.logs(name, &LogParams::default()).await?;
    ensure!(log.starts_with("Hello!"), "{name} holds {log:?}");
    Ok(())
}

/// The scheduler cannot know that a node has no room. The choice is taken back when the provisioner says so, and the
/// consumer runs elsewhere.
async fn no_room_on_the_first_node(scene: &Scene) -> Result<()> {
    let full = Class::create(scene, "STORAGE_CLASS_WFFC", &[("exhaust", "node-1")]).await?;
    let outcome = try_join_all((0..3).map(async |number| {
        let name = format!("crowded-{number}");
        says_hello_in(scene, &name, &full.name, Mode::Filesystem).await?;
        let pod = scene.api::<Pod>().get(&name).await?;
        let node = pod.spec.and_then(|spec| spec.node_name).unwrap_or_default();
        ensure!(node != "node-1", "{name} runs where there is no room for its volume");
        Ok(())
    }))
    .await;
    let deleted = full.delete().await;
    outcome?;
    deleted.context("cannot delete the class")
}

/// Refused, with a reason, until the source's namespace grants it.
async fn across_namespaces(scene: &Scene, other: &str) -> Result<()> {
    let class = bed::variable("STORAGE_CLASS_IMMEDIATE")?;
    let mut claim = claim("cross", &class, Mode::Filesystem, Some(&scene.namespace))?;
    claim.metadata.namespace = Some(other.to_owned());
    scene.create(&claim).await?;
    let events = scene.api_in::<Event>(other);
    until::probed("the refusal is told", DEADLINE, async || {
        let refusals = events.list(&ListParams::default().fields("reason=ReferenceNotGranted")).await?;
        Ok((!refusals.items.is_empty()).then_some(()))
    })
    .await?;
    let grant = json!({
        "from": [{"group": "", "kind": "PersistentVolumeClaim", "namespace": other}],
        "to": [{"group": GROUP, "kind": "Hello", "name": "world"}],
    });
    create(scene, &scene.namespace, "ReferenceGrant", "gateway.networking.k8s.io", "world", grant).await?;
    until::holds(&scene.api_in(other), "cross", "is bound once it is granted", DEADLINE, is_bound).await?;
    Ok(())
}

/// Nobody has to know of it, and nothing is held up.
async fn deleted_while_it_is_filled(scene: &Scene) -> Result<()> {
    let class = bed::variable("STORAGE_CLASS_IMMEDIATE")?;
    let made = scene.create(&claim("short-lived", &class, Mode::Filesystem, None)?).await?;
    let prime = format!("prime-{}", made.uid().context("a UID")?);
    let claims = scene.api::<PersistentVolumeClaim>();
    until::exists(&claims, &prime, DEADLINE).await?;
    scene.delete::<PersistentVolumeClaim>("short-lived", DEADLINE).await?;
    until::gone(&claims, &prime, DEADLINE).await
}

/// What is done is done: the claims have their volumes, and no prime, worker or volume remains beside them.
async fn nothing_is_left(scene: &Scene) -> Result<()> {
    let label = format!("{GROUP}/claim-uid");
    until::probed("primes and workers are gone", DEADLINE, async || {
        Ok(primes_and_workers(scene, &label).await?.is_empty().then_some(()))
    })
    .await?;
    let volumes = Api::<PersistentVolume>::all(scene.bed.client.clone());
    until::probed("each volume has its claim", DEADLINE, async || {
        let volumes = volumes.list(&ListParams::default()).await?.items;
        let stale = volumes.iter().any(|volume| {
            let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            let here = claim.and_then(|claim| claim.namespace.as_deref()) == Some(scene.namespace.as_str());
            here && claim.and_then(|claim| claim.name.as_deref()).is_none_or(|name| name.starts_with("prime-"))
        });
        Ok((!stale).then_some(()))
    })
    .await
}

/// Installs the CRD and runs the example, until the guard is dropped.
async fn start(scene: &Scene) -> Result<Child> {
    let manifest = include_str!("../../../src/machinery/examples/hello.yaml");
    let crd = manifest.split("\n---\n").next().unwrap_or_default();
    let crd: CustomResourceDefinition = serde_saphyr::from_str(crd).context("the CRD in hello.yaml")?;
    let crds = Api::<CustomResourceDefinition>::all(scene.bed.client.clone());
    let name = crd.name_any();
    crds.patch(&name, &PatchParams::apply("e2e").force(), &Patch::Apply(&crd)).await?;
    let established = kube::runtime::wait::await_condition(crds, &name, is_crd_established());
    tokio::time::timeout(DEADLINE, established).await.context("the CRD is never established")??;
    Command::new(example().await?)
        .env("HELLO_IMAGE", bed::variable("BASE_IMAGE")?)
        .env("KUBECONFIG", bed::variable("KUBECONFIG")?)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("cannot run the example")
}

/// The example, built beside this test.
async fn example() -> Result<PathBuf> {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "volume-populator", "--example", "hello"])
        .status()
        .await?;
    ensure!(built.success(), "the example does not build");
    let this = std::env::current_exe()?;
    let profile = this.parent().and_then(|deps| deps.parent()).context("the directory of the build")?;
    Ok(profile.join("examples/hello"))
}

fn claim(name: &str, class: &str, mode: Mode, source_namespace: Option<&str>) -> Result<PersistentVolumeClaim> {
    let mut claim = claim_of(name, "world", "64Mi", mode, class)?;
    let reference = claim.spec.as_mut().and_then(|spec| spec.data_source_ref.as_mut()).context("a reference")?;
    reference.api_group = Some(GROUP.to_owned());
    "Hello".clone_into(&mut reference.kind);
    claim.metadata.annotations =
        source_namespace.map(|namespace| BTreeMap::from([(format!("{GROUP}/source-namespace"), namespace.to_owned())]));
    Ok(claim)
}

fn reader(claim: &str, mode: Mode) -> Result<Pod> {
    let (script, key, place) = match mode {
        Mode::Filesystem => ("cat /data/hello.txt", "volumeMounts", json!({"name": "data", "mountPath": "/data"})),
        Mode::Block => ("head -c 6 /dev/data", "volumeDevices", json!({"name": "data", "devicePath": "/dev/data"})),
    };
    let pod = json!({
        "metadata": {"name": claim},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {"runAsUser": 107, "runAsGroup": 107, "fsGroup": 107, "runAsNonRoot": true,
                                "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "reader",
                "image": bed::variable("BASE_IMAGE")?,
                "command": ["sh", "-euc", script],
                key: [place],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}],
        },
    });
    serde_json::from_value(pod).context("a pod")
}

async fn create(scene: &Scene, namespace: &str, kind: &str, group: &str, name: &str, spec: Value) -> Result<()> {
    let version = if group == GROUP { "v1alpha1" } else { "v1beta1" };
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let object = DynamicObject::new(name, &resource).data(json!({"spec": spec}));
    let api: Api<DynamicObject> = Api::namespaced_with(scene.bed.client.clone(), namespace, &resource);
    api.create(&PostParams::default(), &object).await.with_context(|| format!("cannot create {kind}"))?;
    Ok(())
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}
