use serde_json::{Value, from_value, json};

use super::*;

fn keys() -> Keys {
    Keys::new("example.com", "source-namespace")
}

#[test]
fn only_a_name_of_a_namespace_is_one() {
    for (annotation, in_reference, expected) in [
        (None, None, Ok("labs")),
        (Some("images"), None, Ok("images")),
        (Some("images"), Some("other"), Ok("other")),
        (Some("images"), Some(""), Ok("images")),
        (Some("a-1"), None, Ok("a-1")),
        (Some("../../secrets"), None, Err("../../secrets")),
        (Some("images/../kube-system"), None, Err("images/../kube-system")),
        (Some("Images"), None, Err("Images")),
        (Some("-a"), None, Err("-a")),
        (Some("a?limit=1"), None, Err("a?limit=1")),
    ] {
        let claim: PersistentVolumeClaim = from_value(json!({
            "metadata": {"namespace": "labs", "annotations": {"example.com/source-namespace": annotation.unwrap_or_default()}},
            "spec": {"dataSourceRef": {"kind": "Source", "name": "x", "namespace": in_reference}},
        }))
        .unwrap();
        let found = source_namespace(&keys(), &claim);
        assert_eq!(found, expected.map(str::to_owned).map_err(|text| NoNamespace(text.into())), "{annotation:?}");
    }
    let long = "a".repeat(100_000);
    let claim: PersistentVolumeClaim = from_value(json!({
        "metadata": {"namespace": "labs", "annotations": {"example.com/source-namespace": long}}, "spec": {},
    }))
    .unwrap();
    assert_eq!(source_namespace(&keys(), &claim), Err(NoNamespace("a".repeat(80))));
}

fn meta(namespace: &str, uid: &str, owner: Option<&str>) -> ObjectMeta {
    let owners: Vec<Value> = owner
        .map(|uid| json!({"apiVersion": "v1", "kind": "Record", "name": "r", "uid": uid, "controller": true}))
        .into_iter()
        .collect();
    from_value(json!({
        "namespace": namespace, "name": "prime-c1", "uid": uid, "ownerReferences": owners,
        "labels": {"example.com/claim-uid": "c1", "example.com/claim-namespace": "labs"},
    }))
    .unwrap()
}

#[test]
fn what_is_not_recorded_is_not_believed_whatever_it_bears() {
    let claim = ClaimRef { namespace: "labs".into(), name: "disk".into(), uid: "c1".into() };
    let made = Made {
        claim,
        namespace: "images".into(),
        owner: "record".into(),
        prime: Some("p1".into()),
        worker: Some("w1".into()),
    };
    let kept = Recorded::Kept(vec![made.clone()]);
    let unwritten = Recorded::Kept(vec![Made { prime: None, worker: None, ..made }]);
    for (case, recorded, which, meta, expected) in [
        ("the prime", &kept, Which::Prime, meta("images", "p1", None), Standing::Recorded),
        ("the worker", &kept, Which::Worker, meta("images", "w1", Some("record")), Standing::Recorded),
        ("one for the other", &kept, Which::Worker, meta("images", "p1", None), Standing::Foreign),
        ("elsewhere", &kept, Which::Prime, meta("labs", "p1", Some("record")), Standing::Foreign),
        ("another of that name", &kept, Which::Prime, meta("images", "p2", None), Standing::Foreign),
        ("dressed up as ours", &kept, Which::Prime, meta("images", "p2", Some("record")), Standing::Unrecorded),
        (
            "made and not written down",
            &unwritten,
            Which::Prime,
            meta("images", "p1", Some("record")),
            Standing::Unrecorded,
        ),
        ("of a record that is gone", &unwritten, Which::Prime, meta("images", "p1", Some("old")), Standing::Foreign),
        ("nothing is known", &Recorded::Kept(vec![]), Which::Prime, meta("images", "p1", None), Standing::Foreign),
        ("nothing is kept", &Recorded::Unkept, Which::Prime, meta("images", "p9", None), Standing::Recorded),
        ("nothing is kept, no label", &Recorded::Unkept, Which::Prime, ObjectMeta::default(), Standing::Foreign),
    ] {
        assert_eq!(standing(&keys(), recorded, which, &meta), expected, "{case}");
    }
}

fn object<K: serde::de::DeserializeOwned>(namespace: &str, name: &str) -> K {
    from_value(json!({
        "metadata": {
            "namespace": namespace, "name": name, "uid": name,
            "labels": {"example.com/claim-uid": "c1", "example.com/claim-namespace": "labs"},
        },
        "spec": {},
    }))
    .unwrap()
}

#[test]
fn forgeries_elsewhere_are_not_even_kept() {
    let claims = Arc::new(Places::claims::<k8s_openapi::api::core::v1::ConfigMap>("example.com"));
    let kept = Arc::new(|_: &str| Recorded::Kept(Vec::new()));
    let places =
        Places { prefix: "example.com".into(), keys: Arc::new(keys()), claims: Arc::clone(&claims), records: kept };
    let (primes, pods) = (places.primes(), places.pods());
    let apply = kube::runtime::watcher::Event::Apply;
    let claim: PersistentVolumeClaim = from_value(json!({
        "metadata": {"namespace": "labs", "name": "disk", "uid": "c1",
                     "annotations": {"example.com/source-namespace": "images"}},
        "spec": {"dataSourceRef": {"kind": "ConfigMap", "name": "x"}},
    }))
    .unwrap();
    assert_eq!(primes.apply(apply(object("images", "prime-c1"))), [], "of a claim that nobody knows");
    claims.apply(kube::runtime::watcher::Event::Apply(claim));
    for (namespace, name, expected) in [
        ("images", "prime-c1", true),
        ("labs", "prime-c1", false),
        ("tenant", "prime-c1", false),
        ("images", "prime-c2", false),
        ("images", "disk", false),
    ] {
        let woken = primes.apply(kube::runtime::watcher::Event::Apply(object(namespace, name)));
        assert_eq!(!woken.is_empty(), expected, "{namespace}/{name}");
    }
    for (namespace, name, expected) in [
        ("images", "populate-c1", true),
        ("tenant", "populate-c1", false),
        ("images", "anything", false),
        ("images", "populate-c2", false),
    ] {
        let pod: PartialObjectMeta<Pod> = object(namespace, name);
        let woken = pods.apply(kube::runtime::watcher::Event::Apply(pod));
        assert_eq!(!woken.is_empty(), expected, "{namespace}/{name}");
    }
}
