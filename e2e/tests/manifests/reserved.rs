//! Our labels and names, on pods and claims: for the controller alone, while nobody else is held up.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use vmdisk_e2e::testing::audit::CONTROLLER;
use vmdisk_e2e::testing::{Scene, impersonation, scenario, until};

use crate::objects::{Answer, UID, claim, pod, tried};

const LABELS: [(&str, &str); 5] = [
    ("pelotech.ot/claim-uid", UID),
    ("pelotech.ot/claim-namespace", "victims"),
    ("pelotech.ot/image-uid", UID),
    ("pelotech.ot/golden", UID),
    ("app.kubernetes.io/managed-by", "vmdisk-controller"),
];
const SOON: Duration = Duration::from_mins(1);

/// Both kinds, as this user sees them in the test's namespace.
struct Both {
    pods: Api<Pod>,
    claims: Api<PersistentVolumeClaim>,
}

impl Both {
    fn of(client: &Client, scene: &Scene) -> Self {
        let pods = Api::namespaced(client.clone(), &scene.namespace);
        Self { pods, claims: Api::namespaced(client.clone(), &scene.namespace) }
    }

    /// Which policy refuses a pod, and which a claim, with this metadata.
    async fn tried(&self, metadata: &Value) -> Result<[Option<&'static str>; 2]> {
        let pod = tried(&self.pods, &pod(metadata)?).await?;
        let claim = tried(&self.claims, &claim(metadata)?).await?;
        Ok([pod.policy(), claim.policy()])
    }

    /// The same, of a patch of the pod and the claim of this name.
    async fn patched(&self, name: &str, patch: &Value) -> Result<[Option<&'static str>; 2]> {
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let pod = Answer::of(self.pods.patch(name, &params, &patch).await)?;
        let claim = Answer::of(self.claims.patch(name, &params, &patch).await)?;
        Ok([pod.policy(), claim.policy()])
    }
}

fn labelled(key: &str, value: &str) -> Value {
    json!({"name": "innocent", "labels": {key: value}})
}

