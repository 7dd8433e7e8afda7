use serde_json::json;

use super::*;

fn sync(uid: &str, phase: &str, finished: &str, generation: i64) -> VMDiskSync {
    serde_json::from_value(json!({
        "apiVersion": "pelotech.ot/v1alpha1", "kind": "VMDiskSync",
        "metadata": {"name": uid, "namespace": "images", "uid": uid},
        "spec": {
            "claim": {"namespace": "labs", "name": "disk", "uid": "c"},
            "image": {"name": "image", "uid": "image", "generation": 1},
        },
        "status": {"phase": phase, "finishedAt": finished, "imageGeneration": generation},
    }))
    .unwrap()
}

const EARLY: &str = "2026-01-01T00:00:00Z";
const LATE: &str = "2026-01-02T00:00:00Z";

#[test]
fn each_success_counts_once_and_the_last_one_proves_the_image() {
    let ledger = Ledger::default();
    let late = sync("00000000-0000-0000-0000-000000000002", "Succeeded", LATE, 2);
    for event in [
        Event::Init,
        Event::InitApply(sync("00000000-0000-0000-0000-000000000001", "Succeeded", EARLY, 1)),
        Event::InitApply(late.clone()),
        Event::InitApply(sync("other", "Failed", LATE, 3)),
        Event::InitDone,
    ] {
        ledger.apply(&event);
    }
    ledger.wrote(&sync("third", "Succeeded", EARLY, 1));
    ledger.apply(&Event::Apply(sync("third", "Succeeded", EARLY, 1)));
    ledger.apply(&Event::Apply(sync("fourth", "Syncing", LATE, 4)));
    assert_eq!(ledger.of_image("image").succeeded, 3);
    assert!(ledger.is_proven("image", 2) && !ledger.is_proven("image", 3) && !ledger.is_proven("another", 2));
    ledger.apply(&Event::Delete(late));
    assert_eq!(ledger.of_image("image").succeeded, 2);
    for event in [Event::Init, Event::InitDone] {
        ledger.apply(&event);
    }
    assert_eq!(ledger.of_image("image"), Done::default(), "what a list does not tell is gone");
}
