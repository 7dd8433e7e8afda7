use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{from_value, json};

use super::*;

fn object(name: &str, generation: Option<i64>) -> ConfigMap {
    from_value(json!({"metadata": {"namespace": "labs", "name": name, "uid": name, "generation": generation}})).unwrap()
}

/// What each of the events means, in a word.
fn words(events: &[Event<ConfigMap>]) -> Vec<String> {
    let mut known = Known::default();
    let word = |news: News<'_, ConfigMap>| match news {
        News::Nobody => "-".to_owned(),
        News::Of(object) => object.name_any(),
        News::ForAll => "all".to_owned(),
    };
    events.iter().map(|event| word(known.learn(event))).collect()
}

#[test]
fn a_list_is_news_when_it_is_complete_and_only_if_it_tells_any() {
    let list = |names: &[&str]| {
        let objects = names.iter().map(|name| Event::InitApply(object(name, Some(1))));
        [Event::Init].into_iter().chain(objects).chain([Event::InitDone]).collect::<Vec<_>>()
    };
    for (case, second, expected) in [
        ("the same", list(&["a", "b"]), vec!["-", "-", "-", "-"]),
        ("one more", list(&["a", "b", "c"]), vec!["-", "-", "-", "-", "all"]),
        ("one less", list(&["a"]), vec!["-", "-", "all"]),
        ("another", list(&["a", "c"]), vec!["-", "-", "-", "all"]),
    ] {
        let first = list(&["a", "b"]);
        let told = words(&[first, second].concat());
        assert_eq!(told[..4], ["-", "-", "-", "all"], "the first list");
        assert_eq!(told[4..], expected, "{case}");
    }
}

#[test]
fn a_change_is_news_if_the_generation_moves_or_there_is_none() {
    let told = words(&[
        Event::Apply(object("a", Some(1))),
        Event::Apply(object("a", Some(1))),
        Event::Apply(object("a", Some(2))),
        Event::Apply(object("b", None)),
        Event::Apply(object("b", None)),
        Event::Delete(object("a", Some(2))),
        Event::Apply(object("a", Some(2))),
    ]);
    assert_eq!(told, ["a", "-", "a", "b", "b", "a", "a"]);
}

#[test]
fn a_list_that_breaks_off_is_not_forgotten_by_the_next() {
    let told = words(&[
        Event::Init,
        Event::InitApply(object("a", Some(1))),
        Event::Init,
        Event::InitApply(object("a", Some(1))),
        Event::InitDone,
    ]);
    assert_eq!(told, ["-", "-", "-", "-", "all"]);
}