#[tokio::test]
async fn a_tenant_makes_what_he_likes_but_nothing_with_our_labels_or_names() {
    scenario("reserved", async |scene| {
        let tenant = impersonation::tenant(scene, &scene.namespace, "edit").await?;
        let both = Both::of(&tenant, scene);
        let nobody = [None, None];
        let labels = [Some("vmdisk-labels"); 2];
        for (key, value) in LABELS {
            assert_eq!(both.tried(&labelled(key, value)).await?, labels, "{key}");
        }
        // An empty value is a label too.
        assert_eq!(both.tried(&labelled("pelotech.ot/claim-uid", "")).await?, labels);

        for (metadata, expected) in [
            (json!({"name": "ordinary"}), nobody),
            (labelled("app.kubernetes.io/managed-by", "Helm"), nobody),
            (labelled("pelotech.ot/claim", "x"), nobody),
            (json!({"name": format!("prime-{UID}")}), [None, Some("vmdisk-names")]),
            (json!({"name": format!("populate-{UID}")}), [Some("vmdisk-names"), None]),
            (json!({"name": format!("inspect-{UID}")}), [Some("vmdisk-names"), None]),
            (json!({"name": format!("prime-{UID}-0")}), nobody),
            (json!({"name": "prime-time"}), nobody),
            (json!({"name": format!("my-populate-{UID}")}), nobody),
            // The rest is made by the API server, from letters that are no hexadecimal digits for the most part.
            (json!({"generateName": "prime-"}), nobody),
        ] {
            assert_eq!(both.tried(&metadata).await?, expected, "{metadata}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_refusal_says_what_was_found_and_what_to_do() {
    scenario("reserved-words", async |scene| {
        let tenant = impersonation::tenant(scene, &scene.namespace, "edit").await?;
        let both = Both::of(&tenant, scene);
        let restored = json!({"name": "restored", "labels": {"pelotech.ot/claim-uid": UID}});
        let Answer::Refused { policy: "vmdisk-labels", message } = tried(&both.claims, &claim(&restored)?).await?
        else {
            panic!("a label of ours is let in");
        };
        for words in ["the claim restored", "label pelotech.ot/claim-uid", "backup", "leave this object out"] {
            assert!(message.contains(words), "{words:?} in {message}");
        }
        // A prime out of a backup breaks two rules, and either answer says what to do.
        let prime = json!({"name": format!("prime-{UID}"), "labels": {"pelotech.ot/claim-uid": UID}});
        let answer = tried(&both.claims, &claim(&prime)?).await?;
        let Answer::Refused { message, .. } = answer else { panic!("{answer:?}") };
        assert!(message.contains("backup is restored, leave this object out"), "{message}");
        let taken = json!({"name": format!("populate-{UID}")});
        let Answer::Refused { policy: "vmdisk-names", message } = tried(&both.pods, &pod(&taken)?).await? else {
            panic!("the name of a worker is free");
        };
        for words in ["the pod populate-01234567", "Take another name"] {
            assert!(message.contains(words), "{words:?} in {message}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_is_written_beside_our_labels_does_not_tire_the_policy() {
    scenario("reserved-many", async |scene| {
        let tenant = impersonation::tenant(scene, &scene.namespace, "edit").await?;
        let both = Both::of(&tenant, scene);
        let mut labels: BTreeMap<String, String> =
            (0..20_000).map(|n| (format!("example.com/{n:063}"), String::new())).collect();
        assert_eq!(both.tried(&json!({"name": "innocent", "labels": labels})).await?, [None, None]);
        labels.insert("pelotech.ot/golden".to_owned(), "x".to_owned());
        assert_eq!(both.tried(&json!({"name": "guilty", "labels": labels})).await?, [Some("vmdisk-labels"); 2]);
        Ok(())
    })
    .await;
}

/// An account of the controller's name, in a namespace whose owner may make such accounts, is not the controller; a
/// populator of somebody else's keeps the names that all populators use.
#[tokio::test]
async fn who_is_the_controller_is_not_a_matter_of_names() {
    scenario("reserved-who", async |scene| {
        let ns = &scene.namespace;
        let namesake = format!("system:serviceaccount:{ns}:vmdisk-controller");
        impersonation::bind(scene, ns, "admin", &namesake).await?;
        let namesake = impersonation::account(&namesake).await?;
        until::probed("the namesake is admin", SOON, async || {
            Ok(impersonation::may(&namesake, ns, "create", "pods").await?.then_some(()))
        })
        .await?;
        let ours = labelled("pelotech.ot/claim-uid", UID);
        let prime = json!({"name": format!("prime-{UID}")});
        assert_eq!(Both::of(&namesake, scene).tried(&ours).await?, [Some("vmdisk-labels"); 2]);
        assert_eq!(Both::of(&namesake, scene).tried(&prime).await?, [None, Some("vmdisk-names")]);

        // CDI, and whoever stands on the populator library.
        let populator = impersonation::almighty("system:serviceaccount:cdi:cdi-sa").await?;
        assert_eq!(Both::of(&populator, scene).tried(&prime).await?, [None, None]);
        assert_eq!(Both::of(&populator, scene).tried(&ours).await?, [Some("vmdisk-labels"); 2]);

        // The controller, also where an overlay installed it in a namespace of another name.
        let moved = impersonation::almighty("system:serviceaccount:elsewhere:vmdisk-controller").await?;
        for controller in [impersonation::account(CONTROLLER).await?, moved] {
            let controller = Both::of(&controller, scene);
            let prime = json!({"name": format!("prime-{UID}"), "labels": {"pelotech.ot/claim-uid": UID}});
            assert_eq!(tried(&controller.claims, &claim(&prime)?).await?, Answer::Allowed);
            let worker = json!({"name": format!("populate-{UID}"), "labels": {"pelotech.ot/claim-uid": UID}});
            assert_eq!(tried(&controller.pods, &pod(&worker)?).await?, Answer::Allowed);
        }
        Ok(())
    })
    .await;
}

/// Objects as the controller makes them, but for a label that would have it look at them.
async fn stand_ins(scene: &Scene) -> Result<()> {
    let controller = Both::of(&impersonation::account(CONTROLLER).await?, scene);
    let marks = json!({"pelotech.ot/image-uid": UID});
    let worker = json!({"name": format!("populate-{UID}"), "labels": marks});
    controller.pods.create(&PostParams::default(), &pod(&worker)?).await.context("cannot make a worker")?;
    let prime = json!({"name": format!("prime-{UID}"), "labels": marks});
    controller.claims.create(&PostParams::default(), &claim(&prime)?).await.context("cannot make a prime")?;
    Ok(())
}

async fn both_of<K>(api: &Api<K>, name: &str, answers: [&Value; 2]) -> Result<[Option<&'static str>; 2]>
where
    K: Clone + Debug + DeserializeOwned,
{
    let params = PatchParams::default();
    let plain = Answer::of(api.patch_status(name, &params, &Patch::Merge(answers[0])).await)?;
    let labelling = Answer::of(api.patch_status(name, &params, &Patch::Merge(answers[1])).await)?;
    Ok([plain.policy(), labelling.policy()])
}

#[tokio::test]
async fn our_labels_are_left_as_they_are_and_the_rest_of_an_object_is_free() {
    scenario("reserved-updates", async |scene| {
        let tenant = impersonation::tenant(scene, &scene.namespace, "edit").await?;
        let tenants = Both::of(&tenant, scene);
        let mine = json!({"name": "mine", "labels": {"app": "mine"}});
        tenants.pods.create(&PostParams::default(), &pod(&mine)?).await?;
        tenants.claims.create(&PostParams::default(), &claim(&mine)?).await?;
        stand_ins(scene).await?;

        let (nobody, refused) = ([None, None], [Some("vmdisk-labels"); 2]);
        let labels = |value: Value| json!({"metadata": {"labels": value}});
        for (key, value) in LABELS {
            assert_eq!(tenants.patched("mine", &labels(json!({key: value}))).await?, refused, "{key}");
        }
        for free in [
            labels(json!({"app": "other", "app.kubernetes.io/managed-by": "Helm"})),
            labels(json!({"app.kubernetes.io/managed-by": null})),
            json!({"metadata": {"annotations": {"pelotech.ot/image-namespace": "elsewhere"}}}),
        ] {
            assert_eq!(tenants.patched("mine", &free).await?, nobody, "{free}");
        }

        // Ours. Names differ by kind, so each kind is asked by itself.
        let (worker, prime) = (format!("populate-{UID}"), format!("prime-{UID}"));
        let params = PatchParams::default();
        for change in [json!({"pelotech.ot/image-uid": null}), json!({"pelotech.ot/image-uid": "another"})] {
            let change = Patch::Merge(labels(change));
            let pod = Answer::of(tenants.pods.patch(&worker, &params, &change).await)?;
            let claim = Answer::of(tenants.claims.patch(&prime, &params, &change).await)?;
            assert_eq!([pod.policy(), claim.policy()], refused, "{change:?}");
        }
        // As provisioners, the scheduler and the volume controller write, without a right that only ours has.
        let beside = json!({"metadata": {
            "annotations": {"volume.kubernetes.io/selected-node": "node", "pv.kubernetes.io/bind-completed": "yes"},
            "finalizers": ["kubernetes.io/pvc-protection", "example.com/held"],
            "labels": {"example.com/zone": "a"},
        }});
        assert_eq!(Answer::of(tenants.claims.patch(&prime, &params, &Patch::Merge(&beside)).await)?, Answer::Allowed);
        let let_go = json!({"metadata": {"finalizers": null}});
        assert_eq!(Answer::of(tenants.claims.patch(&prime, &params, &Patch::Merge(&let_go)).await)?, Answer::Allowed);

        // Status: the kubelet's and the volume controller's, who carry no label of ours into it.
        let agent = Both::of(&impersonation::almighty("system:node:some-node").await?, scene);
        let labelling = labels(json!({"pelotech.ot/golden": "x"}));
        let message = json!({"status": {"message": "said by the kubelet"}});
        assert_eq!(both_of(&agent.pods, &worker, [&message, &labelling]).await?, [None, Some("vmdisk-labels")]);
        let phase = json!({"status": {"phase": "Lost"}});
        assert_eq!(both_of(&agent.claims, &prime, [&phase, &labelling]).await?, [None, Some("vmdisk-labels")]);

        // Whoever wants to be rid of one of ours deletes it.
        tenants.pods.delete(&worker, &DeleteParams::default()).await.context("a worker cannot be deleted")?;
        tenants.claims.delete(&prime, &DeleteParams::default()).await.context("a prime cannot be deleted")?;
        Ok(())
    })
    .await;
}

/// The labels of a Binding become those of its pod: a way past every rule for updates, were it not matched.
#[tokio::test]
async fn a_binding_carries_no_label_of_ours() {
    scenario("reserved-binding", async |scene| {
        stand_ins(scene).await?;
        let worker = format!("populate-{UID}");
        // It may bind pods and not patch volumes, and has to bind our workers too.
        let scheduler = impersonation::tenant(scene, &scene.namespace, "system:kube-scheduler").await?;
        let pods = Both::of(&scheduler, scene).pods;
        let bind = async |labels: Value| -> Result<Answer> {
            let binding = json!({
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": {"name": worker, "labels": labels},
                "target": {"kind": "Node", "name": "some-node"},
            });
            let params = PostParams { dry_run: true, ..PostParams::default() };
            Answer::of(pods.create_subresource::<Value, Value>("binding", &worker, &params, &binding).await)
        };
        assert_eq!(bind(json!({"topology.kubernetes.io/zone": "a"})).await?, Answer::Allowed);
        assert_eq!(bind(json!({"pelotech.ot/golden": "x"})).await?.policy(), Some("vmdisk-labels"));
        Ok(())
    })
    .await;
}

/// Who may make pods may have the cluster's own controllers make others for him.
#[tokio::test]
async fn the_clusters_controllers_make_nothing_of_ours_in_a_tenants_name() {
    scenario("reserved-laundered", async |scene| {
        let tenant = impersonation::tenant(scene, &scene.namespace, "edit").await?;
        // A ReplicaSet whose pods would bear a label of ours.
        let spec = pod(&json!({}))?.spec;
        let set: ReplicaSet = serde_json::from_value(json!({
            "metadata": {"name": "forger"},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": "forger"}},
                "template": {
                    "metadata": {"labels": {"app": "forger", "pelotech.ot/claim-uid": UID}},
                    "spec": spec,
                },
            },
        }))?;
        create(&tenant, scene, &set).await?;
        told(scene, "forger", "vmdisk-labels").await?;

        // A pod `prime` with an ephemeral volume called like a UID: its claim would be a prime by name.
        let mut prime = json!(pod(&json!({"name": "prime"}))?);
        prime["spec"]["volumes"] = json!([{
            "name": UID,
            "ephemeral": {"volumeClaimTemplate": {"spec": claim(&json!({}))?.spec}},
        }]);
        create::<Pod>(&tenant, scene, &serde_json::from_value(prime)?).await?;
        told(scene, "prime", "vmdisk-names").await?;
        Ok(())
    })
    .await;
}

async fn create<K>(client: &Client, scene: &Scene, object: &K) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
{
    let api = Api::<K>::namespaced(client.clone(), &scene.namespace);
    api.create(&PostParams::default(), object)
        .await
        .map(drop)
        .with_context(|| format!("cannot create a {}", K::kind(&())))
}

/// Waits until an event on an object names a policy.
async fn told(scene: &Scene, name: &str, policy: &str) -> Result<()> {
    let which = ListParams::default().fields(&format!("involvedObject.name={name}"));
    until::probed(&format!("{name} is told of {policy}"), SOON, async || {
        let events = scene.api::<Event>().list(&which).await?.items;
        let found = events.iter().any(|event| event.message.as_deref().is_some_and(|text| text.contains(policy)));
        Ok(found.then_some(()))
    })
    .await
}
