use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec};
use serde_json::{from_value, json};

use super::*;
use crate::Keys;

fn cache() -> Cache<PersistentVolumeClaim> {
    let keys = Keys::new("example.com", "source-namespace");
    Cache::new(Box::new(move |object: &PersistentVolumeClaim| keys.claim_of(&object.metadata)))
}

fn prime(name: &str, claim_uid: Option<&str>) -> PersistentVolumeClaim {
    let labels = claim_uid.map(|uid| json!({"example.com/claim-uid": uid, "example.com/claim-namespace": "labs"}));
    from_value(json!({"metadata": {"namespace": "images", "name": name, "labels": labels}})).unwrap()
}

fn claim(uid: &str) -> ClaimRef {
    ClaimRef { namespace: "labs".into(), name: String::new(), uid: uid.into() }
}

fn names(cache: &Cache<PersistentVolumeClaim>, uid: &str) -> Vec<String> {
    cache.of_claim(uid).iter().filter_map(|object| object.metadata.name.clone()).collect()
}

#[test]
fn keeps_what_is_ours_and_drops_the_rest() {
    let cache = cache();
    assert_eq!(cache.apply(Event::Apply(prime("ours", Some("a")))), [claim("a")]);
    assert_eq!(cache.apply(Event::Apply(prime("theirs", None))), []);
    assert_eq!(names(&cache, "a"), ["ours"]);
    assert_eq!(cache.claims(|_| true).len(), 1);
}

#[test]
fn wakes_both_claims_when_an_object_changes_hands() {
    let cache = cache();
    cache.apply(Event::Apply(prime("p", Some("a"))));
    assert_eq!(cache.apply(Event::Apply(prime("p", Some("b")))), [claim("a"), claim("b")]);
    assert!(names(&cache, "a").is_empty());
    assert_eq!(cache.apply(Event::Apply(prime("p", None))), [claim("b")], "and when it is nobody's any more");
    assert!(names(&cache, "b").is_empty());
}

#[tokio::test]
async fn a_list_tells_what_vanished_while_the_watch_was_down() {
    let cache = cache();
    for (name, uid) in [("stays", "a"), ("vanished", "b")] {
        cache.apply(Event::Apply(prime(name, Some(uid))));
    }
    assert_eq!(cache.apply(Event::Init), []);
    assert_eq!(names(&cache, "b"), ["vanished"], "until the list is complete nothing is known to be gone");
    cache.apply(Event::InitApply(prime("stays", Some("a"))));
    assert_eq!(cache.apply(Event::InitDone), [claim("b")]);
    assert!(names(&cache, "b").is_empty());
    assert_eq!(names(&cache, "a"), ["stays"]);
    cache.ready().await;
}

fn version_of(name: &str, uid: &str, version: u64) -> PersistentVolumeClaim {
    let mut object = prime(name, Some("a"));
    object.metadata.uid = Some(uid.into());
    object.metadata.resource_version = Some(version.to_string());
    object
}

fn versions(cache: &Cache<PersistentVolumeClaim>) -> Vec<u64> {
    cache.of_claim("a").iter().map(|object| version(&**object)).collect()
}

#[test]
fn what_was_written_is_seen_before_the_watch_tells() {
    let cache = cache();
    cache.wrote(version_of("p", "u", 5));
    assert_eq!(versions(&cache), [5]);
    assert_eq!(cache.apply(Event::Apply(version_of("p", "u", 4))), [claim("a")], "woken, though by the past");
    assert_eq!(versions(&cache), [5]);
    cache.apply(Event::Apply(version_of("p", "u", 6)));
    cache.wrote(version_of("p", "u", 5));
    assert_eq!(versions(&cache), [6]);
    cache.wrote(prime("theirs", None));
    assert_eq!(versions(&cache), [6]);
}

#[test]
fn a_late_answer_brings_nothing_back() {
    let cache = cache();
    cache.apply(Event::Apply(version_of("p", "u", 1)));
    cache.apply(Event::Delete(version_of("p", "u", 3)));
    cache.wrote(version_of("p", "u", 2));
    assert_eq!(versions(&cache), [0; 0]);
    cache.wrote(version_of("p", "v", 4));
    assert_eq!(versions(&cache), [4], "another object of that name");
}

#[test]
fn what_is_not_worth_it_is_not_kept_unless_it_is_known() {
    let keys = Keys::new("example.com", "source-namespace");
    let cache: Cache<PersistentVolumeClaim> = Cache::of_those_worth(
        Box::new(move |object| keys.claim_of(&object.metadata)),
        Box::new(|object| object.spec.is_none()),
        Box::new(|_| ()),
    );
    let done =
        |uid| PersistentVolumeClaim { spec: Some(PersistentVolumeClaimSpec::default()), ..version_of("p", uid, 2) };
    assert_eq!(cache.apply(Event::InitApply(done("u"))), [], "nobody is woken for it");
    assert_eq!(versions(&cache), [0; 0]);
    cache.apply(Event::Apply(version_of("p", "u", 1)));
    assert_eq!(cache.apply(Event::Apply(done("u"))), [claim("a")]);
    assert_eq!(versions(&cache), [2]);
    cache.forget("a");
    assert_eq!(versions(&cache), [0; 0]);
    assert_eq!(cache.apply(Event::Apply(PersistentVolumeClaim { ..done("u") })), []);
}
