use super::*;

fn disk() -> Disk {
    Disk { nonce: "7f3a".to_owned(), payload_sha256: "00ff".to_owned(), virtual_size: 1 << 20 }
}

fn greeting() -> Greeting {
    Greeting { nonce: "7f3a".to_owned(), payload_sha256: "00ff".to_owned(), disk_size: 1 << 20 }
}

#[test]
fn a_guest_that_booted_from_this_disk_is_believed() {
    assert!(judge(&disk(), &greeting()).is_ok());
    let grown = Greeting { disk_size: 1 << 30, ..greeting() };
    assert!(judge(&disk(), &grown).is_ok());
}

#[test]
fn a_guest_that_booted_from_anything_else_is_not() {
    for (other, named) in [
        (Greeting { nonce: "0000".to_owned(), ..greeting() }, "nonce"),
        (Greeting { payload_sha256: "beef".to_owned(), ..greeting() }, "payload"),
        (Greeting { disk_size: 512, ..greeting() }, "512"),
    ] {
        let error = judge(&disk(), &other).expect_err(named).to_string();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn what_the_scheduler_says_twice_is_told_once() {
    for (message, expected) in [
        (
            "0/2 nodes are available: persistentvolumeclaim \"vm-disk\" not found. not found",
            "0/2 nodes are available: persistentvolumeclaim \"vm-disk\" not found",
        ),
        (
            "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 No victims found.",
            "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 No victims found",
        ),
        ("not found. not found.", "not found"),
        ("", ""),
    ] {
        let pod: Pod = serde_json::from_value(serde_json::json!({"status": {"conditions": [
            {"type": "PodScheduled", "status": "False", "message": message},
        ]}}))
        .expect("a pod");
        assert_eq!(unschedulable(&pod).as_deref(), Some(expected));
    }
}
