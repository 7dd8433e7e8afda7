use k8s_openapi::api::core::v1::PersistentVolumeClaim;
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

async fn names(cache: &Cache<PersistentVolumeClaim>, uid: &str) -> Vec<String> {
    cache.of_claim(uid).await.iter().filter_map(|object| object.metadata.name.clone()).collect()
}

#[tokio::test]
async fn keeps_what_is_ours_and_drops_the_rest() {
    let cache = cache();
    assert_eq!(cache.apply(Event::Apply(prime("ours", Some("a")))).await, [claim("a")]);
    assert_eq!(cache.apply(Event::Apply(prime("theirs", None))).await, []);
    assert_eq!(names(&cache, "a").await, ["ours"]);
    assert_eq!(cache.claims(|_| true).await.len(), 1);
}

#[tokio::test]
async fn wakes_both_claims_when_an_object_changes_hands() {
    let cache = cache();
    cache.apply(Event::Apply(prime("p", Some("a")))).await;
    assert_eq!(cache.apply(Event::Apply(prime("p", Some("b")))).await, [claim("a"), claim("b")]);
    assert!(names(&cache, "a").await.is_empty());
    assert_eq!(cache.apply(Event::Apply(prime("p", None))).await, [claim("b")], "and when it is nobody's any more");
    assert!(names(&cache, "b").await.is_empty());
}

#[tokio::test]
async fn a_list_tells_what_vanished_while_the_watch_was_down() {
    let cache = cache();
    for (name, uid) in [("stays", "a"), ("vanished", "b")] {
        cache.apply(Event::Apply(prime(name, Some(uid)))).await;
    }
    assert_eq!(cache.apply(Event::Init).await, []);
    assert_eq!(names(&cache, "b").await, ["vanished"], "until the list is complete nothing is known to be gone");
    cache.apply(Event::InitApply(prime("stays", Some("a")))).await;
    assert_eq!(cache.apply(Event::InitDone).await, [claim("b")]);
    assert!(names(&cache, "b").await.is_empty());
    assert_eq!(names(&cache, "a").await, ["stays"]);
    cache.ready().await;
}

fn version_of(name: &str, uid: &str, version: u64) -> PersistentVolumeClaim {
    let mut object = prime(name, Some("a"));
    object.metadata.uid = Some(uid.into());
    object.metadata.resource_version = Some(version.to_string());
    object
}

async fn versions(cache: &Cache<PersistentVolumeClaim>) -> Vec<u64> {
    cache.of_claim("a").await.iter().map(|object| version(&**object)).collect()
}

#[tokio::test]
async fn what_was_written_is_seen_before_the_watch_tells() {
    let cache = cache();
    cache.wrote(version_of("p", "u", 5)).await;
    assert_eq!(versions(&cache).await, [5]);
    assert_eq!(cache.apply(Event::Apply(version_of("p", "u", 4))).await, [claim("a")], "woken, though by the past");
    assert_eq!(versions(&cache).await, [5]);
    cache.apply(Event::Apply(version_of("p", "u", 6))).await;
    cache.wrote(version_of("p", "u", 5)).await;
    assert_eq!(versions(&cache).await, [6]);
    cache.wrote(prime("theirs", None)).await;
    assert_eq!(versions(&cache).await, [6]);
}

#[tokio::test]
async fn a_late_answer_brings_nothing_back() {
    let cache = cache();
    cache.apply(Event::Apply(version_of("p", "u", 1))).await;
    cache.apply(Event::Delete(version_of("p", "u", 3))).await;
    cache.wrote(version_of("p", "u", 2)).await;
    assert_eq!(versions(&cache).await, [0; 0]);
    cache.wrote(version_of("p", "v", 4)).await;
    assert_eq!(versions(&cache).await, [4], "another object of that name");
}
