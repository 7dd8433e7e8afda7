use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use super::*;

fn object(name: &str, claim: &str, uid: &str, version: u64) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {
        "name": name, "namespace": "n", "uid": uid, "resourceVersion": version.to_string(), "labels": {"claim": claim},
    }}))
    .unwrap()
}

fn cache() -> (Cache<ConfigMap>, mpsc::UnboundedReceiver<Change<ConfigMap>>) {
    Cache::new(|object| object.labels().get("claim").map(String::as_str), Box::new(|object| object.data.is_none()))
}

fn versions(cache: &Cache<ConfigMap>, claim: &str) -> Vec<u64> {
    cache.of_claim(claim).iter().map(|object| version(&**object)).collect()
}

fn changes(receiver: &mut mpsc::UnboundedReceiver<Change<ConfigMap>>) -> Vec<(u64, bool)> {
    std::iter::from_fn(|| receiver.try_recv().ok()).map(|change| (version(&*change.object), change.ours)).collect()
}

#[test]
fn the_newer_version_wins_whoever_tells_it() {
    let (cache, mut receiver) = cache();
    cache.wrote(object("a", "c", "u", 5));
    cache.apply(Event::Apply(object("a", "c", "u", 4)));
    assert_eq!(versions(&cache, "c"), [5]);
    cache.apply(Event::Apply(object("a", "c", "u", 5)));
    cache.apply(Event::Apply(object("a", "c", "u", 6)));
    cache.wrote(object("a", "c", "u", 5));
    assert_eq!(versions(&cache, "c"), [6]);
    assert_eq!(changes(&mut receiver), [(5, true), (6, false)], "each change is told once");
}

#[test]
fn claims_are_told_apart() {
    let (cache, _receiver) = cache();
    cache.wrote(object("a", "c", "u1", 1));
    cache.wrote(object("b", "c", "u2", 2));
    cache.wrote(object("a2", "c2", "u3", 3));
    assert_eq!(versions(&cache, "c"), [1, 2]);
    assert_eq!(versions(&cache, "c2"), [3]);
    assert_eq!(versions(&cache, "b"), [0; 0]);
    assert_eq!(cache.all().len(), 3);
}

#[test]
fn a_late_answer_brings_nothing_back() {
    let (cache, mut receiver) = cache();
    cache.wrote(object("a", "c", "u", 1));
    cache.apply(Event::Delete(object("a", "c", "u", 3)));
    cache.wrote(object("a", "c", "u", 2));
    assert_eq!(versions(&cache, "c"), [0; 0]);
    cache.apply(Event::Apply(object("a", "c", "v", 4)));
    assert_eq!(versions(&cache, "c"), [4], "another object of that name");
    cache.apply(Event::Delete(object("a", "c", "u", 3)));
    assert_eq!(versions(&cache, "c"), [4]);
    assert_eq!(changes(&mut receiver), [(1, true), (1, false), (4, false)]);
}

#[test]
fn a_new_list_removes_what_it_does_not_show() {
    let (cache, mut receiver) = cache();
    cache.apply(Event::Apply(object("a", "c", "u", 1)));
    cache.apply(Event::Apply(object("b", "c", "v", 2)));
    assert!(!*cache.ready.borrow());
    cache.apply(Event::Init);
    cache.apply(Event::InitApply(object("a", "c", "u", 1)));
    cache.wrote(object("d", "c", "w", 7));
    cache.apply(Event::InitDone);
    assert_eq!(versions(&cache, "c"), [1, 7], "what we wrote meanwhile stays");
    assert!(*cache.ready.borrow());
    assert_eq!(changes(&mut receiver), [(1, false), (2, false), (7, true), (2, false)]);
}

#[test]
fn what_is_not_worth_keeping_leaves_and_is_told_once() {
    let (cache, mut receiver) = cache();
    let done = |version| ConfigMap { data: Some([].into()), ..object("a", "c", "u", version) };
    cache.apply(Event::InitApply(done(1)));
    assert_eq!(versions(&cache, "c"), [0; 0]);
    assert_eq!(changes(&mut receiver), [], "what was never kept is no news");
    cache.wrote(object("a", "c", "u", 2));
    cache.wrote(done(3));
    cache.apply(Event::Apply(object("a", "c", "u", 2)));
    cache.apply(Event::Apply(done(3)));
    assert_eq!(versions(&cache, "c"), [0; 0]);
    assert_eq!(changes(&mut receiver), [(2, true), (3, true)]);
}
