use super::*;

/// `limit 2, queued a, …`: one change a revision.
fn story(text: &str) -> Vec<Entry> {
    text.split(", ")
        .zip(1..)
        .map(|(change, revision)| {
            let (kind, name) = change.split_once(' ').unwrap();
            let what = match kind {
                "limit" => What::Limit(name.parse().unwrap()),
                "queued" => What::Queued(name.to_owned()),
                "admitted" => What::Admitted(name.to_owned()),
                "prime" => What::Prime(name.to_owned()),
                "worker" => What::Worker(name.to_owned()),
                "ended" => What::Ended(name.to_owned()),
                "over" => What::Over(name.to_owned()),
                _ => panic!("{change}"),
            };
            Entry { revision, what }
        })
        .collect()
}

#[test]
fn what_keeps_the_rules_has_no_fault() {
    let stories = [
        "limit 1, queued a, admitted a, prime a, worker a, ended a, over a, queued b, admitted b, prime b, worker b",
        // Two permits were free at once.
        "limit 2, queued a, queued b, admitted b, admitted a, worker b, worker a",
        "limit 1, queued a, queued b, limit 2, admitted b, admitted a",
        // A worker that has ended holds no permit, even if the record does not say so yet.
        "limit 1, queued a, queued b, admitted a, worker a, ended a, admitted b, over a, worker b",
        // An attempt that never got so far as a worker is over with its record.
        "limit 1, queued a, queued b, admitted a, prime a, over a, admitted b",
        // A retry stands at the tail.
        "limit 1, queued a, admitted a, queued b, over a, queued a, admitted b, over b, admitted a",
        // A lower limit drains.
        "limit 2, queued a, queued b, admitted a, admitted b, limit 1, worker a, ended a, worker b",
    ];
    for text in stories {
        assert_eq!(fold(story(text)).faults, Vec::<String>::new(), "{text}");
    }
}

#[test]
fn what_breaks_a_rule_is_told() {
    let stories = [
        ("limit 1, queued a, queued b, admitted a, admitted b", "b took permit 2 of 1"),
        // What was admitted under the former limit counts against the new one.
        (
            "limit 2, queued a, queued b, queued c, admitted a, admitted b, limit 1, ended a, admitted c",
            "c took permit 2",
        ),
        ("limit 1, queued a, queued b, admitted b", "b was admitted before [\"a\"]"),
        // Two came earlier, and one permit was left.
        ("limit 2, queued a, queued b, queued c, admitted c", "c was admitted before [\"a\", \"b\"]"),
        // The record says that the attempt is over, and its worker may still move bytes.
        ("limit 1, queued a, queued b, admitted a, worker a, over a, admitted b", "b took permit 2 of 1"),
        ("limit 1, queued a, admitted a, over a, queued b, queued a, admitted a", "a was admitted before [\"b\"]"),
        ("limit 1, queued a, prime a, admitted a", "a got its prime while it was not admitted"),
        ("limit 1, queued a, worker a", "a got its worker while it was not admitted"),
        ("limit 1, queued a, admitted a, over a, prime a", "a got its prime while it was not admitted"),
        ("limit 1, admitted a", "a was admitted and was not in the queue"),
        ("limit 2, queued a, queued b, admitted a, admitted b, limit 1, worker a, worker b", "one of 2, not 1"),
    ];
    for (text, fault) in stories {
        let faults = fold(story(text)).faults;
        assert!(faults.len() == 1 && faults[0].contains(fault), "{text}: {faults:?}, expected {fault}");
    }
}

#[test]
fn it_tells_who_came_when_and_how_many_worked_at_once() {
    let text = "limit 2, queued a, queued b, queued c, admitted a, prime a, worker a, admitted b, prime b, worker b, \
                ended a, admitted c, prime c, worker c, ended b, ended c";
    let ledger = fold(story(text));
    assert_eq!(ledger.admitted, ["a", "b", "c"]);
    assert_eq!(ledger.primes, ["a", "b", "c"]);
    assert_eq!(ledger.workers, ["a", "b", "c"]);
    assert_eq!(ledger.most, 2);
}

#[test]
fn the_order_is_the_stores_and_not_that_of_the_watches() {
    let mut entries = story("limit 1, queued a, admitted a, prime a, worker a, ended a");
    let told = fold(entries.clone());
    entries.reverse();
    assert_eq!(fold(entries), told);
}
