use serde_json::{Value, json};

use super::*;

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn sync(uid: &str, status: &Value) -> VMDiskSync {
    serde_json::from_value(json!({
        "apiVersion": "pelotech.ot/v1alpha1", "kind": "VMDiskSync",
        "metadata": {"name": format!("sync-{uid}"), "namespace": "images", "uid": uid},
        "spec": {
            "claim": {"namespace": "labs", "name": uid, "uid": uid},
            "image": {"name": "image", "uid": "image", "generation": 7},
        },
        "status": status,
    }))
    .unwrap()
}

fn failed(uid: &str, phase: &str, class: &str, reason: &str) -> VMDiskSync {
    sync(
        uid,
        &json!({
            "phase": phase, "imageGeneration": 7, "notBefore": "2026-01-01T01:02:00Z",
            "target": {"storageClass": "gp3", "volumeMode": "Block", "requestedBytes": 100},
            "lastFailure": {"class": class, "reason": reason, "message": "m", "time": "2026-01-01T00:58:00Z"},
        }),
    )
}

fn syncing(uid: &str) -> VMDiskSync {
    sync(uid, &json!({"phase": "Syncing", "imageGeneration": 7}))
}

fn target(mode: &str, bytes: i64) -> TargetFacts {
    TargetFacts { storage_class: Some("gp3".into()), volume_mode: mode.into(), requested_bytes: bytes }
}

fn ask(siblings: &[VMDiskSync], target: &TargetFacts, is_proven: bool) -> Verdict {
    let policy = Policy::default();
    let at_work = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    let question =
        Question { sync_uid: "me", generation: 7, target, is_proven, at_work: &at_work, policy: &policy, now: now() };
    judge(&question, siblings)
}

fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Go => "go".into(),
        Verdict::Golden { message } => format!("golden: {message}"),
        Verdict::Fail(failure) => format!("fail by {}", failure.found_by.as_deref().unwrap_or_default()),
        Verdict::Wait { on, failure, until } => {
            let found = failure.as_ref().map(|failure| format!(", {}", failure.reason)).unwrap_or_default();
            format!("wait on {on}{found}{}", if until.is_some() { " for a while" } else { "" })
        }
    }
}

#[test]
fn what_one_found_out_holds_for_all() {
    let edited = {
        let mut sync = failed("a", "Failed", "Final", "BackingFile");
        sync.status.as_mut().unwrap().image_generation = Some(6);
        sync
    };
    let copied = {
        let mut sync = failed("a", "Failed", "Final", "BackingFile");
        sync.status.as_mut().unwrap().last_failure.as_mut().unwrap().found_by = Some("sync-b".into());
        sync
    };
    let old = {
        let mut sync = failed("a", "Cancelled", "SourceMissing", "NotFound");
        sync.status.as_mut().unwrap().last_failure.as_mut().unwrap().time.0 = "2026-01-01T00:50:00Z".parse().unwrap();
        sync
    };
    let cases: Vec<(&str, Vec<VMDiskSync>, bool, &str)> = vec![
        ("nobody", vec![], false, "go"),
        ("myself", vec![failed("me", "Failed", "Final", "BackingFile")], false, "go"),
        ("malformed", vec![failed("a", "Failed", "Final", "BackingFile")], true, "fail by sync-a"),
        ("wrong bytes", vec![failed("a", "Failed", "Final", "DigestMismatch")], false, "fail by sync-a"),
        (
            "wrong bytes, its claim gone",
            vec![failed("a", "Cancelled", "Final", "DigestMismatch")],
            false,
            "fail by sync-a",
        ),
        ("another spec", vec![edited], false, "go"),
        ("only a copy is left", vec![copied], false, "go"),
        ("not the image's fault", vec![failed("a", "Failed", "Final", "BadJob")], false, "go"),
        ("a broken connection", vec![failed("a", "BackingOff", "Transient", "Connection")], false, "go"),
        ("missing", vec![failed("a", "BackingOff", "SourceMissing", "NotFound")], true, "wait on sync-a, NotFound"),
        ("denied", vec![failed("a", "BackingOff", "Denied", "Forbidden")], false, "wait on sync-a, Forbidden"),
        (
            "missing, its claim gone",
            vec![failed("a", "Cancelled", "SourceMissing", "NotFound")],
            false,
            "wait on sync-a, NotFound for a while",
        ),
        ("missing, long ago", vec![old], false, "go"),
        ("another tries, nothing proven", vec![syncing("b"), syncing("a")], false, "wait on sync-a"),
        ("another tries, proven", vec![syncing("a")], true, "go"),
        ("another is queued", vec![sync("a", &json!({"phase": "Queued", "imageGeneration": 7}))], false, "go"),
    ];
    for (case, siblings, is_proven, expected) in cases {
        assert_eq!(word(&ask(&siblings, &target("Block", 50), is_proven)), expected, "{case}");
    }
}

#[test]
fn too_large_an_image_is_so_for_claims_that_offer_no_more() {
    let siblings = [failed("a", "Failed", "Final", "DoesNotFit")];
    for (mode, bytes, expected) in [
        ("Block", 99, "fail by sync-a"),
        ("Block", 100, "fail by sync-a"),
        ("Block", 101, "go"),
        ("Filesystem", 99, "go"),
    ] {
        assert_eq!(word(&ask(&siblings, &target(mode, bytes), true)), expected, "{mode} {bytes}");
    }
    let other_class = TargetFacts { storage_class: Some("fast".into()), ..target("Block", 10) };
    assert_eq!(word(&ask(&siblings, &other_class, true)), "go");
}

#[test]
fn one_asks_for_all() {
    let (first, second) = (
        failed("a", "BackingOff", "SourceMissing", "NotFound"),
        failed("b", "BackingOff", "SourceMissing", "NotFound"),
    );
    let at = first.status.as_ref().unwrap().not_before.as_ref().map(|time| time.0);
    let verdict = |me: &str, others: &[&VMDiskSync]| {
        let policy = Policy::default();
        let target = target("Block", 1);
        let question = Question {
            sync_uid: me,
            generation: 7,
            target: &target,
            is_proven: false,
            at_work: &BTreeSet::new(),
            policy: &policy,
            now: now(),
        };
        judge(&question, others.iter().copied())
    };
    let siblings = [&first, &second];
    let asking = |me: &str| asks_for_all(me, &verdict(me, &siblings), at, &siblings);
    assert!(asking("a"));
    assert!(!asking("b"));
    assert!(asks_for_all("a", &Verdict::Go, at, &[]));
}

#[test]
fn what_only_its_own_claim_lacks_holds_up_nobody_for_long() {
    let admitted = |at: &str| sync("a", &json!({"phase": "Syncing", "imageGeneration": 7, "startedAt": at}));
    let at_work = BTreeSet::from(["a".to_owned()]);
    let idle = BTreeSet::new();
    for (started, at_work, expected) in [
        ("2026-01-01T00:59:58Z", &idle, Some(true)),
        ("2026-01-01T00:59:55Z", &idle, None),
        ("2026-01-01T00:00:00Z", &at_work, Some(false)),
    ] {
        let tries = tries_until(&admitted(started), at_work, now());
        assert_eq!(tries.map(|until| until.is_some()), expected, "{started}");
    }
}
