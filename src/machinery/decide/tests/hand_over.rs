//! The last look before a volume changes hands.

use serde_json::from_value;

use super::*;
use crate::populator::{Made, Recorded};

type Case = (&'static str, Box<dyn FnOnce(&mut World)>, Vec<Value>, &'static str);

#[test]
fn a_volume_is_handed_over_only_as_it_was_judged() {
    let pod = |ours: bool, phase: &str, node: Option<&str>| {
        json!({"metadata": {"name": "pod", "namespace": "images", "uid": if ours { "w1" } else { "w2" }, "labels":
                   {"pelotech.ot/claim-uid": "c1", "pelotech.ot/claim-namespace": "labs"}},
               "spec": {"nodeName": node, "containers": []}, "status": {"phase": phase}})
    };
    let recorded = |worker: Option<&str>| {
        let claim = observed(World::new()).claim_ref;
        let (namespace, owner) = ("images".to_owned(), "record".to_owned());
        Recorded::Kept(vec![Made { claim, namespace, owner, prime: Some("p1".into()), worker: worker.map(Into::into) }])
    };
    let container = |state: &str, restart: &str| {
        let mut pod = pod(true, "Running", Some("n"));
        pod["spec"]["restartPolicy"] = json!(restart);
        pod["spec"]["containers"] = json!([{"name": "worker"}]);
        let detail = if state == "terminated" { json!({"exitCode": 0}) } else { json!({}) };
        pod["status"]["containerStatuses"] = json!([{
            "name": "worker", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {state: detail},
        }]);
        pod
    };
    let cases: Vec<Case> = vec![
        ("all is well", Box::new(|_| ()), vec![pod(true, "Succeeded", Some("n"))], "rebind"),
        ("the worker has just ended", Box::new(|_| ()), vec![container("terminated", "Never")], "rebind"),
        ("the worker will be started again", Box::new(|_| ()), vec![container("terminated", "OnFailure")], "rest 5s"),
        ("the worker runs, says its container", Box::new(|_| ()), vec![container("running", "Never")], "rest 5s"),
        ("the worker is gone", Box::new(|_| ()), vec![], "rebind"),
        ("the worker still runs", Box::new(|_| ()), vec![pod(true, "Running", Some("n"))], "rest 5s"),
        (
            "a stranger has it",
            Box::new(|_| ()),
            vec![pod(true, "Succeeded", Some("n")), pod(false, "Running", Some("n"))],
            "clean up Lost prime along VolumeInUse",
        ),
        (
            "a stranger had it",
            Box::new(|_| ()),
            vec![pod(false, "Succeeded", Some("n"))],
            "clean up Lost prime along VolumeInUse",
        ),
        ("a stranger wants it", Box::new(|_| ()), vec![pod(false, "Pending", None)], "rest VolumeInUse 5s"),
        ("the claim is gone", Box::new(|world| world.claim = Value::Null), vec![], "rest 5s"),
        ("the claim goes", Box::new(|world| going(&mut world.claim)), vec![], "rest 5s"),
        ("the claim lives again", Box::new(|world| world.claim["metadata"]["uid"] = json!("c2")), vec![], "rest 5s"),
        ("the claim is bound", Box::new(|world| world.claim["spec"]["volumeName"] = json!("x")), vec![], "rest 5s"),
        ("the volume is gone", Box::new(|world| world.volume = Value::Null), vec![], "rest 5s"),
        ("the volume goes", Box::new(|world| going(&mut world.volume)), vec![], "rest 5s"),
        ("the volume is another", Box::new(|world| world.volume["metadata"]["uid"] = json!("x")), vec![], "rest 5s"),
        (
            "the volume is somebody else's",
            Box::new(|world| world.volume["spec"]["claimRef"]["uid"] = json!("x")),
            vec![],
            "rest 5s",
        ),
        (
            "the claim wants other attributes now",
            Box::new(|world| world.claim["spec"]["volumeAttributesClassName"] = json!("gold")),
            vec![],
            "clean up Mismatch keep VolumeMismatch",
        ),
    ];
    for (case, change, pods, expected) in cases {
        let mut now = World::new();
        change(&mut now);
        let seen = Inspection {
            claim: from_value(now.claim).unwrap(),
            volume: from_value(now.volume).unwrap(),
            pods: pods.into_iter().map(|pod| from_value(pod).unwrap()).collect(),
            recorded: recorded(Some("w1")),
        };
        // The worker may have been made, and have ended, since the pass began.
        let known = World::new().with(|world| world.recorded = recorded(None));
        assert_eq!(words(&hand_over(&observed(known), &seen)), expected, "{case}");
    }
}
